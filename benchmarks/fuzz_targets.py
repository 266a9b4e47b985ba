"""What is fuzzed: inputs made by the program itself, and what an accepted mutation must equal.

Every target copies its inputs once and spoils one file at a time. ``use`` reads the spoilt file
through the public functions or the commands and says what became of it:

* ``same``: accepted, and equal to what the good file gives;
* ``differs``: accepted, other than the good file, and equal to what an independent reader (nibabel,
  ``json``, ``csv``, PyYAML, NumPy) finds in the same bytes: the mutation made another valid file;
* ``WRONG: …``: accepted, and neither: the toolkit read what is not there, or took what it must
  not.

Everything else is an exception: an error of ours (refused), or a foreign one.
"""

import contextlib
import csv
import gzip
import hashlib
import io
import json
import shutil
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from benchmarks import fuzz_mutations as spoil
from gliodistill.cli.main import run
from gliodistill.documents import Refusal
from gliodistill.documents.yaml_text import parse_yaml
from gliodistill.errors import GliodistillError, RecipeError
from gliodistill.evaluation.predictions import noted_convention
from gliodistill.evaluation.scores import Scores
from gliodistill.evaluation.strata import read_strata
from gliodistill.images.nifti import read_labels, read_nifti
from gliodistill.inference import Predictor
from gliodistill.inference.pseudo_cohort import PseudoLabels
from gliodistill.models.package import ModelPackage
from gliodistill.phantom.cohort import write_cohort
from gliodistill.preparation.cache import Cache
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.records import ImageFile
from gliodistill.training.checkpoint import read_tensors
from gliodistill.training.experiment import find_run
from gliodistill.trust.expected_quality import QualityModel

RECIPE = {
    "name": "fuzz",
    "data": {"validation": 1, "spacing": [6.0, 6.0, 6.0]},
    "sampling": {"patch": [16, 16, 16], "batch": 2},
    "training": {
        "steps": 2,
        "warmup": 1,
        "precision": "float32",
        "device": "cpu",
        "validate_every": 2,
        "save_every": 2,
        "optimiser": {"rate": 0.01},
    },
    "runs": {
        "teacher": {"network": {"name": "unet", "options": {"widths": [6, 12]}}, "seed": 7},
        "distilled": {
            "network": {"name": "unet", "options": {"widths": [4, 8]}},
            "method": {
                "name": "compression",
                "options": {"teacher": "teacher", "losses": {"soft_target": {"weight": 0.5}}},
            },
        },
    },
}
QUALITY = {
    "fitted_on": "nothing",
    "low": 0.6,
    "regions": {
        "WT": {
            "intercept": 0.1,
            "coefficients": {"expected_dice": 0.8},
            "patients": 8,
            "rows": 8,
            "mae": 0.05,
            "mae_of_mean": 0.1,
            "spearman": 0.5,
        }
    },
}


class Wrong(Exception):
    """An accepted mutation that must not be, or that was read as something else."""


