"""Align the scans of a study: one isotropic grid, brains only, and the way back to every scan."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import cpu_count
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gliodistill.alignment import carrying
from gliodistill.alignment.aligned import AlignedStudy
from gliodistill.alignment.atlas import register_with_atlas
from gliodistill.alignment.frames import (
    choose_reference,
    grid_around,
    mni_grid,
    moved,
    outline,
)
from gliodistill.alignment.registration import Registration, register
from gliodistill.alignment.working import averaged, without_voxels
from gliodistill.errors import ImageError, StudyError
from gliodistill.images.volume import Volume
from gliodistill.progress import stage
from gliodistill.studies.naming import parse_sequence
from gliodistill.studies.sequence import MRSequence

Matrix = NDArray[np.float64]

SPACES = ("reference", "t1ce", "mni")
SPACING_MM = (0.3, 6.0)

AT_ONCE = 2
"""Scans worked on at once, at most: memory grows with them."""

SEEN = 0.95
"""Least share of the brain that a scan should cover."""


class Brain(Protocol):
    """The answer of a brain extraction."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """On the scan's own grid."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Doubts, in words."""

    @property
    def stripped(self) -> bool:
        """Whether the scan was skull-stripped already; then the mask is its foreground."""


Extract = Callable[[Volume], Brain]
Masks = Mapping[MRSequence, NDArray[np.bool_]]
Scans = Mapping[MRSequence, Volume]


