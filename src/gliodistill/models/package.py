"""A model package: a folder with a network, its description and checksums.

| file | what |
|---|---|
| ``model.json`` | the description, with the SHA-256 of every file, including itself |
| ``model.xml``, ``model.bin`` | OpenVINO IR of the network: uint8 levels in, float32 logits out |
| ``model-int8.xml``, ``model-int8.bin`` | the same, quantised |
| ``model.onnx`` | the same as ONNX; its weights are in ``model.bin`` if that exists |
| ``model.safetensors`` | weights, float32, for torch |
| ``README.md`` | the model card |

A package holds one or more of these exports. Nothing in it is ever unpickled or executed.
"""

import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from gliodistill.checks import check_keys, checked
from gliodistill.documents import Refusal, parse_json, read_document
from gliodistill.errors import PackageError
from gliodistill.files import atomic_folder, sha256
from gliodistill.models.card import CARD, write_card
from gliodistill.models.exports import Export
from gliodistill.models.graph_files import check_graph
from gliodistill.models.shipped import shipped_as
from gliodistill.models.spec import OPTIONAL, ModelSpec
from gliodistill.preparation.preparation import Preparation
from gliodistill.studies.labels import LabelConvention
from gliodistill.studies.sequence import MRSequence

FORMAT = 2
DESCRIPTION = "model.json"
NOTICE = "Research use, not a medical device."
_OWN_KEYS = ("format", "notice", "runtime", "versions", "weights_sha256", "exports", "files")
_BLANK = "0" * 64
_NO_PACKAGE = Refusal(
    PackageError,
    "not a model package",
    "a package is a folder written by: gliodistill export RUN -o MODEL",
)


@dataclass(frozen=True)
class RuntimeNeeds:
    """What a runtime needs to know of the graph.

    Attributes:
        divisor: input sides must be multiples of it.
        bytes_per_voxel: memory of one pass, per input voxel (a conservative estimate).
        parameters: number of weights.
    """

    divisor: int
    bytes_per_voxel: int
    parameters: int


@dataclass(frozen=True)
class ModelPackage:
    """An opened model package: every file checked against its SHA-256.

    Attributes:
        folder: of the package.
        spec: what the model is.
        runtime: facts for runtimes.
        exports: the exports of the network; if a runtime has two, the first is its default.
        weights_sha256: of the trained weights that all exports were made from.
        versions: of the exporting software.
        fingerprint: SHA-256 of the whole package.
    """

    folder: Path
    spec: ModelSpec
    runtime: RuntimeNeeds
    exports: tuple[Export, ...]
    weights_sha256: str
    versions: Mapping[str, str]
    fingerprint: str

    def __repr__(self) -> str:
        exports = ", ".join(f"{each.runtime} {each.weights}" for each in self.exports)
        return f"<ModelPackage {self.name} in {self.folder}: {exports}>"

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "ModelPackage":
        """Open a package and verify every file's SHA-256.

        Raises:
            PackageError: no package there, of another format, a key missing or unknown, a file
                missing or changed by as little as one byte (it is named), or a graph that reads a
                file which the package does not list.
        """
        folder = Path(path)
        description = folder / DESCRIPTION
        text = read_document(description, _NO_PACKAGE)
        values = parse_json(text, _NO_PACKAGE.of(description))
        try:
            package, files = _parse(folder, values)
        except PackageError as error:
            raise PackageError(
                error.problem,
                file=description,
                field=error.field,
                got=error.got,
                expected=error.expected,
            ) from error
        own = hashlib.sha256(text.replace(package.fingerprint, _BLANK).encode()).hexdigest()
        if own != package.fingerprint:
            raise _changed(description, own, package.fingerprint)
        for name, digest in files.items():
            file = folder / name
            if not file.is_file():
                raise PackageError(
                    "file missing from the model package",
                    file=file,
                    hint="copy the whole package again",
                )
            if (got := sha256(file)) != digest:
                raise _changed(file, got, digest)
        for export in package.exports:
            check_graph(folder, export.files)
        return package

    def save(self, path: str | os.PathLike[str]) -> "ModelPackage":
        """Copy this package atomically and verify the copy.

        Raises:
            OutputError: ``path`` exists or cannot be written.
            PackageError: the package has changed since it was opened.
        """
        with atomic_folder(path) as folder:
            for name in (DESCRIPTION, CARD, *_files(self.exports)):
                shutil.copyfile(self.folder / name, folder / name)
            ModelPackage.open(folder)
        return ModelPackage.open(path)

    def find(self, runtime: str, weights: Collection[str] | None = None) -> Export:
        """The package's export for a runtime, by default the first.

        Args:
            runtime: ``"openvino"``, ``"onnx"`` or ``"torch"``.
            weights: accepted formats of weights; None = any.

        Raises:
            PackageError: it holds none.
        """
        for export in self.exports:
            if export.runtime == runtime and (weights is None or export.weights in weights):
                return export
        wanted = f"{runtime} with {' or '.join(weights)} weights" if weights else runtime
        held = ", ".join(f"{export.runtime} ({export.weights})" for export in self.exports)
        hint = (
            "choose another runtime or precision, or export the run again: see --format and --int8"
        )
        raise PackageError(
            f"the package has no export for {wanted}",
            file=self.folder,
            field="exports",
            got=held,
            hint=hint,
        )

    @property
    def name(self) -> str:
        """Short name."""
        return self.spec.name

    @property
    def identity(self) -> str:
        """What results call it: the name and version of a shipped model (``glioma@1``), wherever
        the package lies; the short name of any other.
        """
        return shipped_as(self.fingerprint) or self.name

    @property
    def sequences(self) -> tuple[MRSequence, ...]:
        """Channels of the input, in order."""
        return self.spec.sequences

    @property
    def preparation(self) -> Preparation:
        """How studies are prepared for it."""
        return self.spec.preparation

    @property
    def convention(self) -> LabelConvention:
        """Label convention of its training references, and the default of its output."""
        return self.spec.convention


