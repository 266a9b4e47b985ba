"""Inference: model package + runtime → segmentation. Only ``runtimes/torch.py`` imports torch."""

from gliodistill.inference.batch import BatchReport, segment_studies
from gliodistill.inference.predictor import Predictor, load_model
from gliodistill.inference.segmentation import Segmentation

__all__ = ["BatchReport", "Predictor", "Segmentation", "load_model", "segment_studies"]
