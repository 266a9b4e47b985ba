"""A real server process of the web app, and a small client of its API."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TOKEN = "a-token-for-tests-0123456789abcdef"
PATIENCE = 120.0


class Served:
    """``gliodistill serve`` on a free port of this machine."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root, self.options, self.port = root, options, 0
        (root / "token").write_text(TOKEN)
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Start it, on the same port as before."""
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OMP_NUM_THREADS": "1",
        }
        command = [
            *(sys.executable, "-m", "gliodistill", "serve", "--no-browser", "--threads", "1"),
            *("--port", str(self.port), "--folder", str(self.root / "store")),
            *("--token-file", str(self.root / "token"), *self.options),
        ]
        self.log = (self.root / "log").open("a")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "http://" in line, (line, (self.root / "log").read_text())
        self.port = urllib.parse.urlsplit(line.split()[-1]).port or 0

    def kill(self) -> None:
        """As a crash: no chance to tidy up."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._close()

    def stop(self) -> int:
        """As Ctrl-C; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(30)
        self._close()
        return code

    def _close(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        path: str,
        json_body: object = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = TOKEN,
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, content (JSON where it is) and headers of one answer."""
        given = dict(headers or {})
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        if json_body is not None:
            body, given["Content-Type"] = json.dumps(json_body).encode(), "application/json"
        request = urllib.request.Request(self.url + path, body, given, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, content, told = answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            status, content, told = error.code, error.read(), error.headers
            error.close()
        kind = told.get("content-type", "")
        return status, json.loads(content) if kind == "application/json" else content, told

    def api(self, method: str, path: str, json_body: object = None, **options: Any) -> Any:
        """The JSON of a call that succeeds."""
        status, told, _ = self.ask(method, f"/api/v1{path}", json_body, **options)
        assert status < 300, (status, told)
        return told

    def upload(self, files: Mapping[str, bytes]) -> str:
        """Send files under their names; the upload's id."""
        id = self.api("POST", "/uploads")["id"]
        for name, content in files.items():
            named = urllib.parse.quote(name, safe="")
            self.api("PUT", f"/uploads/{id}/files?name={named}", body=content)
        return id

    def wait(self, job: Mapping[str, Any], *states: str) -> dict[str, Any]:
        """The job, once it has ended or is in one of some states."""
        wanted = states or ("done", "failed", "cancelled")
        end = time.monotonic() + PATIENCE
        while (now := self.api("GET", f"/jobs/{job['id']}"))["state"] not in wanted:
            assert time.monotonic() < end, now
            time.sleep(0.05)
        return now

    def look_into(self, upload: str) -> dict[str, Any]:
        """What an upload was taken for."""
        job = self.wait(self.api("POST", f"/uploads/{upload}/inspect"))
        assert job["state"] == "done", job["error"]
        return job["result"]

    def segment(self, upload: str, study: str, **asked: Any) -> dict[str, Any]:
        """Ask for a segmentation."""
        return self.api(
            "POST", "/jobs", {"kind": "segment", "upload": upload, "study": study, **asked}
        )
