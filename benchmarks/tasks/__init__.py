"""One real training for each shipped task that is not glioma, on its phantoms."""
