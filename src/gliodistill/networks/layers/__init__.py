"""Parts that architectures are built from."""
