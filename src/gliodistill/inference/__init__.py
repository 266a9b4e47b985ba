"""Inference: model package + runtime → segmentation. Only ``runtimes/torch.py`` imports torch.

In reading order:

1. ``predictor``: one study; ``tiling`` and ``tta``: windows and mirroring; ``postprocessing``:
   clean-up rules; ``segmentation``: the result.
2. ``runtimes``: what computes the logits.
3. ``batch``: many studies; ``reading`` reads ahead, ``results`` are the files of the folder.
4. ``ensemble``: several models; ``pseudo_labels``: labels made by them, ``pseudo_files``: their
   files, ``pseudo_cohort``: opens them again.
"""

from gliodistill.inference.batch import BatchReport, segment_studies
from gliodistill.inference.predictor import Predictor, load_model
from gliodistill.inference.segmentation import Segmentation

__all__ = ["BatchReport", "Predictor", "Segmentation", "load_model", "segment_studies"]
