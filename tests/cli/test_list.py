"""What recipes and options may name, listed."""

import json

from gliodistill.catalogue import KINDS
from gliodistill.cli.main import run


def test_everything_is_listed(capsys):
    assert run(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert list(listed) == list(KINDS)
    assert listed["runtimes"]["openvino"] == {
        "summary": "OpenVINO, on processors: the default.",
        "package": None,
    }


def test_one_kind_is_a_table(capsys):
    assert run(["list", "segmentation-losses"]) == 0
    said = capsys.readouterr().out
    assert "dice_cross_entropy" in said and "dice_focal" in said and "unet" not in said


def test_no_such_kind(capsys):
    assert run(["list", "loses"]) == 1
    assert "did you mean losses?" in capsys.readouterr().err
