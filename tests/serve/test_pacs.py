"""A node against a real Orthanc: a phantom goes in, SEG and SR come back, over kills on both sides."""

import signal
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gliodistill.cli.main import run
from gliodistill.errors import GliodistillError
from gliodistill.images.nifti import read_labels, read_nifti
from gliodistill.serve.pacs.ledger import RECEIVING, Conflict, Ledger
from gliodistill.serve.pacs.settings import NodeSettings, Peer, Rule
from pacs_peers import WEB, Node, Orthanc, free_port

RULES = ("--only", "modality=MR")


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The DICOM of one synthetic head without T1 and T2, since each costs seconds."""
    import pydicom

    out = tmp_path_factory.mktemp("phantom") / "heads"
    words = ["phantom", str(out), "-n", "1", "--raw", "--dicom", "--spacing", "4", "--jobs", "1"]
    assert run(words) == 0
    for file in (path for path in (out / "scans").rglob("*") if path.is_file()):
        series = pydicom.dcmread(file, stop_before_pixels=True).SeriesDescription
        if series in ("t1_se_tra", "t2_tse_tra_512"):
            file.unlink()
    return out / "scans"


def push(archive: Orthanc, scans: Path) -> str:
    """Give an archive the images of a folder; its name of the one study."""
    for file in sorted(scans.rglob("*")):
        if file.is_file() and file.read_bytes()[128:132] == b"DICM":
            archive.ask("/instances", file.read_bytes())
    (study,) = archive.ask("/studies")
    return study


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[tuple[Orthanc, Node]]:
    pytest.importorskip("pynetdicom", reason="pip install 'gliodistill[serve]'")
    port = free_port()
    archive = Orthanc(tmp_path, port)
    node = Node(tmp_path, port, archive.dicom, *RULES)
    archive.start()
    node.start()
    yield archive, node
    archive.stop()
    if node.process is not None:
        node.end()


@pytest.mark.slow
def test_a_study_goes_round_over_kills_of_node_and_archive(
    orthanc: tuple[Orthanc, Node], heads: Path, tmp_path: Path
) -> None:
    archive, node = orthanc
    study = push(archive, heads)
    before = archive.modalities(study)
    node.until("accepts ORTHANC")

    from pynetdicom import AE

    for caller, welcome in (("ORTHANC", True), ("STRANGER", False)):
        entity = AE(ae_title=caller)
        entity.add_requested_context("1.2.840.10008.1.1")
        association = entity.associate("127.0.0.1", node.port, ae_title="GLIO")
        assert association.is_established is welcome
        if welcome:
            assert association.send_c_echo().Status == 0
            association.release()
    with pytest.raises(urllib.error.HTTPError):  # the node goes by another AE title
        archive.send(study, to="stranger")
    assert archive.ask("/modalities/glio/echo", b"{}") is not None

    archive.send(study)
    node.until("complete,")
    node.end()  # while the network runs
    node.start()
    archive.stop()  # and the archive is down when the results are there
    node.until("not sent")
    node.end()
    archive.start()
    node.start()
    node.until("results sent")
    assert archive.modalities(study) == sorted([*before, "SEG", "SR"])

    (tmp_path / "out").mkdir()
    series = [archive.ask(f"/series/{one}") for one in archive.ask(f"/studies/{study}")["Series"]]
    (seg,) = [one for one in series if one["MainDicomTags"]["Modality"] == "SEG"]
    (instance,) = seg["Instances"]
    (tmp_path / "seg.dcm").write_bytes(archive.ask(f"/instances/{instance}/file"))
    assert run(["segment", str(heads), "-o", str(tmp_path / "out"), "--threads", "1"]) == 0
    (expected,) = tmp_path.glob("out/*/*_seg.dcm")
    import pydicom

    sent, wanted = pydicom.dcmread(tmp_path / "seg.dcm"), pydicom.dcmread(expected)
    assert sent.PixelData == wanted.PixelData
    assert sent.StudyInstanceUID == wanted.StudyInstanceUID
    labels = read_labels(next(tmp_path.glob("out/*.nii.gz")))
    assert np.any(labels.data)

    views = list((node.root / "node").glob("jobs/*/view/*.nii.gz"))
    assert views and all(read_nifti(file).data.std() > 10 for file in views)

    # The same images again: nothing is done twice.
    archive.send(study)
    time.sleep(3)
    assert archive.modalities(study) == sorted([*before, "SEG", "SR"])
    assert node.log().count("segmented in") == 1
    assert node.end(signal.SIGTERM) == 0


@pytest.mark.slow
def test_a_study_is_fetched_and_its_results_are_stored_by_dicomweb(
    heads: Path, tmp_path: Path
) -> None:
    pytest.importorskip("dicomweb_client", reason="pip install 'gliodistill[serve]'")
    if not WEB.is_file():
        pytest.skip("no DICOMweb plugin (Debian: apt install orthanc-dicomweb)")
    archive = Orthanc(tmp_path, free_port())
    node = Node(tmp_path, free_port(), archive.dicom)
    peer = node.words.index("--send-to")
    node.words[peer : peer + 2] = ["--dicomweb", f"http://127.0.0.1:{archive.http}/dicom-web"]
    archive.start()
    try:
        study = push(archive, heads)
        before = archive.modalities(study)
        node.start()
        node.until("results sent")
        assert archive.modalities(study) == sorted([*before, "SEG", "SR"])
        node.end()
    finally:
        archive.stop()


def test_addresses_and_rules_are_checked(capfd: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert Peer.of("ORTHANC@127.0.0.1:4242") == Peer("ORTHANC", "127.0.0.1", 4242)
    for text in ("ORTHANC", "A@b", "A@b:0", "A@b:99999", "LONGER THAN SIXTEEN@b:1", "@b:1"):
        with pytest.raises(GliodistillError, match=r"DICOM node|AE title"):
            Peer.of(text)
    assert Rule.of("body_part=*brain*").fits(["HEAD", "BRAIN"])
    assert not Rule.of("modality=CT").fits(["MR"])
    for text in ("modality", "age=3", "modality="):
        with pytest.raises(GliodistillError, match="no rule"):
            Rule.of(text)
    with pytest.raises(GliodistillError, match="nowhere to send"):
        NodeSettings(tmp_path).check()


def test_the_ledger_keeps_every_image_once_and_every_parcel_until_it_arrived(
    tmp_path: Path,
) -> None:
    ledger = Ledger(tmp_path)
    assert not ledger.knows("1.1", "a")
    ledger.add("1", "key", "1.1", tmp_path / "a", "a", quiet_s=60)
    assert ledger.knows("1.1", "a") and ledger.complete() == []
    with pytest.raises(Conflict):
        ledger.knows("1.1", "b")
    ledger.add("1", "key", "1.2", tmp_path / "b", "b", quiet_s=0)
    (study,) = ledger.complete()
    assert study.state == RECEIVING
    content = ledger.content("1")
    ledger.take(study, content, "job")
    assert ledger.complete() == []
    ledger.close()

    ledger = Ledger(tmp_path)  # after a crash
    (study,) = ledger.in_state("segmenting")
    for _ in range(2):
        ledger.post(study, [tmp_path / "s", tmp_path / "r"], ["A@h:1"])
    first, second = ledger.parcels()
    assert ledger.returned(first, "down") == 5
    assert [parcel.file for parcel in ledger.parcels()] == [second.file]
    assert not ledger.sent(second)
    assert ledger.sent(first)
    ledger.end(study, "done")

    # A late image begins the study again; the same images would not.
    ledger.add("1", "key", "1.3", tmp_path / "c", "c", quiet_s=0)
    (study,) = ledger.complete()
    assert study.content == content != ledger.content("1")
    ledger.close()


def test_a_node_without_pynetdicom_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    assert run(["pacs", "--send-to", "A@127.0.0.1:1", "--folder", str(tmp_path / "node")]) == 1
    assert "gliodistill[serve]" in capfd.readouterr().err
    assert not (tmp_path / "node").exists()
