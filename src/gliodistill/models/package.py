"""A model as a folder that runs anywhere and proves what it is.

| file | what |
|---|---|
| ``model.json`` | the description, with the SHA-256 of every file, itself included |
| ``model.safetensors`` | weights, float32 |
| ``model.xml``, ``model.bin`` | OpenVINO IR of the same network: uint8 levels in, float32 logits out |
| ``README.md`` | the model card |

Nothing in it is ever unpickled or executed.
"""

import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gliodistill.errors import PackageError
from gliodistill.files import atomic_folder, sha256
from gliodistill.models.card import write_card
from gliodistill.models.spec import ModelSpec, check_keys, checked
from gliodistill.preparation.preparation import Preparation
from gliodistill.studies.labels import LabelConvention
from gliodistill.studies.sequence import Sequence

FORMAT = 2
DESCRIPTION = "model.json"
WEIGHTS = "model.safetensors"
GRAPH = "model.xml"
GRAPH_WEIGHTS = "model.bin"
CARD = "README.md"
NOTICE = "Research use, not a medical device."
_OWN_KEYS = ("format", "notice", "runtime", "versions", "parity", "files")
_BLANK = "0" * 64


@dataclass(frozen=True)
class RuntimeNeeds:
    """What a runtime must know of the graph.

    Attributes:
        divisor: input sides must be multiples of it.
        bytes_per_voxel: memory of one pass, per input voxel (an estimate, on the high side).
        parameters: number of weights.
    """

    divisor: int
    bytes_per_voxel: int
    parameters: int


@dataclass(frozen=True)
class Parity:
    """How one exported format compares with the network it came from, measured at export.

    Attributes:
        weights: how the format stores weights (``"float16"``).
        max_abs_difference: largest difference of any logit.
        max_abs_logit: largest logit, to read the difference against.
        dice: region → Dice between both segmentations, over all inputs.
        inputs: how many images were compared.
    """

    weights: str
    max_abs_difference: float
    max_abs_logit: float
    dice: Mapping[str, float]
    inputs: int


@dataclass(frozen=True)
class ModelPackage:
    """An opened model package: every byte checked against its description.

    Attributes:
        folder: where it lies.
        spec: what the model is.
        runtime: what a runtime must know.
        parity: format → how it compares with torch.
        versions: what exported it.
        fingerprint: SHA-256 that stands for the whole package.
    """

    folder: Path
    spec: ModelSpec
    runtime: RuntimeNeeds
    parity: Mapping[str, Parity]
    versions: Mapping[str, str]
    fingerprint: str

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "ModelPackage":
        """Open a package and verify every file's SHA-256.

        Raises:
            PackageError: no package there, of another format, a key missing or unknown, or a file missing or
                changed by as little as one byte (it is named).
        """
        folder = Path(path)
        description = folder / DESCRIPTION
        try:
            text = description.read_text(encoding="utf-8")
            values = json.loads(text)
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            hint = "a package is a folder written by: gliodistill export RUN -o MODEL"
            raise PackageError("not a model package", file=description, got=error, hint=hint) from error
        try:
            package, files = _parse(folder, values)
        except PackageError as error:
            raise PackageError(error.problem, file=description, field=error.field, got=error.got, expected=error.expected) from error
        own = hashlib.sha256(text.replace(package.fingerprint, _BLANK).encode()).hexdigest()
        if own != package.fingerprint:
            raise _changed(description, own, package.fingerprint)
        for name, digest in files.items():
            file = folder / name
            if not file.is_file():
                raise PackageError("file missing from the model package", file=file, hint="copy the package again, whole")
            if (got := sha256(file)) != digest:
                raise _changed(file, got, digest)
        return package

    def save(self, path: str | os.PathLike[str]) -> "ModelPackage":
        """Copy this package, whole or not at all; the copy is verified.

        Raises:
            OutputError: ``path`` exists or cannot be written.
            PackageError: the package has changed since it was opened.
        """
        with atomic_folder(path) as folder:
            for name in (DESCRIPTION, WEIGHTS, GRAPH, GRAPH_WEIGHTS, CARD):
                shutil.copyfile(self.folder / name, folder / name)
            ModelPackage.open(folder)
        return ModelPackage.open(path)

    @property
    def name(self) -> str:
        """Short name."""
        return self.spec.name

    @property
    def sequences(self) -> tuple[Sequence, ...]:
        """Channels of the input, in order."""
        return self.spec.sequences

    @property
    def preparation(self) -> Preparation:
        """How studies are prepared for it."""
        return self.spec.preparation

    @property
    def convention(self) -> LabelConvention:
        """Label convention of its training truth, and of its output by default."""
        return self.spec.convention