def make_inputs(root: Path, seed: int, formats: str = "openvino,onnx,torch") -> None:
    """Studies, a training, a model in these formats, a cache, pseudo-labels and scores, by the
    commands.
    """

    def call(*words: object) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            assert run([str(word) for word in words]) == 0, words

    data = root / "data"
    call("phantom", data, "-n", 3, "--seed", seed, "--spacing", 6, "--jobs", 1)
    (root / "recipe.yaml").write_text(json.dumps(RECIPE))  # JSON is YAML
    call("train", root / "recipe.yaml", "--data", data, "-o", root / "run")
    call("export", root / "run", "-o", root / "model", "--format", formats)
    call("prepare", data, "-o", root / "cache", "--spacing", 6, "--jobs", 1)
    call("segment", data, "-m", root / "model", "-o", root / "out", "--threads", 1)
    call("pseudo-label", data, "-m", root / "model", "-o", root / "pseudo", "--soft")
    call("evaluate", root / "out", data, "-o", root / "evaluation")
    (root / "quality.json").write_text(json.dumps(QUALITY))
    ids = sorted(folder.name for folder in data.iterdir())
    rows = [f"{id},site {i % 2},{i}" for i, id in enumerate(ids)]
    (root / "strata.csv").write_text("\n".join(["id,site,year", *rows]) + "\n")
    names = ("t1", "t1ce", "t2", "flair", "seg")
    cells = [[id, *(f"data/{id}/{id}_{name}.nii.gz" for name in names)] for id in ids]
    lines = [["id", *names], *cells]
    (root / "studies.csv").write_text("\n".join(",".join(line) for line in lines) + "\n")
    studies = [dict(zip(("id", *names), line, strict=True)) for line in cells]
    labels = {"0": "background", "1": "necrosis", "2": "edema", "4": "enhancing tumor"}
    (root / "studies.json").write_text(json.dumps({"labels": labels, "studies": studies}))
    raw = root / "nnunet"
    for inner in ("imagesTr", "labelsTr"):
        (raw / inner).mkdir(parents=True)
    for id in ids:
        for channel, name in enumerate(names[:4]):
            source = data / id / f"{id}_{name}.nii.gz"
            shutil.copyfile(source, raw / "imagesTr" / f"{id}_000{channel}.nii.gz")
        shutil.copyfile(data / id / f"{id}_seg.nii.gz", raw / "labelsTr" / f"{id}.nii.gz")
    (raw / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "T1", "1": "T1CE", "2": "T2", "3": "FLAIR"},
                "labels": {"background": 0, "necrosis": 1, "edema": 2, "enhancing tumor": 4},
                "numTraining": len(ids),
                "file_ending": ".nii.gz",
            }
        )
    )


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes:
        name: of the kind.
        weight: how many of all mutations are of it.
        files: those that are spoilt, by pattern under the inputs, each with its mutation.
        use: what to do with a spoilt file: inputs' root, the file, what it held before and holds
            now → ``same`` or ``differs``.
    """

    name: str
    weight: float
    files: dict[str, spoil.Mutation]
    use: Callable[[Path, Path, bytes, bytes, Random], str]
    sign: bool = field(default=False)

    def places(self, root: Path) -> list[tuple[Path, spoil.Mutation]]:
        """Every file that may be spoilt."""
        return [
            (file, mutation)
            for pattern, mutation in self.files.items()
            for file in sorted(root.glob(pattern))
        ]


def command(*words: object) -> str:
    """Run a command as a user does; refused like an error of ours if it says so in one line."""
    out, err, inspecting = io.StringIO(), io.StringIO(), words[0] == "inspect"
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([*(str(word) for word in words), "--json"])
    told = err.getvalue()
    if "this is a bug" in told or "unforeseen" in told or "Traceback" in told:
        raise Wrong(f"foreign: {told[:400]}")
    document = json.loads(out.getvalue()) if code in (0, 1) else {}
    if code == 1 and inspecting and document.get("problems") and not told:
        raise GliodistillError("problems were told")
    if code:
        lines = told.splitlines()
        if not lines or not all(line.startswith("error: ") and len(line) < 9000 for line in lines):
            raise Wrong(f"not one line an error: {told[:400]}")
        raise GliodistillError(lines[0])
    return str(document)[:100]


def _image(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    volume = read_nifti(file)
    good, affine = _good(file, before, "image")
    theirs, their_affine = _nibabel(file)
    if theirs.shape != volume.shape or not np.allclose(
        theirs, volume.data, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(theirs).max()))
    ):
        raise Wrong(f"voxels are not those that nibabel reads: {volume.shape}, {theirs.shape}")
    if not np.allclose(their_affine, volume.affine, rtol=1e-4, atol=1e-3):
        raise Wrong(f"affine {volume.affine[:3].tolist()} is not {their_affine[:3].tolist()}")
    same = np.array_equal(good, volume.data) and np.allclose(affine, volume.affine, atol=1e-3)
    return "same" if same else "differs"


def _labels(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    volume = read_labels(file)
    good, affine = _good(file, before, "labels")
    theirs, their_affine = _nibabel(file)
    if theirs.shape != volume.shape or not (np.abs(theirs - volume.data) < 0.01).all():
        raise Wrong("codes are not those that nibabel reads")
    if not np.allclose(their_affine, volume.affine, rtol=1e-4, atol=1e-3):
        raise Wrong(f"affine {volume.affine[:3].tolist()} is not {their_affine[:3].tolist()}")
    same = np.array_equal(good, volume.data) and np.allclose(affine, volume.affine, atol=1e-3)
    return "same" if same else "differs"


_goods: dict[tuple[Path, str], Any] = {}


def _good(file: Path, before: bytes, kind: str) -> tuple[Any, Any]:
    """Voxels and affine of the good file."""
    if (file, kind) not in _goods:
        good = file.with_name(f"good_{file.name}")
        good.write_bytes(before)
        volume = read_nifti(good) if kind == "image" else read_labels(good)
        good.unlink()
        _goods[file, kind] = volume.data, volume.affine
    return _goods[file, kind]  # type: ignore[no-any-return]


def _nibabel(file: Path) -> tuple[Any, Any]:
    """Voxels and affine in mm as nibabel has them."""
    import nibabel as nib

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            content = file.read_bytes()
            plain = bytearray(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
            if plain[108:112] in (
                bytes(4),
                b"\0\0\0\x80",
            ):  # voxels of a single-file image begin at 352 at least
                plain[108:112] = struct.pack("<f", 352)
            image = nib.Nifti1Image.from_bytes(bytes(plain))
            data = image.get_fdata()
        except Exception as error:
            raise Wrong(f"nibabel refuses it: {type(error).__name__}: {error}") from error
    unit = {1: 1000.0, 3: 0.001}.get(int(image.header["xyzt_units"]) & 7, 1.0)
    affine = np.asarray(image.affine, dtype=float).copy()
    affine[:3] *= unit
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    return data, affine


def _study(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    """One of the commands that read studies, on a study with one spoilt file."""
    study, scored = file.parent, (root / "out", root / "data", "--subset", "--jobs", 1)
    words: tuple[object, ...] = random.choice(
        (
            ("inspect", study, "--deep"),
            ("segment", study, "-m", root / "model", "--threads", 1),
            ("prepare", study, "--jobs", 1, "--spacing", 6),
            ("evaluate", *scored),
        )
    )
    with _scratch(root) as out:
        command(*words, *(() if words[0] == "inspect" else ("-o", out)))
    return "differs"


@contextlib.contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    """A place for outputs; nothing is there."""
    with tempfile.TemporaryDirectory(dir=root) as folder:
        yield Path(folder) / "out"


def _sealed(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    """No byte of a package may change unnoticed."""
    ModelPackage.open(root / "model")
    if before == after:
        return "same"
    raise Wrong("a package was opened with a changed byte")


def sign(folder: Path) -> None:
    """The digests of a package as whoever wrote it would put them; what cannot be signed stays."""
    file = folder / "model.json"
    try:
        values = json.loads(file.read_bytes())
        for name in values["files"]:
            if name != "model.json":
                content = (folder / name).read_bytes()
                values["files"][name] = hashlib.sha256(content).hexdigest()
        values["files"]["model.json"] = "0" * 64
        text = json.dumps(values, indent=1, ensure_ascii=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        file.write_text(text.replace("0" * 64, digest))
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
        return


def _signed(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    """A package that somebody else made: it may be anything, but nothing of it may be foreign."""
    if file.name == "README.md":
        command("models", root / "model")
        return "differs"
    runtime = {"model.onnx": "onnx", "model.safetensors": "torch"}.get(file.name, "openvino")
    if file.name == "model.json" and random.random() < 0.5:
        runtime = random.choice(("openvino", "torch", "onnx"))
    package = ModelPackage.open(root / "model")
    if file.name == "model.json" and random.random() < 0.3:
        with _scratch(root) as out:
            study = min((root / "data").iterdir())
            command("segment", study, "-m", root / "model", "-o", out, "--threads", 1)
        return "differs"
    predictor = Predictor(package, runtime, threads=1)
    image = np.full((len(package.sequences), 16, 16, 16), 128, dtype=np.uint8)
    predictor.region_logits(image)
    return "same" if before == after else "differs"


def _recipe(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    recipe = Recipe.open(file)
    _same_yaml(after)
    if recipe == load_recipe_of(before, root):
        return "same"
    return "differs"


@cache
def load_recipe_of(content: bytes, root: Path) -> Any:
    """The recipe of some bytes."""
    file = root / "good.yaml"
    file.write_bytes(content)
    return Recipe.open(file)


def _same_yaml(content: bytes) -> None:
    """What was read of an accepted recipe is what PyYAML reads, but that dates stay text."""
    import yaml

    text = content.decode("utf-8-sig")
    ours = parse_yaml(text, Refusal(RecipeError, "unreadable"))
    theirs = yaml.load(text, Loader=_TextLoader)
    if ours != theirs:
        raise Wrong(f"YAML was read as {str(ours)[:200]}, PyYAML has {str(theirs)[:200]}")


def _text_loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def text(loader: Any, node: Any) -> str:
        return str(node.value)

    def number(kind: str) -> Callable[[Any, Any], Any]:
        plain = getattr(yaml.SafeLoader, f"construct_yaml_{kind}")
        return lambda loader, node: node.value if ":" in node.value else plain(loader, node)

    Loader.add_constructor("tag:yaml.org,2002:timestamp", text)
    Loader.add_constructor("tag:yaml.org,2002:value", text)
    for kind in ("int", "float"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", number(kind))
    return Loader


_TextLoader = _text_loader()


def _setting(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    """``--set`` of a key to a value out of a spoilt recipe's text."""
    keys = (
        "training.steps", "sampling.patch", "data.validation", "data.spacing", "runs.teacher.seed",
        "runs.distilled.method.options", "training.optimiser", "runs", "name", "a.b.c", "",
        "runs.distilled.network.options.widths", "augmentation.scale", "data.sequences",
    )  # fmt: skip
    start = random.randrange(len(after) + 1)
    value = after[start : start + int(2 ** random.uniform(0, 9))].decode("utf-8", "surrogateescape")
    file.write_bytes(before)
    Recipe.open(file, [f"{random.choice(keys)}={value}"])
    return "differs"


