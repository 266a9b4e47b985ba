"""Render phantoms, and write a cohort of them in the BraTS layout."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.documents import Fields, Refusal, read_json
from gliodistill.errors import GliodistillError
from gliodistill.files import (
    atomic_folder,
    check_writable,
    make_folder,
    remove_leftovers,
    write_text,
)
from gliodistill.images.volume import Volume
from gliodistill.locks import lock_name
from gliodistill.phantom.anatomy import Anatomy, brain_box, make_anatomy
from gliodistill.phantom.artefacts import degrade
from gliodistill.phantom.contrast import CHANNELS, paint
from gliodistill.phantom.drawing import draw_parameters
from gliodistill.phantom.fields import FIELD_MM, Grid
from gliodistill.phantom.growth import GROWTH_MM
from gliodistill.phantom.other_tumours import build
from gliodistill.phantom.parameters import PhantomParameters, ShapeParameters
from gliodistill.phantom.shapes import find_shapes, outline, place, read_shape
from gliodistill.phantom.tumour import Tumour, push
from gliodistill.pool import Executor, Processes, Threads, tracked
from gliodistill.studies.origin import PHANTOM_RECORD
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study
from gliodistill.tasks.catalogue import find_task

SPACING_MM = (0.5, 6.0)
_NO_PHANTOM = Refusal(
    GliodistillError, "folder is no phantom", "remove it or choose another folder"
)
"""Range of voxel sizes: limited by memory below, by the loss of tumours above."""


def case_name(seed: int, index: int) -> str:
    """The id of a phantom, e.g. ``Phantom_007_00012``."""
    return f"Phantom_{seed:03d}_{index:05d}"


def make_phantom(
    seed: int,
    index: int,
    spacing: float = 1.0,
    difficulty: float = 1.0,
    shapes: str | os.PathLike[str] | None = None,
    task: str = "glioma",
) -> Study:
    """One synthetic study with its reference.

    Args:
        seed: the cohort's.
        index: of the study, from 0; studies are independent.
        spacing: voxel size in mm; 1 gives the BraTS grid of 240×240×155, 2 gives 120×120×78.
        difficulty: 0 (clean) to 2 (noisy, faint).
        shapes: folder of label maps whose tumour shapes are used (:mod:`.shapes`); None simulates
            growth.
        task: a shipped task, whose tumour it has (:mod:`.other_tumours`).

    Returns:
        Four sequences (of ``meningioma-rt`` T1CE alone), float32 with integer values, exactly 0
        outside the brain; reference uint8 in the first convention of the task, that of gliomas in
        BraTS ≤ 2021 codes.

    Raises:
        GliodistillError: an argument out of range.
    """
    folder = None if shapes is None else Path(shapes)
    return render(
        draw_parameters(seed, index, difficulty, find_shapes(folder) if folder else (), task),
        spacing,
        folder,
    )


def render(
    parameters: PhantomParameters, spacing: float = 1.0, shapes: Path | None = None
) -> Study:
    """The study that ``parameters`` describe: same parameters and spacing (and shapes, if they name
    one), same voxels.
    """
    if not SPACING_MM[0] <= spacing <= SPACING_MM[1]:
        raise GliodistillError(
            "no such spacing",
            field="spacing",
            got=spacing,
            expected=f"{SPACING_MM[0]} to {SPACING_MM[1]} mm",
        )
    field = Grid.field(spacing)
    box = brain_box(parameters.anatomy, field)
    grid = field.crop(box)
    anatomy, tumour = with_tumour(parameters, grid, shapes)
    truth = np.zeros(field.shape, np.uint8)
    task = find_task(parameters.task)
    convention = task.conventions[0]
    truth[box][tumour.box] = task.labels_of(
        np.stack([tumour.region(name) for name in task.names]), convention
    )
    affine = _affine(spacing)
    images = {}
    for sequence, clean in paint(parameters.contrast, anatomy, tumour).items():
        if parameters.task == "meningioma-rt" and sequence is not MRSequence.T1CE:
            continue
        channel = CHANNELS[sequence]
        seen = degrade(parameters.artefacts, clean, anatomy.brain, grid, channel)
        # Brain voxels stay positive when rounded: 0 is background in BraTS.
        scaled = np.where(
            seen > 0, np.clip(np.rint(seen * parameters.contrast.scale[channel]), 1, 32767), 0
        )
        whole = np.zeros(field.shape, np.float32)
        whole[box] = scaled
        images[sequence] = Volume(_to_lps(whole), affine)
    name = case_name(parameters.seed, parameters.index)
    return Study(name, name, images, Volume(_to_lps(truth), affine), convention)


def with_tumour(
    parameters: PhantomParameters, grid: Grid, shapes: Path | None
) -> tuple[Anatomy, Tumour]:
    """The brain displaced by its tumour."""
    wanted = parameters.tumour
    if isinstance(wanted, ShapeParameters):
        if shapes is None:
            raise GliodistillError(
                "a phantom of a given shape needs the folder of shapes",
                field="shapes",
                got=None,
                expected=wanted.shape,
            )
        shape, coarse = read_shape(shapes / wanted.shape), Grid.field(GROWTH_MM)
        rough, part = place(wanted, shape, coarse)
        pushed = push(wanted, rough[1], coarse.crop(part), grid)
        anatomy = make_anatomy(parameters.anatomy, grid, pushed.displacement, pushed.effacement)
        return anatomy, outline(*place(wanted, shape, grid), anatomy)
    return build(parameters.task, parameters, wanted, grid)


def _to_lps(values: NDArray[Any]) -> NDArray[Any]:
    """The array in BraTS orientation: X to the left and Y to the back."""
    return np.ascontiguousarray(values[::-1, ::-1])


def _affine(spacing: float) -> NDArray[np.float64]:
    """The BraTS affine (X and Y flipped, last row at y = 239), scaled to keep the field of view."""
    shape = Grid.field(spacing).shape
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    first = 0.5 * spacing - 0.5
    affine[:3, 3] = (
        first + (shape[0] - 1) * spacing - (FIELD_MM[0] - 1),
        first + (shape[1] - 1) * spacing,
        first,
    )
    return affine


def write_cohort(
    out: str | os.PathLike[str],
    n: int,
    seed: int,
    spacing: float = 1.0,
    jobs: int | None = None,
    difficulty: float = 1.0,
    shapes: str | os.PathLike[str] | None = None,
    labelled: bool = True,
    task: str = "glioma",
    executor: Executor | None = None,
) -> list[Path]:
    """Write studies 0 to ``n − 1`` of cohort ``seed``; existing ones are kept, so an interrupted
    run continues.

    Each study is a folder ``<case>/`` with ``<case>_{t1,t1ce,t2,flair,seg}.nii.gz`` (int16; labels
    uint8 0/1/2/4) and ``<case>_phantom.json``, its parameters; it is written atomically. Files of
    other tasks than gliomas are named as in BraTS from 2023 on, ``<case>-{t1n,t1c,t2w,t2f,seg}``,
    and labelled in the task's first convention.

    Args:
        out: folder of the cohort; made if missing.
        n: number of studies.
        seed: of the cohort.
        spacing: voxel size in mm.
        jobs: processes; None for one per processor.
        difficulty: 0 to 2, see :func:`make_phantom`.
        shapes: folder of label maps, see :func:`make_phantom`.
        labelled: whether the reference segmentation is written.
        task: see :func:`make_phantom`.
        executor: where the studies are made, instead of ``jobs`` processes here.

    Returns:
        The study folders, in order.

    Raises:
        GliodistillError: an argument out of range, or a study already there that was made with
            other settings.
        OutputError: the folder cannot be written.
    """
    if n < 1:
        raise GliodistillError(
            "a cohort needs studies", field="n", got=n, expected="an integer ≥ 1"
        )
    root = make_folder(out)
    check_writable(root)
    remove_leftovers(root)
    given = None if shapes is None else Path(shapes)
    writing = _Writing(root, seed, spacing, difficulty, given, labelled, task)
    folders = [writing.folder(index) for index in range(n)]
    names = frozenset(file.name for file in find_shapes(given)) if given else frozenset[str]()
    missing = [
        index
        for index, folder in enumerate(folders)
        if not _is_done(folder, spacing, difficulty, names, labelled, task)
    ]
    if executor is None:
        count = min(len(missing), os.cpu_count() or 1 if jobs is None else jobs)
        executor = Processes(count) if count > 1 else Threads(1)
    done = executor.outcomes(writing.write, missing)
    with tracked(done, "making phantoms", len(missing)) as outcomes:
        for outcome in outcomes:
            outcome.get()
    return folders


def _names(task: str) -> dict[str, str]:
    """Sequence, or ``seg`` → what follows the id in the name of its file."""
    if task == "glioma":
        return {str(s): f"_{s.lower()}" for s in MRSequence} | {"seg": "_seg"}
    official = dict(zip(map(str, MRSequence), ("-t1n", "-t1c", "-t2w", "-t2f"), strict=True))
    return official | {"seg": "-seg"}


def _is_done(
    folder: Path,
    spacing: float,
    difficulty: float,
    shapes: frozenset[str],
    labelled: bool,
    task: str,
) -> bool:
    if not folder.exists():
        return False
    record = folder / f"{folder.name}{PHANTOM_RECORD}"
    made = Fields(read_json(record, _NO_PHANTOM), _NO_PHANTOM.of(record))
    tumour = made.part("parameters").part("tumour")
    settings = (
        made.number("spacing"),
        made.part("parameters").number("difficulty"),
        tumour.text("shape") if tumour.values.get("shape") is not None else None,
    )
    if settings[:2] != (spacing, difficulty) or (
        settings[2] not in shapes if shapes else settings[2] is not None
    ):
        raise GliodistillError(
            "phantom of other settings",
            file=folder,
            field="spacing, difficulty, shape",
            got=settings,
            expected=(spacing, difficulty, f"one of {len(shapes)}" if shapes else None),
            hint="choose another folder",
        )
    parameters = made.part("parameters")
    if (there := parameters.text("task") if "task" in parameters else "glioma") != task:
        raise GliodistillError(
            "phantom of other settings",
            file=folder,
            field="task",
            got=there,
            expected=task,
            hint="choose another folder",
        )
    if (folder / f"{folder.name}{_names(task)['seg']}.nii.gz").exists() != labelled:
        raise GliodistillError(
            "phantom of other settings",
            file=folder,
            field="labelled",
            got=not labelled,
            expected=labelled,
            hint="choose another folder",
        )
    return True


@dataclass(frozen=True)
class _Writing:
    """The settings of every study of a cohort, and its folder."""

    root: Path
    seed: int
    spacing: float
    difficulty: float
    shapes: Path | None
    labelled: bool
    task: str

    def folder(self, index: int) -> Path:
        """Of a study."""
        return self.root / case_name(self.seed, index)

    def write(self, index: int) -> None:
        """Make one study, unless another process has just made it."""
        with lock_name(self.folder(index), wait=True):
            if not self.folder(index).exists():
                self._make(index)

    def _make(self, index: int) -> None:
        from gliodistill.images import write_nifti

        found = find_shapes(self.shapes) if self.shapes else ()
        parameters = draw_parameters(self.seed, index, self.difficulty, found, self.task)
        names = _names(self.task)
        study = render(parameters, self.spacing, self.shapes)
        with atomic_folder(self.folder(index)) as temporary:
            for sequence, image in study.images.items():
                write_nifti(
                    image.with_data(image.data.astype(np.int16)),
                    temporary / f"{study.id}{names[sequence]}.nii.gz",
                )
            if self.labelled:
                assert study.truth is not None
                write_nifti(study.truth, temporary / f"{study.id}{names['seg']}.nii.gz")
            record = {"spacing": self.spacing, "parameters": parameters.as_dict()}
            write_text(
                temporary / f"{study.id}{PHANTOM_RECORD}", json.dumps(record, indent=1) + "\n"
            )
