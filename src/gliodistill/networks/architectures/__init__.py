"""One published design a file."""
