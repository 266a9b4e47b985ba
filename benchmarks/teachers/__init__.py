"""Foreign teachers: a small nnU-Net trained by its own package, and its predictions to compare with."""