def seal(
    folder: Path,
    spec: ModelSpec,
    runtime: RuntimeNeeds,
    exports: tuple[Export, ...],
    weights_sha256: str,
    versions: Mapping[str, str],
    sections: str = "",
) -> None:
    """Write the card, with additional ``sections`` if any, and the description of a folder that
    holds the exports.

    The description's own digest is that of its text with the digest's place filled by zeros.
    """
    described = spec.to_dict()
    values = {"format": FORMAT, "name": described.pop("name"), "notice": NOTICE} | described
    values |= {
        "runtime": asdict(runtime),
        "versions": dict(versions),
        "weights_sha256": weights_sha256,
        "exports": [export.to_dict() for export in exports],
    }
    (folder / CARD).write_text(write_card(values, sections), encoding="utf-8")
    values["files"] = {DESCRIPTION: _BLANK} | {
        name: sha256(folder / name) for name in (CARD, *_files(exports))
    }
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / DESCRIPTION).write_text(text.replace(_BLANK, digest), encoding="utf-8")


def versions_in_use(*packages: str) -> dict[str, str]:
    """Versions of Python and of installed ``packages`` (those not installed are omitted)."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _files(exports: Iterable[Export]) -> list[str]:
    """The files of all exports, each once: two may share one."""
    return list(dict.fromkeys(name for export in exports for name in export.files))


def _changed(file: Path, got: str, expected: str) -> PackageError:
    hint = "the file is damaged or was edited: export or copy the package again"
    return PackageError(
        "file does not match its SHA-256",
        file=file,
        got=got[:16] + "…",
        expected=expected[:16] + "…",
        hint=hint,
    )


def _parse(folder: Path, values: object) -> tuple[ModelPackage, dict[str, str]]:
    values = _upgraded(values)
    if isinstance(values, Mapping) and values.get("format", FORMAT) != FORMAT:
        raise PackageError(
            "model package of another format", field="format", got=values["format"], expected=FORMAT
        )
    described = [
        f.name
        for f in fields(ModelSpec)
        if f.name not in OPTIONAL or (isinstance(values, Mapping) and f.name in values)
    ]
    if isinstance(values, Mapping) and "task" in values:
        described.append("task")
    v = check_keys(values, (*_OWN_KEYS, *described), DESCRIPTION)
    spec = ModelSpec.from_dict({name: v[name] for name in described})
    needs = check_keys(v["runtime"], [f.name for f in fields(RuntimeNeeds)], "runtime")
    runtime = checked(
        "runtime", lambda: RuntimeNeeds(**{name: int(n) for name, n in needs.items()})
    )
    if not (1 <= runtime.divisor <= 256 and 1 <= runtime.bytes_per_voxel <= 2**30):
        raise PackageError(
            "model description out of range",
            field="runtime",
            got=dict(needs),
            expected="a divisor of 1 to 256, and bytes per voxel",
        )
    exports = _parse_exports(v["exports"])
    versions = checked(
        "versions", lambda: {str(name): str(version) for name, version in v["versions"].items()}
    )
    digests = check_keys(v["files"], (DESCRIPTION, CARD, *_files(exports)), "files")
    for name, digest in {
        **{f"files.{name}": digest for name, digest in digests.items()},
        "weights_sha256": v["weights_sha256"],
    }.items():
        if not (isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)):
            raise PackageError(
                "damaged model description",
                field=name,
                got=digest,
                expected="a SHA-256 in hexadecimal",
            )
    files = {name: digest for name, digest in digests.items() if name != DESCRIPTION}
    return (
        ModelPackage(
            folder, spec, runtime, exports, v["weights_sha256"], versions, digests[DESCRIPTION]
        ),
        files,
    )


def _parse_exports(values: object) -> tuple[Export, ...]:
    if not isinstance(values, list) or not values:
        raise PackageError(
            "damaged model description",
            field="exports",
            got=values,
            expected="a list of one or more",
        )
    exports = tuple(Export.from_dict(value, f"exports.{i}") for i, value in enumerate(values))
    if len({export.files[0] for export in exports}) < len(exports):
        raise PackageError(
            "damaged model description",
            field="exports",
            got="an export twice",
            expected="each once",
        )
    return exports


def _upgraded(values: object) -> object:
    """A description of format 1 (one OpenVINO graph beside the weights) as one of format 2;
    anything else as it is.
    """
    if not (isinstance(values, Mapping) and values.get("format") == 1):
        return values

    def upgrade() -> object:
        old = dict(values)
        parity = dict(old.pop("parity")["openvino"])
        weights, images = parity.pop("weights"), parity.pop("inputs")
        # Format 1 did not compare the stored weights, and counted random images and studies
        # together.
        unmeasured = {"images": 0, "max_abs_difference": 0.0, "max_abs_logit": 0.0, "dice": {}}
        rest = {"studies": None, "calibration": None}
        exports = [
            {
                "runtime": "openvino",
                "weights": weights,
                "random": {"images": images, **parity},
                **rest,
            },
            {"runtime": "torch", "weights": "float32", "random": unmeasured, **rest},
        ]
        inference = {**old["inference"], "postprocessing": []}
        digest = old["files"]["model.safetensors"]
        return {
            **old,
            "format": FORMAT,
            "inference": inference,
            "exports": exports,
            "weights_sha256": digest,
        }

    return checked("format", upgrade)
