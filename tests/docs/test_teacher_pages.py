"""The pages on teachers of other tools, pasted into one process and checked by what they leave."""

import json

import pytest

from gliodistill.cli.main import run
from nnunet_folders import write_nnunet
from pasting import ROOT, paste_pages

NNUNET, NAME = "distil-your-nnunet", "Dataset137_BraTS"
PAGES = [NNUNET, "distil-from-predictions", "distil-a-monai-bundle"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Page → folder after pasting; nnU-Net's folders lie where its page has them."""
    root = tmp_path_factory.mktemp("pages")
    folders = {page: root / page for page in PAGES}
    for folder in folders.values():
        folder.mkdir()
    try:
        import dynamic_network_architectures  # noqa: F401
    except ImportError:
        del folders[NNUNET]
    else:
        write_nnunet(folders[NNUNET], NAME)
    paste_pages({folders[page]: ROOT / "docs" / "how-to" / f"{page}.md" for page in folders})
    return folders


@pytest.mark.slow
def test_a_bundle_teaches_a_student_that_needs_neither_it_nor_monai(folders):
    folder = folders["distil-a-monai-bundle"]
    told = json.loads((folder / "run" / "distilled" / "summary.json").read_text())["teachers"]
    assert told[0]["monai"] == "bundle" and told[0]["studies"] == 2
    assert (folder / "model" / "model.json").is_file()


@pytest.mark.slow
def test_predictions_teach(folders):
    facts = json.loads((folders["distil-from-predictions"] / "distilled/distil.json").read_text())
    assert facts["teacher"] == {"files": "predictions"} and facts["outputs"][0]["studies"] == 3
    assert facts["rows"]["teacher"]["dice"]["WT"] > 0.99  # softened references
    assert facts["rows"]["teacher"]["megabytes"] is None


@pytest.mark.slow
def test_one_command_goes_from_an_nnunet_to_a_packaged_student(folders, monkeypatch, capsys):
    if NNUNET not in folders:
        pytest.skip("dynamic-network-architectures is not installed")
    monkeypatch.chdir(folders[NNUNET])
    out = folders[NNUNET] / "distilled"
    facts = json.loads((out / "distil.json").read_text())
    assert list(facts["rows"]) == ["teacher", "baseline", "distilled"]
    assert facts["validation"] == ["tiny_2", "tiny_3"]  # whom fold 0 has not seen
    assert facts["outputs"][0]["studies"] == 2 and facts["teacher"]["folds"] == [0]
    for name in ("report.html", "comparison.html", "plan/plan.html", "recipe.yaml"):
        assert (out / name).is_file()
    assert "Only 2 studies" in facts["conclusion"]
    assert facts["conclusion"] in (out / "report.html").read_text()
    assert len(list((folders[NNUNET] / "segmented").glob("*.nii.gz"))) == 4
    words = ["distil", "--teacher", f"nnunet:nnUNet_results/{NAME}", "--budget", "size<=8MB"]
    words += ["--data", f"nnUNet_raw/{NAME}", "-o", "distilled", "--json"]
    assert run(words) == 0  # finished: nothing is done again
    assert json.loads(capsys.readouterr().out)["rows"] == facts["rows"]
    assert run([word.replace("nnunet:", "files:") for word in words]) == 1
    assert "folder is of another teacher" in capsys.readouterr().err
