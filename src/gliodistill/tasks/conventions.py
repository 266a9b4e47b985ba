"""Label conventions: integer codes ↔ tissues ↔ regions, so that none is confused silently."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import LabelError
from gliodistill.registry import Registry
from gliodistill.tasks.tissues import Tissue

REGIONS: tuple[str, str, str] = ("WT", "TC", "ET")
"""The regions of the task ``glioma``: whole tumour, tumour core, enhancing tumour; nested, in
channel order."""

CORE = frozenset({Tissue.NCR, Tissue.ET, Tissue.NET, Tissue.CC})
"""Tissues of the tumour core."""
REGION_TISSUES: dict[str, frozenset[Tissue]] = {
    "WT": CORE | {Tissue.ED},
    "TC": CORE,
    "ET": frozenset({Tissue.ET}),
}
"""Region of a glioma → its tissues."""


@dataclass(frozen=True)
class LabelConvention:
    """Meaning of each integer code of a label map (0 is background).

    Attributes:
        name: short name, as declared on the command line.
        source: the data sets that use it.
        codes: code → tissue.
    """

    name: str
    source: str
    codes: Mapping[int, str]

    @property
    def detectable(self) -> bool:
        """Whether label maps show that they follow it: it has oedema, enhancing tumour and the
        rest of the core, whose places in a tumour differ.
        """
        drawn = set(self.codes.values())
        return {Tissue.ED, Tissue.ET} <= drawn and bool({Tissue.NCR, Tissue.NET} & drawn)

    def to_regions(self, labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Codes on X Y Z → WT, TC, ET as bool on 3 X Y Z.

        Raises:
            LabelError: a code that this convention does not know.
        """
        table = np.zeros((3, 256), dtype=bool)
        for code, tissue in self.codes.items():
            for channel, region in enumerate(REGIONS):
                table[channel, code] = tissue in REGION_TISSUES[region]
        self.check(labels)
        return table[:, labels.astype(np.uint8)]

    def from_regions(self, regions: NDArray[Any]) -> NDArray[np.uint8]:
        """WT, TC, ET on 3 X Y Z (truthy; made nested, TC and ET only inside their parents) → codes
        on X Y Z.
        """
        whole, core, enhancing = (regions[channel].astype(bool) for channel in range(3))
        core = core & whole
        labels = np.zeros(whole.shape, dtype=np.uint8)
        labels[whole] = self.code_of(Tissue.ED)
        labels[core] = self.code_of(Tissue.NCR, Tissue.NET)
        labels[core & enhancing] = self.code_of(Tissue.ET)
        return labels

    def code_of(self, *tissues: str) -> int:
        """The code of the first of ``tissues`` in this convention."""
        for tissue in tissues:
            for code, drawn in self.codes.items():
                if drawn == tissue:
                    return code
        raise LabelError(
            "convention has none of these tissues",
            field=self.name,
            got=tissues,
            expected=sorted(set(self.codes.values())),
        )

    def check(self, labels: NDArray[Any]) -> None:
        """Raise LabelError if ``labels`` contains a code that is not in this convention."""
        # Counting is about twice as fast as the sort inside np.unique.
        found = (
            np.flatnonzero(np.bincount(labels.ravel(order="K")))
            if labels.dtype == np.uint8
            else np.unique(labels)
        )
        strangers = sorted(set(found.tolist()) - {0, *self.codes})
        if strangers:
            raise LabelError(
                "unknown label codes",
                field="labels",
                got=strangers[:8],
                expected=f"0 or {dict(self.codes)} ({self.name})",
                hint="declare the right convention with --labels",
            )


