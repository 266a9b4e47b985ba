import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny_model
from gliodistill.errors import OutputError, PackageError
from gliodistill.models import InferenceSettings, ModelPackage, ModelSpec, Step

FILES = ("model.json", "model.safetensors", "model.xml", "model.bin", "README.md")
FREE = {"options", "versions", "dice", "validation_dice", "codes"}  # objects whose keys are data


def test_opened_package_says_what_was_exported(package: ModelPackage) -> None:
    assert package.spec == tiny_model.spec("unet")
    assert [str(s) for s in package.sequences] == ["T1", "T1CE", "T2", "FLAIR"]
    assert package.runtime.divisor == 2
    assert {"python", "torch", "openvino"} <= set(package.versions)
    assert ModelPackage.open(package.folder) == package


def test_spec_survives_json(package: ModelPackage) -> None:
    assert ModelSpec.from_dict(json.loads(json.dumps(package.spec.to_dict()))) == package.spec


def test_postprocessing_survives_json_in_order() -> None:
    steps = (Step("second", {"ml": 0.5, "least": 3}), Step("first"))
    made = tiny_model.spec(inference=InferenceSettings((16, 16, 16), postprocessing=steps))
    assert (
        ModelSpec.from_dict(json.loads(json.dumps(made.to_dict()))).inference.postprocessing
        == steps
    )


def test_saved_copy_is_the_same_package(package: ModelPackage, tmp_path: Path) -> None:
    copy = package.save(tmp_path / "copy")
    assert copy.fingerprint == package.fingerprint
    for name in FILES:
        assert (copy.folder / name).read_bytes() == (package.folder / name).read_bytes()


def test_save_refuses_a_folder_with_something_in_it(package: ModelPackage, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="output exists"):
        package.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", FILES[1:])
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_one_changed_byte_is_found_and_named(folder: Path, name: str, where: float) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int(where * (len(content) - 1))] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(PackageError, match=f"{name}: file does not match its SHA-256"):
        ModelPackage.open(folder)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"seed": 1', '"seed": 2'), ('"threshold": 0.5', '"threshold": 0.4'), ("\n }", "\n\n }")],
)
def test_description_vouches_for_itself(folder: Path, old: str, new: str) -> None:
    text = (folder / "model.json").read_text()
    assert old in text
    (folder / "model.json").write_text(text.replace(old, new, 1))
    with pytest.raises(PackageError, match=r"model\.json: file does not match its SHA-256"):
        ModelPackage.open(folder)


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(PackageError, match=name):
        ModelPackage.open(folder)


