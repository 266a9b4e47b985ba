"""Jobs over cancelling, a killed server, a killed worker and a full queue; each server is its own."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gliodistill.cli.main import run
from served import Served


@pytest.fixture
def own(model: Path, tmp_path: Path) -> Iterator[Served]:
    for module in ("fastapi", "uvicorn"):
        pytest.importorskip(module, reason="pip install 'gliodistill[serve]'")
    served = Served(tmp_path, "-m", str(model), "--queue", "8")
    yield served
    served.stop()


def workers(server: Served, role: str) -> list[int]:
    """Process ids of the workers of a role."""
    assert server.process is not None
    listed = subprocess.run(
        ["ps", "-eww", "-o", "pid,ppid,args"], capture_output=True, text=True, check=True
    )
    return [
        int(line.split()[0])
        for line in listed.stdout.splitlines()
        if f"gliodistill.serve.worker {role}" in line
        and str(server.root) in line
        and int(line.split()[1]) in (server.process.pid, 1)
    ]


def test_jobs_are_cancelled_found_again_and_bounded(own: Served, files: dict[str, bytes]) -> None:
    upload = own.upload(files)
    (found,) = own.look_into(upload)["studies"]
    first, *others = [own.segment(upload, found["study"]) for _ in range(6)]
    # Cancelled while it waits, and again: it stays so.
    for _ in range(2):
        assert own.api("POST", f"/jobs/{others[-1]['id']}/cancel")["state"] == "cancelled"
    own.wait(first)

    own.kill()
    time.sleep(0.5)
    assert workers(own, "network") == []  # they end with their server
    own.start()
    ended = [own.wait(job) for job in others]
    assert [job["state"] for job in ended] == ["done"] * 4 + ["cancelled"]
    files_of = {tuple(job["result"]["files"]) for job in ended[:-1]}
    assert files_of == {("anna.nii.gz", "anna.json", "anna_prob.nii.gz")}

    # A worker that is killed has its job done again, and no other is lost.
    jobs = [own.segment(upload, found["study"]) for _ in range(2)]
    for pid in workers(own, "network"):
        os.kill(pid, signal.SIGKILL)
    assert {own.wait(job)["state"] for job in jobs} == {"done"}

    while not (alive := workers(own, "network")):
        time.sleep(0.1)
    (pid,) = alive
    os.kill(pid, signal.SIGSTOP)  # a worker that hangs
    waiting = [own.segment(upload, found["study"]) for _ in range(8)]
    status, told, headers = own.ask(
        "POST", "/api/v1/jobs", {"kind": "segment", "upload": upload, "study": found["study"]}
    )
    if own.api("GET", f"/jobs/{waiting[0]['id']}")["state"] == "queued":
        assert status == 503 and headers["retry-after"] and "queue" in told["error"]["message"]
    for job in waiting:
        own.api("POST", f"/jobs/{job['id']}/cancel")
    os.kill(pid, signal.SIGKILL)
    assert own.wait(own.segment(upload, found["study"]))["state"] == "done"


def test_two_servers_do_not_share_a_folder(own: Served, capfd: pytest.CaptureFixture) -> None:
    folder = str(own.root / "store")
    assert run(["serve", "--no-browser", "--port", "0", "--folder", folder]) == 1
    assert "another process is working on it" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--bind", "0.0.0.0"), "--token-file"),
        (("--bind", "0.0.0.0", "--token-file", "{token}"), "--tls-cert"),
        (("--tls-cert", "{token}"), "both"),
        (("--token-file", "{short}"), "unusable token"),
        (("--token-file", "{absent}"), "token cannot be read"),
        (("--behind-proxy", "example.org"), "https://"),
        (("-m", "no such"), "no such model"),
    ],
)
def test_an_unguarded_server_does_not_start(
    options: tuple[str, ...], why: str, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    pytest.importorskip("fastapi", reason="pip install 'gliodistill[serve]'")
    (tmp_path / "token").write_text("x" * 30)
    (tmp_path / "short").write_text("x")
    named = {name: str(tmp_path / name) for name in ("token", "short", "absent")}
    words = [option.format(**named) for option in options]
    store = str(tmp_path / "store")
    assert run(["serve", "--no-browser", "--port", "0", "--folder", store, *words]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert why in line
    assert not (tmp_path / "store").exists()
