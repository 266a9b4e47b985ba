"""A PACS node as a process, and the other side of it: a real Orthanc."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
"""The plugin for DICOMweb."""
PLACES = ("Orthanc", "orthanc", "/usr/sbin/Orthanc")


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Orthanc:
    """An Orthanc of its own, on this machine alone."""

    def __init__(self, root: Path, node_port: int) -> None:
        program = next((found for place in PLACES if (found := shutil.which(place))), None)
        if program is None:
            pytest.skip("Orthanc is not installed (Debian: apt install orthanc)")
        self.dicom, self.http = free_port(), free_port()
        settings = {
            "StorageDirectory": str(root / "storage"),
            "IndexDirectory": str(root / "storage"),
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom,
            "HttpPort": self.http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": True,
            "DicomModalities": {
                "glio": ["GLIO", "127.0.0.1", node_port],
                "stranger": ["OTHER", "127.0.0.1", node_port],
            },
            "Plugins": [str(WEB)] if WEB.is_file() else [],
        }
        self._file, self._command, self._root = root / "orthanc.json", program, root
        self._file.write_text(json.dumps(settings))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = (self._root / "orthanc.log").open("ab")
        self._process = subprocess.Popen(
            [self._command, str(self._file)], stdout=log, stderr=log, env=dict(os.environ)
        )
        log.close()
        for _ in range(300):
            try:
                self.ask("/system")
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((self._root / "orthanc.log").read_text()[-2000:])

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def ask(self, path: str, body: bytes | None = None) -> Any:
        """An answer of its REST API: JSON where it is."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", body)
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
            kind = answer.headers.get("content-type", "")
        return json.loads(content) if "json" in kind else content

    def modalities(self, study: str) -> list[str]:
        """Modality of each series of a study."""
        series = [self.ask(f"/series/{one}") for one in self.ask(f"/studies/{study}")["Series"]]
        return sorted(one["MainDicomTags"]["Modality"] for one in series)

    def send(self, study: str, to: str = "glio") -> None:
        """Have it send the MR series of a study by C-STORE."""
        series = [self.ask(f"/series/{one}") for one in self.ask(f"/studies/{study}")["Series"]]
        wanted = [one["ID"] for one in series if one["MainDicomTags"]["Modality"] == "MR"]
        self.ask(f"/modalities/{to}/store", json.dumps({"Resources": wanted}).encode())


class Node:
    """``gliodistill pacs`` as a process."""

    def __init__(self, root: Path, port: int, peer: int, *options: str) -> None:
        self.root, self.port = root, port
        self.words = [
            *("--aet", "GLIO", "--port", str(port), "--send-to", f"ORTHANC@127.0.0.1:{peer}"),
            *("--quiet", "1.5", "--folder", str(root / "node"), "--threads", "1", *options),
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OMP_NUM_THREADS": "1",
        }
        with (self.root / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gliodistill", "pacs", *self.words],
                stderr=log,
                stdout=log,
                env=environment,
            )

    def end(self, with_signal: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(with_signal)
        code = self.process.wait(30)
        self.process = None
        return code

    def log(self) -> str:
        return (self.root / "node.log").read_text()

    def until(self, told: str | Callable[[], bool], patience: float = 240.0) -> None:
        end = time.monotonic() + patience
        while not (told() if callable(told) else told in self.log()):
            assert time.monotonic() < end, self.log()
            assert self.process is not None and self.process.poll() is None, self.log()
            time.sleep(0.1)
