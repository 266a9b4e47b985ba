"""Network architectures, one published design per file."""
