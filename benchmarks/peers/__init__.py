"""Other segmentation programs, timed the same way; each runs in an environment of its own."""
