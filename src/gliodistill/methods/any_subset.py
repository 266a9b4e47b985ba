"""Any subset: one student for all 15 subsets of the sequences, distilled from a teacher that sees
all of them. Ours.

The student is trained with modality dropout (``augmentation.modality_dropout``; 0.5 makes all
subsets equally likely); the teacher sees the complete patch. The distillation losses compare logits
and latent features of the two. By default logits are compared channel-wise, i.e. by where they are
highest. Soft targets also transfer the teacher's confidence, which the student cannot justify
without the missing sequences; docs/any_subset.md reports both. Choi et al. (CMPB 2023), Hu et al.
2020 (KD-Net) and others train one student per subset.
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
    """Segmentation loss on the student's sequences + distillation losses towards a frozen teacher
    that sees all sequences.

    Args:
        student: trained with modality dropout.
        outputs: of both networks.
        teacher: frozen, in evaluation mode, run once per batch on all sequences.
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
