"""Images in other formats among NIfTI files: not read, but reported with how to convert them."""

from collections import defaultdict
from pathlib import Path

_ITK = "in Python: SimpleITK.WriteImage(SimpleITK.ReadImage('IN'), 'OUT.nii.gz')"
_PAIR = "in Python: nibabel.save(nibabel.load('IN'), 'OUT.nii.gz')"
_UNPACK = "unpack it and gzip it as .nii.gz"
_DICOM = "dcm2niix -z y FOLDER"

FORMATS: dict[str, tuple[str, str]] = {
    ".hdr": (
        "an .hdr/.img pair",
        f"{_PAIR}; Analyze does not define left and right, so check that",
    ),
    ".img": (
        "an .hdr/.img pair",
        f"{_PAIR}; Analyze does not define left and right, so check that",
    ),
    ".mgz": ("a FreeSurfer image", "mri_convert IN OUT.nii.gz"),
    ".mgh": ("a FreeSurfer image", "mri_convert IN OUT.nii.gz"),
    ".nrrd": ("an NRRD image", _ITK),
    ".nhdr": ("an NRRD image", _ITK),
    ".mha": ("a MetaImage", _ITK),
    ".mhd": ("a MetaImage", _ITK),
    ".mnc": ("a MINC image", "mnc2nii IN OUT.nii"),
    ".head": ("an AFNI image", "3dAFNItoNIFTI -prefix OUT.nii.gz IN"),
    ".dcm": ("DICOM", _DICOM),
    ".ima": ("DICOM", _DICOM),
    ".nii.bz2": ("NIfTI packed by bzip2", _UNPACK),
    ".nii.xz": ("NIfTI packed by xz", _UNPACK),
    ".nii.zst": ("NIfTI packed by zstd", _UNPACK),
    ".nii.zip": ("NIfTI packed by zip", _UNPACK),
}
"""Ending → format, and how to convert it to NIfTI."""


def ending_of(name: str) -> str | None:
    """The ending of a foreign image, in small letters; ``.hdr.gz`` counts as ``.hdr``."""
    low = name.lower()
    for ending in sorted(FORMATS, key=len, reverse=True):
        if low.endswith((ending, f"{ending}.gz")):
            return ending
    return None


def what_to_do(ending: str) -> str:
    """One sentence: what it is and how to convert it."""
    what, how = FORMATS[ending]
    return f"{what}, which is not read; convert it to NIfTI ({how})"


def foreign_stem(name: str) -> str:
    """The name without its ending."""
    ending = ending_of(name) or ""
    return name[: name.lower().rindex(ending)] if ending else name


def foreign_files(folder: Path) -> list[Path]:
    """One file for each foreign image of a folder: the header of a pair, the first of a DICOM
    series.
    """
    if not folder.is_dir():
        return []
    found: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(folder.iterdir()):
        ending = ending_of(file.name)
        if ending and not file.name.startswith(".") and file.is_file():
            series = FORMATS[ending][1] == _DICOM
            found["" if series else foreign_stem(file.name)].append(file)
    return [files[0] for files in found.values()]
