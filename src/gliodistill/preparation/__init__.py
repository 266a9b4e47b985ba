"""From a study to what a network sees, and exactly back."""

from gliodistill.preparation.cache import Cache
from gliodistill.preparation.cache_building import build_cache
from gliodistill.preparation.preparation import Preparation
from gliodistill.preparation.prepared import Prepared
from gliodistill.preparation.quantise import dequantise, quantise

__all__ = ["Cache", "Preparation", "Prepared", "build_cache", "dequantise", "quantise"]
