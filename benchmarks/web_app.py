"""How long the web app takes: from the command to its address, and from the drop to the result.

    python -m benchmarks.web_app
    python -m benchmarks.web_app --program ENVIRONMENT/bin/gliodistill

Each repetition starts a server process with the shipped model, drops one synthetic study of four
sequences (240 x 240 x 155 voxels of 1 mm) through the API as the page does, waits for the label
map, and drops the same study a second time. Clocks: monotonic, on the client's side.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.provenance import load, processor, write_results

RESULTS = Path(__file__).parent / "results" / "web_app"
TOKEN = "a-token-for-this-benchmark-alone"
STAGES = {
    "start": "command to printed address",
    "first": "drop to result, first study",
    "second": "drop to result, second study",
}
AIMS = {"start": 3.0, "first": 5.0}
"""Seconds."""
PAUSE, PATIENCE = 0.02, 120.0


class Client:
    """The calls that the page makes."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Any:
        """The JSON, or the bytes, of an answer."""
        headers = {"Authorization": f"Bearer {TOKEN}"} | ({"Content-Type": kind} if kind else {})
        request = urllib.request.Request(f"{self.url}/api/v1{path}", body, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            content = answer.read()
            is_json = answer.headers["content-type"] == "application/json"
            return json.loads(content) if is_json else content

    def done(self, job: dict[str, Any]) -> dict[str, Any]:
        """A job's end."""
        end = time.monotonic() + PATIENCE
        while job["state"] in ("queued", "running"):
            if time.monotonic() > end:
                raise SystemExit(f"no result after {PATIENCE:.0f} s: {job}")
            time.sleep(PAUSE)
            job = self.ask("GET", f"/jobs/{job['id']}")
        if job["state"] != "done":
            raise SystemExit(f"{job['state']}: {job['error']}")
        return job

    def drop(self, files: list[Path]) -> float:
        """Seconds from the first byte sent to the label map in hand."""
        began = time.monotonic()
        upload = self.ask("POST", "/uploads")["id"]
        for file in files:
            name = urllib.parse.quote(f"{file.parent.name}/{file.name}", safe="")
            self.ask("PUT", f"/uploads/{upload}/files?name={name}", file.read_bytes())
        (study,) = self.done(self.ask("POST", f"/uploads/{upload}/inspect"))["result"]["studies"]
        asked = {"kind": "segment", "upload": upload, "study": study["study"]}
        job = self.done(self.ask("POST", "/jobs", json.dumps(asked).encode(), "application/json"))
        labels = next(
            n for n in job["result"]["files"] if n.endswith(".nii.gz") and "prob" not in n
        )
        self.ask("GET", f"/jobs/{job['id']}/files/{urllib.parse.quote(labels)}")
        return time.monotonic() - began


def one_run(program: list[str], files: list[Path], folder: Path) -> dict[str, float]:
    """Seconds of each stage in a server of its own."""
    (folder / "token").write_text(TOKEN)
    words = ["serve", "--no-browser", "--port", "0", "--folder", str(folder / "store")]
    began = time.monotonic()
    server = subprocess.Popen(
        [*program, *words, "--token-file", str(folder / "token")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        client = Client(server.stdout.readline().split()[-1].split("/#")[0].rstrip("/"))
        client.ask("GET", "/health")
        start = time.monotonic() - began
        return {"start": start, "first": client.drop(files), "second": client.drop(files)}
    finally:
        server.terminate()
        server.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--repeats", type=int, default=10)
    parser.add_argument(
        "--program", type=Path, help="gliodistill of another environment; default: this one's"
    )
    options = parser.parse_args()
    program = [str(options.program)] if options.program else [sys.executable, "-m", "gliodistill"]
    before, rows = load(), []
    with tempfile.TemporaryDirectory() as work:
        study = Path(work) / "study"
        subprocess.run(
            [*program, "phantom", str(study), "-n", "1", "--spacing", "1"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        files = sorted(f for f in study.rglob("*.nii.gz") if "seg" not in f.name)
        size = sum(file.stat().st_size for file in files)
        for number in range(options.repeats):
            folder = Path(work) / str(number)
            folder.mkdir()
            rows.append(one_run(program, files, folder))
    seconds = {
        stage: {
            "median": round(statistics.median(row[stage] for row in rows), 2),
            "least": round(min(row[stage] for row in rows), 2),
            "most": round(max(row[stage] for row in rows), 2),
        }
        for stage in STAGES
    }
    facts = {
        "machine": {"processor": processor(), "load_before": before},
        "repeats": options.repeats,
        "bytes_dropped": size,
        "seconds": seconds,
    }
    lines = ["| stage | median s | least | most | aim |", "|---|---|---|---|---|"]
    for stage, words in STAGES.items():
        told, aim = seconds[stage], AIMS.get(stage)
        numbers = f"{told['median']:.2f} | {told['least']:.2f} | {told['most']:.2f}"
        lines.append(f"| {words} | {numbers} | {f'≤ {aim:g}' if aim else '–'} |")
    table = "\n".join(lines) + "\n"
    write_results(RESULTS / "web_app", facts, table)
    print(table, end="")
    return int(any(seconds[stage]["median"] > aim for stage, aim in AIMS.items()))


if __name__ == "__main__":
    sys.exit(main())
