"""From a trained teacher of any tool to a packaged student."""

from gliodistill.distil.run import Distilled, distil

__all__ = ["Distilled", "distil"]
