"""Trust in a result: appearance of the images, expected quality, flags."""
