"""Learning from the teacher alone where it is sure."""

from torch import Tensor

import gliodistill as gd


class PlugMethod(gd.methods.Method):
    """Segmentation and ``plug_loss`` towards a frozen teacher."""

    needs = gd.methods.Needs(trained={"teacher": "one"})

    def __init__(self, student, outputs, *, teacher, share: float = 0.5) -> None:  # type: ignore[no-untyped-def]
        super().__init__(student, outputs)
        self.teacher, self.share = self.freeze(teacher), share
        self.distiller = self.distil_from(teacher, {"plug_loss": {"weight": 1.0}})

    def losses(self, batch: gd.methods.Batch) -> dict[str, Tensor]:
        """Terms ``segmentation`` and ``plug_loss``."""
        heads = self.student(batch.image)
        told = self.ask(self.teacher, batch)
        return {
            "segmentation": (1 - self.share) * self.segmentation(heads, batch),
            **self.distiller.terms(heads[0], told, batch.regions, batch.known),
        }