GTV = LabelConvention("gtv", "BraTS-MEN-RT 2024+, radiotherapy targets", {1: Tissue.GTV})
"""Gross tumour volume only."""
BRATS2013 = LabelConvention(
    "brats2013",
    "BraTS 2012–2016",
    {1: Tissue.NCR, 2: Tissue.ED, 3: Tissue.NET, 4: Tissue.ET},
)
"""Necrosis and solid non-enhancing core apart."""
BRATS2021 = LabelConvention(
    "brats2021", "BraTS 2017–2021, FeTS", {1: Tissue.NCR, 2: Tissue.ED, 4: Tissue.ET}
)
"""No code 3."""
BRATS2023 = LabelConvention(
    "brats2023",
    "BraTS 2023 (GLI, MEN, MET, SSA, PED)",
    {1: Tissue.NCR, 2: Tissue.ED, 3: Tissue.ET},
)
"""Consecutive codes."""
BRATS2024 = LabelConvention(
    "brats2024",
    "BraTS 2024+ after treatment",
    {1: Tissue.NCR, 2: Tissue.ED, 3: Tissue.ET, 4: Tissue.RC},
)
"""With the resection cavity."""
BRATS_PED = LabelConvention(
    "brats-ped", "BraTS-PED 2024+", {1: Tissue.ET, 2: Tissue.NET, 3: Tissue.CC, 4: Tissue.ED}
)
"""Of children, with cystic parts."""
MSD = LabelConvention(
    "msd",
    "MSD Task01, nnU-Net Task082 and Dataset137",
    {1: Tissue.ED, 2: Tissue.NCR, 3: Tissue.ET},
)
"""Oedema first."""


def _check_convention(name: str, convention: Any) -> None:
    if not isinstance(convention, LabelConvention) or convention.name != name:
        raise ValueError(f"label convention {name!r} is no LabelConvention of that name")
    if not convention.codes or not all(0 < code < 256 for code in convention.codes):
        raise ValueError(f"label convention {name!r}: codes from 1 to 255")


def _summarise(convention: LabelConvention) -> str:
    codes = ", ".join(f"{code} {tissue}" for code, tissue in convention.codes.items())
    return f"{convention.source}: {codes}"


CONVENTIONS: Registry[LabelConvention] = Registry(
    "label convention", "gliodistill.label_conventions", LabelError, _check_convention, _summarise
)
"""Name → convention. ``docs/layouts.md`` gives the source of each.

One of another package takes part in the detection as ours do, if it is
:attr:`~LabelConvention.detectable`.
"""
for _convention in (BRATS2021, BRATS2023, BRATS2024, BRATS_PED, MSD, BRATS2013, GTV):
    CONVENTIONS.register(_convention.name)(_convention)
register = CONVENTIONS.register
"""Decorator or call that adds a :class:`LabelConvention` under a name."""
names = CONVENTIONS.names
"""The names of all label conventions, sorted."""


def how_to_declare() -> str:
    """The hint for an undetermined convention."""
    return (
        f"declare it with --labels NAME ({', '.join(CONVENTIONS)}), or for each study in the"
        " column labels of a manifest"
    )


def find_convention(
    name: LabelConvention | str,
    *,
    file: str | PathLike[str] | None = None,
    field: str = "labels",
) -> LabelConvention:
    """The given convention, or the one of that name.

    Raises:
        LabelError: there is none; the message names ``file`` and ``field``, lists the names
            and says which is nearest.
    """
    if isinstance(name, LabelConvention):
        return name
    if name in _BROUGHT:
        return _BROUGHT[name]
    return CONVENTIONS.find(name, field, file=file)


_BROUGHT: dict[str, LabelConvention] = {}
"""Those that a user's task or file describes. They are found by name, but take no part in the
detection."""


def bring(name: str, source: str, codes: Mapping[int, str]) -> LabelConvention:
    """The convention that a user's task or file describes, from now on found by its name.

    Raises:
        LabelError: ours of that name has other codes.
    """
    known = CONVENTIONS.get(name)
    if known is not None and dict(known.codes) != dict(codes):
        raise LabelError(
            "label convention has the name of another",
            field=name,
            got=dict(codes),
            expected=f"another name, as {name} is {dict(known.codes)}",
        )
    if known is None:
        _BROUGHT[name] = LabelConvention(name, source, codes)
    return known or _BROUGHT[name]
