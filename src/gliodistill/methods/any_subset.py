"""Any subset: one student for all 15 subsets of the sequences, taught by a teacher that sees all of
them. Ours.

The student's path drops sequences (``augmentation.modality_dropout``; 0.5 makes all subsets equally
likely), the teacher's path never does. The student owes the teacher its logits and its latent
features on the complete patch, so it learns what the missing sequences would have shown. Of the
logits it owes by default where they are highest (channel-wise), not how high they are (soft
targets): a student that cannot see what its teacher sees has no right to be as sure.
docs/any_subset.md has both, measured. Choi et al. (CMPB 2023) train one student a subset; Hu et al.
2020 (KD-Net) and others likewise.
"""

from collections.abc import Mapping
from typing import Any

from gliodistill.methods.base import Needs
from gliodistill.methods.compression import Compression
from gliodistill.methods.registry import register_method
from gliodistill.methods.segmentation import Outputs
from gliodistill.networks import Network

DEFAULT: Mapping[str, Mapping[str, Any]] = {
    "channel_wise": {"weight": 0.03},
    "attention_transfer": {"weight": 0.2, "taps": [("bottleneck", "bottleneck")]},
}


@register_method("any_subset", needs=Needs(trained={"teacher": "one"}, modality_dropout=True))
class AnySubset(Compression):
    """Segmentation loss on what the student is shown + what it owes a frozen teacher that is shown
    everything.

    Args:
        student: learns with sequences dropped.
        outputs: of both networks.
        teacher: frozen, in evaluation mode, run once a batch on all sequences.
        losses: name → weight, stages and options (:class:`gliodistill.distillation.Distiller`); by
            default channel-wise and attention transfer at the bottleneck.

    Raises:
        RecipeError: a loss, option or stage that does not exist or is out of range.
    """

    def __init__(
        self,
        student: Network,
        outputs: Outputs,
        *,
        teacher: Network,
        losses: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            student,
            outputs,
            teacher=teacher,
            losses={k: dict(v) for k, v in DEFAULT.items()} if losses is None else losses,
        )
