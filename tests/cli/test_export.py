"""What ``export`` may be asked for; that its answers are those of the network is tested in
tests/models.
"""

from pathlib import Path

import pytest

from gliodistill.cli.main import run


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "openvino,tflite"), ("unknown format", "tflite", "openvino, onnx, torch")),
        (("--format", ""), ("unknown format",)),
        (("--format", "monai,onnx"), ("MONAI bundle", "only monai")),
        (("--format", "monai", "--int8"), ("MONAI bundle",)),
        (("--format", "torch", "--int8-default"), ("int8", "openvino among --format")),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(
    options: tuple[str, ...],
    words: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["export", str(tmp_path), "-o", str(tmp_path / "model"), *options]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert all(word in error for word in words)
    assert not (tmp_path / "model").exists()


def test_a_monai_bundle_of_a_training(training: Path, tmp_path: Path) -> None:
    assert run(["export", str(training), "-o", str(tmp_path / "bundle"), "--format", "monai"]) == 0
    assert {file.name for file in (tmp_path / "bundle").rglob("*.*") if file.is_file()} == {
        "inference.json",
        "metadata.json",
        "model.pt",
        "README.md",
    }
