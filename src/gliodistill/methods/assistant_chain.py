"""Assistant chain: for students of 2–8 % a network of middle size stands between teacher and
student.

The growing teacher assistant (GTAN, Phys. Med. Biol. 66 235005) bridges gaps of capacity that plain
distillation does not. What grows and how is not known to us. Our reading: a chain of runs, teacher
→ assistant → student, where the assistant starts from the small network's weights widened
(``start`` of a run; Net2WiderNet), so that it thinks like what it will teach. A student may listen
to several teachers of the chain at once (densely guided, Son et al. 2021, arXiv 2009.08825).
"""

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from gliodistill.errors import RecipeError
from gliodistill.methods.base import Batch, Method, Needs
from gliodistill.methods.compression import DEFAULT
from gliodistill.methods.registry import register_method
from gliodistill.methods.segmentation import Outputs
from gliodistill.networks import Network


@register_method("assistant_chain", needs=Needs(trained={"teachers": "several"}))
class AssistantChain(Method):
    """Segmentation loss + the mean of what the student owes each of several frozen teachers.

    Args:
        student: learns.
        outputs: of all networks.
        teachers: frozen, in evaluation mode, each run once a batch on all sequences.
        losses: name → weight, stages and options, towards every teacher alike
            (:class:`gliodistill.distillation.Distiller`).

    Raises:
        RecipeError: no teacher; a loss, option or stage that does not exist or is out of range.
    """

    def __init__(
        self,
        student: Network,
        outputs: Outputs,
        *,
        teachers: list[Network],
        losses: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        if not teachers:
            raise RecipeError(
                "a chain needs a teacher",
                field="options.teachers",
                got="[]",
                expected="earlier runs, e.g. [assistant]",
            )
        super().__init__(student, outputs)
        self.teachers = [self.freeze(teacher) for teacher in teachers]
        for teacher in teachers:
            self.distil_from(teacher, DEFAULT if losses is None else losses)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms ``segmentation`` and one for each distillation loss, weighted, averaged over the
        teachers.
        """
        with ExitStack() as stack:
            for distiller in self.distillers:
                stack.enter_context(distiller.listening())
            heads = self.student(batch.image)
            terms = {"segmentation": self.segmentation(heads, batch)}
            owed: dict[str, list[Tensor]] = {}
            for teacher, distiller in zip(self.teachers, self.distillers, strict=True):
                if distiller:
                    with torch.no_grad():
                        told = teacher(batch.complete)[0]
                    each = distiller.terms(heads[0], told, batch.regions, batch.known)
                    for name, term in each.items():
                        owed.setdefault(name, []).append(term)
        return {**terms, **{name: torch.stack(each).mean() for name, each in owed.items()}}
