"""Whether to believe a result: appearance of the images, expected quality, flags."""