def align_study(
    scans: Mapping[str, Volume],
    *,
    reference: str | None = None,
    space: str = "reference",
    spacing: float = 1.0,
    extract: Extract | None = None,
    threads: int | None = None,
) -> AlignedStudy:
    """Bring the scans of a study onto one isotropic grid, brains only.

    A study that is co-registered and skull-stripped passes untouched, unless ``space`` is ``mni``.

    Args:
        scans: sequence → scan as acquired, each on its own grid; T1, T1CE, T2, FLAIR, or some.
        reference: the scan that the others are aligned with; by default the one with the thinnest
            slices, among like ones T1CE, then FLAIR, T1, T2.
        space: world of the result: that of the ``reference``; ``t1ce``, the same as
            ``reference="T1CE"``; or ``mni``, rigidly aligned with the ICBM 152 atlas.
        spacing: of the grid, mm.
        extract: brain extraction; by default :func:`gliodistill.brain.extract_brain`.
        threads: processor threads; None = all cores.

    Returns:
        The aligned study. A scan that cannot be aligned is left out, with a flag.

    Raises:
        StudyError: no scan, an unknown or absent sequence, space or reference.
        ImageError: a scan without a brain.
        GliodistillError: SimpleITK is not installed.
    """
    given = {parse_sequence(name): scan for name, scan in scans.items()}
    given = {sequence: given[sequence] for sequence in MRSequence if sequence in given}
    wanted = check_settings(reference, space, spacing)
    if not given:
        raise StudyError("study has no scan", expected="at least one of T1, T1CE, T2, FLAIR")
    if wanted is not None and wanted not in given:
        raise StudyError(
            "reference is absent", field="reference", got=str(wanted), expected=", ".join(given)
        )
    threads = threads or cpu_count() or 1
    workers = min(AT_ONCE, threads)
    if extract is None:
        extract = _default_extract(threads // workers)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        return _Alignment(given, wanted, space, spacing, extract, pool).run()


class _Alignment:
    """One run: the scans and what is found out about them, stage by stage.

    ``given`` are the scans as they came, later only their grids; ``scans`` are what is worked on.
    """

    def __init__(
        self,
        scans: dict[MRSequence, Volume],
        wanted: MRSequence | None,
        space: str,
        spacing: float,
        extract: Extract,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.clock = time.perf_counter()
        self.given, self.wanted = scans, wanted
        self.scans: Scans = dict(
            zip(scans, pool.map(partial(averaged, finest=spacing), scans.values()), strict=True)
        )
        self.space, self.spacing, self.pool = space, spacing, pool
        self.extract = extract
        self.steps: dict[MRSequence, dict[str, Any]] = {s: {} for s in scans}
        self.flags: list[str] = []
        self.seconds: dict[str, float] = {}

    def run(self) -> AlignedStudy:
        """All stages."""
        stage("brain")
        masks, stripped = self._brains()
        self._lap("brain")
        if stripped and self.space != "mni" and on_one_grid(self.given):
            return self._untouched(masks)
        self.given = {s: without_voxels(scan) for s, scan in self.given.items()}
        reference, why = self._reference()
        self.steps[reference]["text"] = f"reference: {why}"
        stage("register")
        to_scan = self._register(reference, masks)
        self._lap("register")
        matrices, grid = self._common(reference, masks, to_scan)
        self._lap("space")
        stage("resample")
        brain, images = self._resample(reference, masks, matrices, grid)
        self._lap("resample")
        return AlignedStudy(
            images,
            grid.with_data(brain.astype(np.uint8)),
            self.given,
            reference,
            self.space,
            matrices,
            self.steps,
            tuple(self.flags),
            self._rounded(),
        )

    def _lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self.clock = now - self.clock, now

    def _rounded(self) -> dict[str, float]:
        return {stage: round(value, 3) for stage, value in self.seconds.items()}

    def _brains(self) -> tuple[Masks, bool]:
        """Sequence → brain on the scan's own grid, and whether all were stripped already."""
        masks, stripped = {}, []
        found = self.pool.map(self.extract, self.scans.values())
        for sequence, brain in zip(self.scans, found, strict=True):
            if not brain.mask.any():
                raise ImageError("no brain found", field=str(sequence), expected="a scan of a head")
            masks[sequence] = brain.mask
            stripped.append(brain.stripped)
            self.steps[sequence] |= {
                "brain": "skull-stripped already" if brain.stripped else "extracted",
                "brain_ml": round(float(brain.mask.sum()) * self.scans[sequence].voxel_ml, 1),
            }
            self.flags += [f"{sequence}: {flag}" for flag in brain.flags]
        return masks, all(stripped)

    def _reference(self) -> tuple[MRSequence, str]:
        """The scan that the others are aligned with, and why."""
        if self.wanted is not None:
            return self.wanted, "as asked"
        return choose_reference(self.given, {s: step["brain_ml"] for s, step in self.steps.items()})

    def _untouched(self, masks: Masks) -> AlignedStudy:
        """The study as it is."""

        def whole(sequence: MRSequence) -> NDArray[np.bool_]:
            """The mask on the study's own grid: found again where fine voxels were averaged."""
            given = self.given[sequence]
            return masks[sequence] if given is self.scans[sequence] else self.extract(given).mask

        reference, _ = self._reference()
        for step in self.steps.values():
            step["text"] = "untouched: skull-stripped, and on one grid with the other sequences"
        brain = np.any(list(self.pool.map(whole, self.given)), axis=0).astype(np.uint8)
        return AlignedStudy(
            self.given,
            self.given[reference].with_data(brain),
            {s: without_voxels(scan) for s, scan in self.given.items()},
            reference,
            self.space,
            {sequence: np.eye(4) for sequence in self.given},
            self.steps,
            tuple(self.flags),
            self._rounded(),
            untouched=True,
        )

    def _register(self, reference: MRSequence, masks: Masks) -> dict[MRSequence, Matrix]:
        """Sequence → matrix from the reference's world to the scan's; failures are left out."""
        moving = [sequence for sequence in self.scans if sequence != reference]

        def one(sequence: MRSequence) -> Registration:
            return register(
                self.scans[reference], self.scans[sequence], masks[reference], masks[sequence]
            )

        matrices = {reference: np.eye(4)}
        for sequence, found in zip(moving, self.pool.map(one, moving), strict=True):
            self.steps[sequence] |= _told(found, str(reference), self.scans[reference])
            if found.failed:
                self.flags.append(f"{sequence} left out: {'; '.join(found.flags)}")
                continue
            matrices[sequence] = found.matrix
            if found.doubts:
                self.flags.append(f"{sequence} may be misaligned: {'; '.join(found.doubts)}")
        return {sequence: matrices[sequence] for sequence in self.scans if sequence in matrices}

    def _common(
        self,
        reference: MRSequence,
        masks: Masks,
        to_scan: dict[MRSequence, Matrix],
    ) -> tuple[dict[MRSequence, Matrix], Volume]:
        """Matrices from the common grid, and the grid."""
        if self.space == "mni":
            found = register_with_atlas(self.scans[reference], masks[reference])
            self.steps[reference] |= {"atlas": _told(found, "the ICBM 152 atlas", None)}
            if found.failed:
                raise StudyError(
                    "cannot be aligned with the atlas",
                    field=str(reference),
                    got="; ".join(found.flags),
                    hint="use the space of the reference",
                )
            if found.doubts:
                self.flags.append(f"the atlas may be misaligned: {'; '.join(found.doubts)}")
            return {s: m @ found.matrix for s, m in to_scan.items()}, mni_grid(self.spacing)
        points = [
            moved(outline(self.scans[s], masks[s]), carrying.inverse(matrix))
            for s, matrix in to_scan.items()
        ]
        scan = self.scans[reference]
        return to_scan, grid_around(scan, masks[reference], self.spacing, np.vstack(points))

    def _resample(
        self,
        reference: MRSequence,
        masks: Masks,
        matrices: dict[MRSequence, Matrix],
        grid: Volume,
    ) -> tuple[NDArray[np.bool_], dict[MRSequence, Volume]]:
        """The brain that most scans agree on, and the images in it."""

        def share(sequence: MRSequence) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
            scan, matrix = self.scans[sequence], matrices[sequence]
            mask = scan.with_data(masks[sequence].astype(np.float32))
            return (
                carrying.carry_share(mask, grid, matrix),
                carrying.field(scan, grid, matrix),
            )

        found = dict(zip(matrices, self.pool.map(share, matrices), strict=True))
        # Where scans disagree evenly, the reference decides.
        weights = {s: np.float32(1.5 if s == reference else 1.0) for s in found}
        votes = sum(weights[s] * part for s, (part, _) in found.items())
        seen = sum(weights[s] * inside for s, (_, inside) in found.items())
        brain = np.asarray(votes > 0.5 * seen) & np.asarray(seen > 0)
        for sequence, (_, inside) in found.items():
            covered = float((inside & brain).sum() / max(1, brain.sum()))
            self.steps[sequence]["covered"] = round(covered, 4)
            if covered < SEEN:
                self.flags.append(f"{sequence} covers {covered:.0%} of the brain")

        def image(sequence: MRSequence) -> Volume:
            scan, matrix = self.scans[sequence], matrices[sequence]
            return grid.with_data(carrying.carry_image(scan, grid, matrix, brain))

        return brain, dict(zip(matrices, self.pool.map(image, matrices), strict=True))


def check_settings(reference: str | None, space: str, spacing: float) -> MRSequence | None:
    """The reference that was asked for.

    Raises:
        StudyError: an argument out of range, or two that contradict each other.
    """
    if space not in SPACES:
        raise StudyError("no such space", field="space", got=space, expected=", ".join(SPACES))
    if not SPACING_MM[0] <= spacing <= SPACING_MM[1]:
        raise StudyError(
            "no such spacing",
            field="spacing",
            got=spacing,
            expected=f"{SPACING_MM[0]} to {SPACING_MM[1]} mm",
        )
    wanted = None if reference is None else parse_sequence(reference)
    if space != "t1ce":
        return wanted
    if wanted not in (None, MRSequence.T1CE):
        raise StudyError(
            "two references", field="reference", got=reference, expected="T1CE, as of space t1ce"
        )
    return MRSequence.T1CE


def _told(found: Registration, target: str, fixed: Volume | None) -> dict[str, Any]:
    """A registration in words and numbers."""
    rotation = found.matrix[:3, :3]
    angle = np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    middle = np.zeros(4) if fixed is None else fixed.affine @ [*(np.array(fixed.shape) / 2), 1]
    middle[3] = 1
    shift = float(np.linalg.norm((found.matrix @ middle - middle)[:3]))
    verb = "not aligned" if found.failed else "aligned"
    doubtful = ", doubtful" if found.doubts and not found.failed else ""
    return {
        "text": f"{verb} with {target} from the {found.start}: turned by {angle:.1f}°, moved by"
        f" {shift:.1f} mm{doubtful}",
        "start": found.start,
        "turned_deg": round(float(angle), 3),
        "moved_mm": round(shift, 3),
        "similarity": round(found.similarity, 4),
        "overlap": round(found.overlap, 4),
        "disagreement_mm": round(found.disagreement, 2),
        "sharpness": round(found.sharpness, 4),
        "seconds": round(found.seconds, 3),
    }


def on_one_grid(scans: Mapping[MRSequence, Volume]) -> bool:
    """Whether every scan has the grid of the first."""
    first, *others = scans.values()
    return all(other.same_grid(first) for other in others)


def _default_extract(threads: int) -> Extract:
    from gliodistill.brain import extract_brain

    return partial(extract_brain, threads=threads)
