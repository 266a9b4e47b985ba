"""Learning: a recipe read top to bottom, patches, augmentation, the loop, checkpoints, and one file
per method.
"""
