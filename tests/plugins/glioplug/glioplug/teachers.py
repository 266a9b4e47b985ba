"""A teacher that finds the brightest voxels."""

from typing import Any

import numpy as np

import gliodistill as gd


class PlugTeacher(gd.teachers.Teacher):
    """Voxels of FLAIR above a threshold, in doubt about all of them."""

    sequences = (gd.MRSequence.FLAIR,)

    def __init__(self, source: float, *, doubt: float = 0.1) -> None:
        self.threshold, self.doubt = float(source), doubt

    def predict(self, study: gd.Study) -> gd.teachers.Prediction:
        """The same for all three regions."""
        bright = study.images[gd.MRSequence.FLAIR].data > self.threshold
        probability = np.where(bright, 1 - self.doubt, self.doubt).astype(np.float32)
        return gd.teachers.Prediction(np.stack([probability] * 3))

    def facts(self, id: str) -> dict[str, Any]:
        """Its options."""
        return {"threshold": self.threshold, "doubt": self.doubt}