def seal(folder: Path, spec: ModelSpec, runtime: RuntimeNeeds, parity: Mapping[str, Parity], versions: Mapping[str, str]) -> None:
    """Write the card and the description of a folder that already holds weights and graph.

    The description's own digest is that of its text with the digest's place filled by zeros.
    """
    values = spec.to_dict() | {
        "format": FORMAT,
        "notice": NOTICE,
        "runtime": _as_dict(runtime),
        "versions": dict(versions),
        "parity": {name: _as_dict(measured) for name, measured in parity.items()},
    }
    (folder / CARD).write_text(write_card(values), encoding="utf-8")
    files = {name: sha256(folder / name) for name in (WEIGHTS, GRAPH, GRAPH_WEIGHTS, CARD)}
    values["files"] = {DESCRIPTION: _BLANK} | files
    ordered = {key: values[key] for key in ("format", "name", "notice", *(k for k in values if k not in ("format", "name", "notice")))}
    text = json.dumps(ordered, indent=1, ensure_ascii=False) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / DESCRIPTION).write_text(text.replace(_BLANK, digest), encoding="utf-8")


def versions_in_use(*packages: str) -> dict[str, str]:
    """Versions of Python and of installed ``packages`` (those not installed are left out)."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _as_dict(values: Any) -> dict[str, Any]:
    return {f.name: dict(v) if isinstance(v := getattr(values, f.name), Mapping) else v for f in fields(values)}


def _changed(file: Path, got: str, expected: str) -> PackageError:
    hint = "the file is damaged or was edited: export or copy the package again"
    return PackageError("file does not match its SHA-256", file=file, got=got[:16] + "…", expected=expected[:16] + "…", hint=hint)


def _parse(folder: Path, values: object) -> tuple[ModelPackage, dict[str, str]]:
    values = _upgraded(values)
    if isinstance(values, Mapping) and values.get("format", FORMAT) != FORMAT:
        raise PackageError("model package of another format", field="format", got=values["format"], expected=FORMAT)
    described = [f.name for f in fields(ModelSpec)]
    v = check_keys(values, (*_OWN_KEYS, *described), DESCRIPTION)
    spec = ModelSpec.from_dict({name: v[name] for name in described})
    needs = check_keys(v["runtime"], [f.name for f in fields(RuntimeNeeds)], "runtime")
    runtime = checked("runtime", lambda: RuntimeNeeds(**{name: int(n) for name, n in needs.items()}))
    if min(runtime.divisor, runtime.bytes_per_voxel) < 1:
        raise PackageError("model description out of range", field="runtime", got=dict(needs), expected="numbers ≥ 1")
    parity = checked("parity", lambda: {str(name): _parse_parity(str(name), measured) for name, measured in v["parity"].items()})
    versions = checked("versions", lambda: {str(name): str(version) for name, version in v["versions"].items()})
    digests = check_keys(v["files"], (DESCRIPTION, WEIGHTS, GRAPH, GRAPH_WEIGHTS, CARD), "files")
    for name, digest in digests.items():
        if not (isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)):
            raise PackageError("damaged model description", field=f"files.{name}", got=digest, expected="a SHA-256 in hexadecimal")
    files = {name: digest for name, digest in digests.items() if name != DESCRIPTION}
    return ModelPackage(folder, spec, runtime, parity, versions, digests[DESCRIPTION]), files


def _upgraded(values: object) -> object:
    """A description of format 1 (gliodistill 0.1) as one of format 2; anything else as it is."""
    if not (isinstance(values, Mapping) and values.get("format") == 1 and isinstance(values.get("inference"), Mapping)):
        return values
    return {**values, "format": FORMAT, "inference": {**values["inference"], "postprocessing": []}}


def _parse_parity(name: str, values: object) -> Parity:
    v = check_keys(values, [f.name for f in fields(Parity)], f"parity.{name}")
    dice = {str(region): float(d) for region, d in v["dice"].items()}
    return Parity(str(v["weights"]), float(v["max_abs_difference"]), float(v["max_abs_logit"]), dice, int(v["inputs"]))
