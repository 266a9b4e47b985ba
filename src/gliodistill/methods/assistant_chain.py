"""Assistant chain: for students of 2–8 %, a network of medium size between teacher and student.

The growing teacher assistant (GTAN, Phys. Med. Biol. 66 235005) bridges capacity gaps that plain
distillation does not. We do not know what grows in it, and how. Our reading: a chain of runs,
teacher → assistant → student. The assistant is initialised from the small network's widened weights
(``init_from`` of a run; Net2WiderNet), so that both compute the same function at first. A student
may be distilled from several teachers of the chain at once (densely guided, Son et al. 2021, arXiv
2009.08825).
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
    """Segmentation loss + the mean of the distillation losses towards several frozen teachers.

    Args:
        student: the network to train.
        outputs: of all networks.
        teachers: frozen, in evaluation mode, each run once per batch on all sequences.
        losses: name → weight, stages and options, the same for each teacher
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
                stack.enter_context(distiller.hooked())
            heads = self.student(batch.image)
            terms = {"segmentation": self.segmentation(heads, batch)}
            owed: dict[str, list[Tensor]] = {}
            for teacher, distiller in zip(self.teachers, self.distillers, strict=True):
                if distiller:
                    targets = self.ask(teacher, batch)
                    each = distiller.terms(heads[0], targets, batch.regions, batch.known)
                    for name, term in each.items():
                        owed.setdefault(name, []).append(term)
        return {**terms, **{name: torch.stack(each).mean() for name, each in owed.items()}}
