"""The app and the node on a disk that is full, and has room again: a real one, in memory."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_series import grid, write_series
from pacs_peers import Node, free_port
from served import Served

NO_ROOM = 0xA700


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True
    )
    if made.returncode:
        pytest.skip("mounting a file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, but: int) -> Path:
    """A file that leaves so many bytes."""
    file = disk / "filler"
    file.write_bytes(bytes(max(shutil.disk_usage(disk).free - but, 0)))
    return file


def store(port: int, files: list[Path]) -> list[int]:
    """The status that a node gives to each image."""
    import pydicom
    from pynetdicom import AE

    entity = AE(ae_title="ORTHANC")
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.4")
    association = entity.associate("127.0.0.1", port, ae_title="GLIO")
    try:
        return [association.send_c_store(pydicom.dcmread(file)).Status for file in files]
    finally:
        association.release()


def test_a_node_loses_nothing(disk: Path, tmp_path: Path) -> None:
    pytest.importorskip("pynetdicom", reason="pip install 'gliodistill[serve]'")
    write_series(tmp_path / "series", grid("axial", (32, 32, 6), (4.0, 4.0, 8.0)))
    files = sorted((tmp_path / "series").rglob("*.dcm"))
    node = Node(disk, free_port(), free_port(), "--only", "description=nothing like this")
    node.start()
    try:
        node.until("accepts ORTHANC")
        filler = fill(disk, 0)
        assert set(store(node.port, files)) == {NO_ROOM}
        filler.unlink()
        assert set(store(node.port, files[:-1])) == {0}
        filler = fill(disk, 0)  # while the study waits for its quiet time
        node.until("database or disk is full")
        filler.unlink()
        node.until("there is room again")
        node.until("passed over")
        assert set(store(node.port, files[-1:])) == {0}
        node.until(lambda: node.log().count("passed over") == 2)  # begun again, with all images
    finally:
        node.end()


def test_the_app_says_so_and_goes_on(disk: Path, model: Path, files: dict[str, bytes]) -> None:
    pytest.importorskip("fastapi", reason="pip install 'gliodistill[serve]'")
    served = Served(disk, "-m", str(model))
    try:
        upload = served.api("POST", "/uploads")["id"]
        name, content = next(iter(files.items()))
        path = f"/api/v1/uploads/{upload}/files?name={name.replace('/', '%2F')}"
        status, told, _ = served.ask("PUT", path, body=content)
        assert status == 507 and "the disk is full" in told["error"]["message"]
        filler = fill(disk, 0)
        status, told, _ = served.ask("POST", "/api/v1/uploads")
        assert status == 507 and str(disk) not in str(told), told
        assert served.api("GET", "/health", token=None)
        filler.unlink()
        assert served.api("POST", "/uploads")["id"] != upload
    finally:
        served.stop()
