"""The script that kills: it kills, it finds what is not whole, and it goes on where it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    "OMP_NUM_THREADS": "1",
}


def python(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands_survive_kills(tmp_path):
    result = tmp_path / "kills.json"
    for kills in (3, 6):
        script = ("-m", "benchmarks.kills", "--work", tmp_path / "work", "-o", result)
        python(*script, "--kills", kills, "--only", "segment", "prepare")
        counted = json.loads(result.read_text())
        assert counted["kills"] == kills
        for name in ("segment", "prepare"):
            count = counted["commands"][name]
            assert count["kills"] >= kills // 3 and count["completed"] >= 1
            assert not count["problems"] and not count["half_written"] and not count["differing"]


FINDS = """
import sys
from pathlib import Path
from benchmarks import kills

good, bad = Path(sys.argv[1]), Path(sys.argv[2])
for folder in (good, bad):
    folder.mkdir()
    (folder / "a.json").write_text('{"volume": 3, "seconds": %d}' % len(folder.name))
    (folder / "log.jsonl").write_text('{"step": 1}\\n{"step": 2}\\n')
    (folder / "volumes.csv").write_text("id\\na\\nb\\n")
    (folder / "image.npy").write_bytes(b"12345678")
assert not kills.faults(bad, good, True) and not kills.differences(bad, good, True)
for name, content in (
    ("a.json", '{"volume": 3'),
    ("a.json", '{"volume": 4}'),
    ("log.jsonl", '{"step": 2}\\n'),
    ("volumes.csv", "id\\na\\nb"[:4] + "x\\n"),
    ("image.npy", "1234"),
    ("strange", ""),
):
    before = (bad / name).read_bytes() if (bad / name).exists() else None
    (bad / name).write_text(content)
    assert len(kills.faults(bad, good, True)) == 1, (name, content)
    (bad / name).unlink()
    if before is not None:
        assert kills.differences(bad, good, True), name
        (bad / name).write_bytes(before)
(bad / "log.jsonl").write_text('{"step": 1}\\n{"st')
assert not kills.faults(bad, good, True) and kills.differences(bad, good, True)
"""


def test_it_finds_what_is_not_whole(tmp_path):
    python("-c", FINDS, tmp_path / "good", tmp_path / "bad")
