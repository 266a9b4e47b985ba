"""Tissues: what one voxel of a label map can be, with words, a colour and a standard code."""

import re
from dataclasses import dataclass
from enum import StrEnum

Code = tuple[str, str, str]
"""Scheme, value and meaning of a standard code: ``("SCT", "79654002", "Edema")``."""
_COLOUR = re.compile("#[0-9a-f]{6}")
SCHEMES = ("SCT", "NCIt", "DCM", "99GLIODISTILL")


class Tissue(StrEnum):
    """The tissues of the conventions that we know; a user's task may have others, by name."""

    NCR = "NCR"
    ED = "ED"
    ET = "ET"
    NET = "NET"
    CC = "CC"
    RC = "RC"
    GTV = "GTV"


@dataclass(frozen=True)
class Look:
    """How a region or a tissue is shown and told.

    Attributes:
        words: its name in words, in lower case.
        colour: ``#rrggbb``.
        code: what it is, for DICOM: of SNOMED CT (SCT), the NCI Thesaurus (NCIt) or DICOM (DCM).
    """

    words: str
    colour: str
    code: Code

    def __post_init__(self) -> None:
        if not self.words or not _COLOUR.fullmatch(self.colour):
            raise ValueError(f"words, and a colour as #1a2b3c: got {self.words!r}, {self.colour!r}")
        if len(self.code) != 3 or self.code[0] not in SCHEMES or not all(self.code):
            raise ValueError(f"a code of ({', '.join(SCHEMES)}), its value and meaning")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green, blue; 0 to 255."""
        red, green, blue = bytes.fromhex(self.colour[1:])
        return red, green, blue


TISSUES: dict[str, Look] = {
    Tissue.NCR: Look("necrotic core", "#dc3c32", ("SCT", "6574001", "Necrosis")),
    Tissue.ED: Look("oedema", "#3cb44b", ("SCT", "79654002", "Edema")),
    Tissue.ET: Look("enhancing tumour", "#ffd700", ("NCIt", "C113842", "Enhancing Lesion")),
    Tissue.NET: Look("non-enhancing tumour", "#dc3c32", ("NCIt", "C81175", "Non-Enhancing Lesion")),
    Tissue.CC: Look("cyst", "#5082ff", ("SCT", "367643001", "Cyst")),
    Tissue.RC: Look("resection cavity", "#5082ff", ("SCT", "52988006", "Lesion")),
    Tissue.GTV: Look(
        "gross tumour volume",
        "#dc3c32",
        ("SCT", "228791009", "Gross tumor volume (observable entity)"),
    ),
}
"""Tissue → its look. Codes are those of DICOM's context group 7159, "Lesion Segmentation Types",
where it has one."""
