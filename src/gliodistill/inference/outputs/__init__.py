"""What is written for a study as scanned, beside the label map and summary that every study gets: a
folder of its own, which each :class:`~gliodistill.inference.outputs.base.Writer` adds to.
"""
