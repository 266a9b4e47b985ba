"""Breaking files, and the command lines that rows share."""

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from gliodistill.files import sha256

Words = tuple[object, ...]


def edit_voxels(
    file: Path, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray | None = None
) -> None:
    """Rewrite an image with nibabel, which lets everything pass."""
    image = nib.load(file)
    data = change(np.asanyarray(image.dataobj).copy())
    fresh = nib.Nifti1Image(data, image.affine if affine is None else affine)
    fresh.set_sform(image.affine if affine is None else affine, 1)
    nib.save(fresh, file)


def edit_header(file: Path, offset: int, content: bytes) -> None:
    """Strike bytes over at ``offset`` (nifti1.h)."""
    raw = bytearray(gzip.decompress(file.read_bytes()))
    raw[offset : offset + len(content)] = content
    file.write_bytes(gzip.compress(bytes(raw)))


def segment(b, *more: object) -> Words:
    """Segment ``case_0`` with a model that finds the tumour without having learnt."""
    return (
        "segment",
        b.data / "case_0",
        "-m",
        b.copy("model"),
        "-o",
        b.out,
        "--threads",
        "1",
        *more,
    )


def prepare(b, *more: object) -> Words:
    """Prepare all three studies."""
    return ("prepare", b.data, "-o", b.out, "--jobs", "1", *more)


def train(b, *more: object, recipe: Path | None = None) -> Words:
    """Train a teacher and a student for six steps each."""
    return ("train", recipe or b.copy("recipe"), "--data", b.data, "-o", b.out, *more)


def predictions(b) -> Path:
    """Perfect predictions: copies of the truth."""
    folder = b.root / "predictions"
    folder.mkdir()
    for case in b.data.iterdir():
        shutil.copyfile(b.file("seg", case.name), folder / f"{case.name}.nii.gz")
    return folder


def evaluate(b, folder: Path | None = None, *more: object) -> Words:
    """Score predictions (perfect ones by default) against the three studies."""
    return ("evaluate", folder or predictions(b), b.data, "-o", b.root / "evaluation", *more)


def sign(model: Path) -> Path:
    """Put the digests of a package right, as whoever wrote it would."""
    file = model / "model.json"
    values = json.loads(file.read_text())
    files = values["files"]
    files |= {name: sha256(model / name) for name in files if name != file.name}
    files[file.name] = "0" * 64
    text = json.dumps(values)
    file.write_text(text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest()))
    return model


def edit_json(file: Path, change: Callable[[dict], object]) -> Path:
    """Change the values of a JSON file."""
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))
    return file


def place_json(file: Path, text: str, *place: object) -> Path:
    """Put raw text, which no JSON writer writes, at a place of a JSON file."""
    values = inside = json.loads(file.read_text())
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = "@here@"
    file.write_text(json.dumps(values).replace('"@here@"', text))
    return file