def _manifest(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    cohort = open_cohort(file)
    found = {record.id for record in cohort.studies}
    if file.suffix == ".csv":
        text = after.decode("utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = max("\t;,", key=first.count)
        rows: list[dict[Any, Any]] = list(
            csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        )
    else:
        content = json.loads(after.decode("utf-8-sig"))
        rows = content["studies"] if isinstance(content, dict) else content
    theirs = {str(value).strip() for row in rows for value in row.values() if value is not None}
    if not found <= theirs:
        raise Wrong(f"ids {sorted(found - theirs)} are not in the manifest")
    return "same" if before == after else "differs"


def _dataset(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    cohort = open_cohort(file.parent)
    if len(cohort.studies) != 3:
        raise Wrong(f"{len(cohort.studies)} studies of 3")
    return "differs"


def _cache(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    found = Cache.open(root / "cache")
    for study in found:
        if study.folder.parent != root / "cache":
            raise Wrong(f"a study outside the cache: {study.folder}")
        for name in ("image", "truth") if study.labelled else ("image",):
            ours = np.array(getattr(study, name)())
            theirs = np.load(study.folder / f"{name}.npy", allow_pickle=False)
            if not np.array_equal(ours, theirs):
                raise Wrong(f"{name} is not what NumPy reads")
    return "same" if before == after else "differs"


def _scores(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    scores = Scores.read(file)
    theirs = json.loads(after.decode("utf-8-sig"))["studies"]
    for id, regions in scores.studies.items():
        for region, values in regions.items():
            for metric, value in values.items():
                if theirs[id][region][metric] != value:
                    raise Wrong(f"{id} {region} {metric} is {value}")
    if set(theirs) != set(scores.studies):
        raise Wrong("other studies than the file has")
    json.loads(scores.to_json())
    scores.to_csv()
    return "same" if scores == Scores.from_json(before.decode()) else "differs"


def _comparison(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    good = root / "good.json"
    good.write_bytes(before)
    if good.read_bytes() == after:
        return "same"
    command("compare", good, file)
    return "differs"


def _strata(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    ids = [folder.name for folder in (root / "data").iterdir()]
    strata = read_strata(file, ids)
    rows = list(csv.DictReader(io.StringIO(after.decode("utf-8-sig"), newline="")))
    for one in strata:
        for name, members in one.groups.items():
            theirs = {row["id"].strip() for row in rows if row[one.title].strip() == name}
            if name != "not given" and not set(members) <= theirs:
                raise Wrong(f"group {name} of {one.title} holds {members}")
    return "same" if before == after else "differs"


def _pseudo(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    labels = PseudoLabels.open(root / "pseudo")
    for record in labels.cohort.studies:
        if record.truth is not None and not record.problems:
            read_labels(record.truth.path, record.truth.channel)
            for soft in labels.soft_files(record.id) if labels.soft else ():
                if not soft.is_file():
                    raise Wrong(f"no soft label {soft}")
    return "same" if before == after else "differs"


def _run(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    experiment, name = find_run(root / "run")
    experiment.summary(name)
    experiment.load_network(name)
    return "same" if before == after else "differs"


def _weights(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    tensors, facts = read_tensors(file)
    good = file.with_name("good.safetensors")
    good.write_bytes(before)
    wanted, wanted_facts = read_tensors(good)
    good.unlink()
    equal = set(tensors) == set(wanted) and all(
        bool((tensors[name] == wanted[name]).all()) for name in wanted
    )
    if not equal or facts != wanted_facts:
        raise Wrong("a checkpoint was read with changed tensors or facts")
    return "same"


def _summary(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    """``segment --resume`` beside a spoilt summary, or the convention that it notes."""
    id = file.stem
    if random.random() < 0.9:
        noted_convention([ImageFile(file.with_name(f"{id}.nii.gz"))])
        return "differs"
    before_labels = file.with_name(f"{id}.nii.gz").read_bytes()
    command(
        "segment", root / "data" / id, "-m", root / "model", "-o", root / "out", "--resume",
        "--threads", 1,
    )  # fmt: skip
    if file.with_name(f"{id}.nii.gz").read_bytes() != before_labels:
        raise Wrong("another segmentation than of the good summary")
    return "same"


def _phantom(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    """A cohort that goes on where it was left: what is there must be of the same settings."""
    seed = int(file.parent.name.split("_")[1])
    write_cohort(root / "data", 3, seed, spacing=6.0, jobs=1)
    return "same" if before == after else "differs"


def _quality(root: Path, file: Path, before: bytes, after: bytes, random: Random) -> str:
    QualityModel.read(file)
    return "same" if before == after else "differs"


TARGETS = [
    Target("image", 36, {"data/*/*_t1.nii.gz": spoil.image, "data/*/*_flair.nii.gz": spoil.image},
           _image),
    Target("label map", 14, {"data/*/*_seg.nii.gz": spoil.image}, _labels),
    Target("study, by commands", 1, {"data/*/*.nii.gz": spoil.image}, _study),
    Target("package, sealed", 8, {"model/*": spoil.any_bytes}, _sealed),
    Target(
        "package, signed anew",
        4,
        {
            "model/model.json": spoil.json_value,
            "model/model.xml": spoil.graph_text,
            "model/model.bin": spoil.any_bytes,
            "model/model.onnx": spoil.any_bytes,
            "model/model.safetensors": spoil.tensors,
            "model/README.md": spoil.any_bytes,
        },
        _signed,
        sign=True,
    ),
    Target("recipe", 6, {"recipe.yaml": spoil.yaml_document, "run/recipe.yaml": spoil.yaml_document},
           _recipe),
    Target("--set", 2, {"recipe.yaml": spoil.yaml_document}, _setting),
    Target("manifest", 8, {"studies.csv": spoil.table, "studies.json": spoil.json_document},
           _manifest),
    Target("dataset.json", 4, {"nnunet/dataset.json": spoil.json_document}, _dataset),
    Target(
        "cache",
        4,
        {
            "cache/cache.json": spoil.json_document,
            "cache/*/study.json": spoil.json_document,
            "cache/*/*.npy": spoil.array,
        },
        _cache,
    ),
    Target("scores.json", 4, {"evaluation/scores.json": spoil.json_document}, _scores),
    Target("scores.json, compared", 0.3, {"evaluation/scores.json": spoil.json_value}, _comparison),
    Target("strata", 2, {"strata.csv": spoil.table}, _strata),
    Target(
        "pseudo-labels",
        3,
        {
            "pseudo/pseudo.json": spoil.json_document,
            "pseudo/manifest.json": spoil.json_document,
            "pseudo/*/study.json": spoil.json_document,
            "pseudo/*/labels.nii.gz": spoil.image,
        },
        _pseudo,
    ),
    Target(
        "training",
        1,
        {"run/data.json": spoil.json_document, "run/*/summary.json": spoil.json_document},
        _run,
    ),
    Target("checkpoint", 3, {"run/*/*.safetensors": spoil.tensors}, _weights),
    Target("summary", 2, {"out/*.json": spoil.json_document}, _summary),
    Target("phantom", 1, {"data/*/*_phantom.json": spoil.json_document}, _phantom),
    Target("quality", 1, {"quality.json": spoil.json_document}, _quality),
]  # fmt: skip


if __name__ == "__main__":
    make_inputs(Path(sys.argv[1]), 0)
