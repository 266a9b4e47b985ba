"""The live teacher from an nnU-Net v2 results folder."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import CheckpointError, RecipeError
from gliodistill.files import sha256
from gliodistill.studies.study import Study
from gliodistill.teachers.base import Live, Prediction, Teacher, View
from gliodistill.teachers.images import stacked
from gliodistill.teachers.nnunet.plans import DATASET, PLANS, Plans
from gliodistill.teachers.nnunet.preparation import Seen, prepare, restore
from gliodistill.teachers.registry import register_teacher

if TYPE_CHECKING:
    from torch import nn

    from gliodistill.networks import Network


@register_teacher("nnunet")
class NnUNet(Teacher):
    """A trained nnU-Net v2: it sees what it was trained on, in its own preparation.

    Its logits, and those averaged over folds and mirrorings, are those of nnU-Net's own predictor.

    Args:
        source: a results folder: that of the data set, or ``Trainer__Plans__configuration`` in it.
        folds: to average; None = all that are there.
        checkpoint: ``final`` or ``best``.
        tta: whether to average over the mirrorings that nnU-Net allows (8 passes).

    Raises:
        CheckpointError: no results, several trainers, no such fold, or a configuration that is not
            supported.
        GliodistillError: ``dynamic-network-architectures`` is not installed.
    """

    runs = has_stages = True

    def __init__(
        self,
        source: str,
        *,
        folds: list[int | Literal["all"]] | None = None,
        checkpoint: Literal["final", "best"] = "final",
        tta: bool = False,
    ) -> None:
        from gliodistill.teachers.nnunet.checkpoint import read_checkpoint

        self.folder, self.tta = trained_folder(Path(source)), tta
        name = f"checkpoint_{checkpoint}.pth"
        self.files = [self.folder / f"fold_{fold}" / name for fold in folds or found_folds(source)]
        read = [read_checkpoint(file) for file in self.files]
        self.plans = Plans.open(self.folder, read[0]["configuration"])
        self.weights = [each["network_weights"] for each in read]
        self.mirror_axes: tuple[int, ...] = read[0]["mirror_axes"] if tta else ()
        self.sequences = self.plans.sequences
        self.spacing, self.patch = self.plans.along_xyz(self.plans.spacing, self.plans.patch)
        self._digests = {
            file.relative_to(self.folder).as_posix(): sha256(file)
            for file in (*self.files, self.folder / PLANS, self.folder / DATASET)
        }

    @classmethod
    def is_at(cls, path: Path) -> bool:
        """Whether it is a results folder."""
        return any((folder / PLANS).is_file() for folder in (path, *path.glob("*__*__*")))

    @cached_property
    def network(self) -> "nn.Module":
        """Its network, with the first fold's weights."""
        return self._built(0)

    def _built(self, fold: int) -> "nn.Module":
        """A network with the weights of a fold, by its place."""
        import torch

        from gliodistill.teachers.nnunet.network import build
        from gliodistill.teachers.state import load_state

        with torch.device("cpu"):  # also where costs are counted on the meta device
            return load_state(build(self.plans), self.weights[fold], self.files[fold])

    def as_network(self) -> "Network":
        """Its network, with the names of its modules as stages."""
        from gliodistill.teachers.nnunet.adapted import Adapted

        return Adapted(self.network, self.plans)

    def live(self) -> Live:
        """Its network, or the mean of its folds' logits, which have no stages in common.

        Raises:
            RecipeError: mirrorings are asked for, which cost eight passes a step.
        """
        from gliodistill.teachers.nnunet.adapted import Adapted, MeanOfFolds

        if self.tta:
            raise RecipeError(
                "a live teacher sees each patch once", field="tta", got=True, expected="false",
                hint="or ask it once, before training: live: false",
            )  # fmt: skip
        folds = [Adapted(self._built(place), self.plans) for place in range(len(self.weights))]
        return Live(folds[0] if len(folds) == 1 else MeanOfFolds(folds), self.plans.outputs)

    def see(self, study: Study) -> View:
        """The study in its preparation."""
        seen, grid = self.prepare(study), study.grid
        if self.plans.reorients:
            grid = grid.canonical()
        return View(seen.image, grid.affine @ seen.to_file(self.plans.transpose))

    def predict(self, study: Study) -> Prediction:
        """Its probabilities on the study's grid.

        Raises:
            StudyError: the images are empty.
            CheckpointError: weights of another network, or a preparation that is not supported.
        """
        return Prediction(self.plans.outputs.regions(self.shares(study)))

    def shares(self, study: Study) -> NDArray[np.float32]:
        """Probabilities of all its output channels on the study's grid, K X Y Z."""
        seen = self.prepare(study)
        whole = restore(self.logits(seen), seen, self.plans)
        if self.plans.reorients:
            whole = np.ascontiguousarray(study.grid.from_canonical(whole))
        return whole

    def prepare(self, study: Study) -> Seen:
        """What its network is given of the study."""
        image, grid = stacked(study, self.sequences), study.grid
        if self.plans.reorients:
            image = np.stack([grid.with_data(each).canonical().data for each in image])
            grid = grid.canonical()
        return prepare(image, grid.spacing, self.plans, study.id)

    def logits(self, seen: Seen) -> NDArray[Any]:
        """Logits of all its output channels on the prepared grid: the mean over folds."""
        import torch

        from gliodistill.teachers.nnunet.network import by_windows
        from gliodistill.teachers.state import load_state

        network, image = self.network, torch.from_numpy(seen.image)
        network.to("cuda" if torch.cuda.is_available() else "cpu")
        total = None
        for weights, file in zip(self.weights, self.files, strict=True):
            load_state(network, weights, file)
            logits = by_windows(network, image, self.plans, self.mirror_axes)
            total = logits if total is None else total + logits
        assert total is not None  # there is at least one fold
        mean: NDArray[Any] = (total / len(self.weights)).numpy()
        return mean

    def facts(self, id: str) -> dict[str, Any]:
        """Digests of its checkpoints and plans, and whether it is mirrored."""
        return {"files": self._digests, "mirror_axes": list(self.mirror_axes)}


def trained_folder(source: Path) -> Path:
    """The folder of one trainer's results.

    Raises:
        CheckpointError: there is none, or there are several.
    """
    if (source / PLANS).is_file():
        return source
    there = sorted(file.parent for file in source.glob(f"*/{PLANS}"))
    if len(there) == 1:
        return there[0]
    raise CheckpointError(
        "several trained nnU-Nets" if there else "not a results folder of nnU-Net v2",
        file=source,
        got=", ".join(folder.name for folder in there) or "no plans.json",
        expected="the folder Trainer__Plans__configuration" if there else "plans.json in it",
        hint="choose one" if there else None,
    )


def found_folds(source: str | Path) -> list[int | str]:
    """The folds of a results folder that have a checkpoint, numbers first.

    Raises:
        CheckpointError: there is none.
    """
    folder = trained_folder(Path(source))
    names = [file.parent.name.removeprefix("fold_") for file in folder.glob("fold_*/*.pth")]
    folds = sorted({int(n) if n.isdecimal() else n for n in names}, key=str)
    if not folds:
        raise CheckpointError(
            "no trained fold", file=folder, expected="fold_0/checkpoint_final.pth"
        )
    return folds