def _objects(values: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of the objects whose keys are fixed."""
    if isinstance(values, dict) and (not path or path[-1] not in FREE):
        yield path
    inner = (
        values.items()
        if isinstance(values, dict)
        else enumerate(values)
        if isinstance(values, list)
        else ()
    )
    for key, value in inner:
        yield from _objects(value, (*path, key))


def _at(values: Any, path: tuple[str | int, ...]) -> dict[str, Any]:
    for key in path:
        values = values[key]
    return values


def test_every_missing_and_every_unknown_key_is_named(folder: Path) -> None:
    description = folder / "model.json"
    original = description.read_text()
    objects = list(_objects(json.loads(original)))
    assert {
        (),
        ("preparation",),
        ("network",),
        ("exports", 0),
        ("exports", 1, "random"),
        ("files",),
    } <= set(objects)
    missing = 0
    for path in objects:
        for key in _at(json.loads(original), path):
            values = json.loads(original)
            del _at(values, path)[key]
            description.write_text(json.dumps(values))
            with pytest.raises(PackageError, match="key missing") as caught:
                ModelPackage.open(folder)
            assert key in str(caught.value.field)
            missing += 1
        values = json.loads(original)
        _at(values, path)["surprise"] = 1
        description.write_text(json.dumps(values))
        with pytest.raises(PackageError, match="unknown key") as caught:
            ModelPackage.open(folder)
        assert "surprise" in str(caught.value.field)
        assert caught.value.file == description
    assert missing > 40


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("format", 3, "format"),
        ("name", "", "name"),
        ("preparation.spacing", [1, 1], "preparation"),
        ("preparation.sequences", ["T9"], "preparation"),
        ("preparation", None, "preparation"),
        ("may_lack", ["ADC"], "may_lack"),
        ("network.name", 3, "network.name"),
        ("network.options", [], "network.options"),
        ("outputs.kind", "voxels", "outputs.kind"),
        ("outputs.names", ["WT", "ET", "TC"], "outputs.names"),
        ("convention.codes", {"1": "BONE"}, "convention"),
        ("convention.codes", {"900": "ET"}, "convention"),
        ("convention.codes", {}, "convention"),
        ("inference.patch", [16, 16], "inference.patch"),
        ("inference.patch", [16, 16, 0], "inference.patch"),
        ("inference.overlap", 1.0, "inference.overlap"),
        ("inference.threshold", 0, "inference.threshold"),
        ("inference.threshold", None, "inference"),
        ("inference.whole", "yes", "inference.whole"),
        ("inference.postprocessing", {}, "inference.postprocessing"),
        ("inference.postprocessing", [{"name": "", "options": {}}], "inference.postprocessing"),
        ("inference.postprocessing", [{"name": "clean"}], "inference.postprocessing.options"),
        (
            "inference.postprocessing",
            [{"name": "clean", "options": []}],
            "inference.postprocessing",
        ),
        (
            "inference.postprocessing",
            [{"name": "clean", "options": {"ml": True}}],
            "inference.postprocessing.clean.ml",
        ),
        (
            "inference.postprocessing",
            [{"name": "clean", "options": {"ml": float("inf")}}],
            "inference.postprocessing.0.options.ml",
        ),
        ("training.seed", "one", "training"),
        ("training.validation_dice", [1], "training"),
        ("runtime.divisor", 0, "runtime"),
        ("exports", [], "exports"),
        ("exports", {}, "exports"),
        ("exports", [1], "exports.0"),
        ("weights_sha256", "f" * 63, "weights_sha256"),
        ("files.model.bin", "../../other", "files.model.bin"),
    ],
)
def test_bad_value_is_named(folder: Path, path: str, value: object, field: str) -> None:
    values = json.loads((folder / "model.json").read_text())
    first, _, rest = path.partition(".")
    if rest:
        values[first][rest] = value
    else:
        values[first] = value
    (folder / "model.json").write_text(json.dumps(values))
    with pytest.raises(PackageError) as caught:
        ModelPackage.open(folder)
    assert caught.value.field == field
    assert caught.value.file == folder / "model.json"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"runtime": "abacus"}, "exports"),
        ({"weights": "int4"}, "exports"),
        ({"runtime": "torch", "weights": "float32"}, "exports"),
        ({"random": None}, "exports.0.random"),
        ({"studies": []}, "exports.0.studies"),
        (
            {"calibration": {"studies": 1, "patches": "many", "float_layers": 0}},
            "exports.0.calibration",
        ),
    ],
)
def test_bad_export_is_named(folder: Path, changes: dict[str, object], field: str) -> None:
    values = json.loads((folder / "model.json").read_text())
    values["exports"][0] |= changes
    (folder / "model.json").write_text(json.dumps(values))
    with pytest.raises(PackageError) as caught:
        ModelPackage.open(folder)
    assert caught.value.field == field


def test_what_the_package_does_not_hold_is_told(package: ModelPackage) -> None:
    assert package.find("openvino").files == ("model.xml", "model.bin")
    for runtime, weights in (("onnx", None), ("openvino", ("int8",))):
        with pytest.raises(
            PackageError,
            match=rf"no export for {runtime}.*openvino \(float16\), torch \(float32\).*--format",
        ):
            package.find(runtime, weights)


def test_a_package_of_format_1_is_read(folder: Path) -> None:
    """As gliodistill wrote them when a package held one graph."""
    values = json.loads((folder / "model.json").read_text())
    openvino = values.pop("exports")[0]
    digest = values.pop("weights_sha256")
    del values["inference"]["postprocessing"]
    agreement = openvino["random"]
    images = agreement.pop("images")
    values |= {
        "format": 1,
        "parity": {"openvino": {"weights": "float16", "inputs": images, **agreement}},
    }
    text = json.dumps(values).replace(values["files"]["model.json"], "0" * 64)
    (folder / "model.json").write_text(
        text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest())
    )
    opened = ModelPackage.open(folder)
    assert opened.spec == tiny_model.spec("unet")
    assert [(export.runtime, export.weights) for export in opened.exports] == [
        ("openvino", "float16"),
        ("torch", "float32"),
    ]
    assert opened.find("openvino").random.max_abs_difference == agreement["max_abs_difference"]
    assert opened.weights_sha256 == digest == values["files"]["model.safetensors"]


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"x"', "\udcff"])
def test_what_is_no_description_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(PackageError, match=r"model\.json"):
        ModelPackage.open(tmp_path)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="not a model package"):
        ModelPackage.open(tmp_path / "nothing")


def test_card_tells_what_matters(package: ModelPackage) -> None:
    card = (package.folder / "README.md").read_text()
    for fact in (
        "not a medical device",
        "8 synthetic studies",
        "WT 0.900",
        "T1, T1CE, T2, FLAIR",
        "brats2021",
        "4 = ET",
        "openvino",
    ):
        assert fact in card
