"""Two raylets on this machine, and what lies in a folder afterwards."""

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def digests(folder: Path, suffix: str = ".nii.gz") -> dict[str, str]:
    """File → SHA-256."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob(f"*{suffix}"))
        if path.is_file() and not path.name.startswith(".")
    }


@contextmanager
def two_raylets() -> Iterator[Any]:
    """A cluster of two raylets with a core each."""
    os.environ |= {
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)]),
    }
    import ray
    from ray.cluster_utils import Cluster as Raylets

    size = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    raylets = Raylets(initialize_head=True, head_node_args=size)
    raylets.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    os.environ["RAY_ADDRESS"] = raylets.address
    try:
        yield raylets
    finally:
        ray.shutdown()
        raylets.shutdown()


def workers_of(raylets: Any) -> list[int]:
    """Processes that the raylets of this benchmark have started as workers."""
    session = Path(raylets.head_node.get_session_dir_path()).name
    lines, parents = {}, {}
    for folder in Path("/proc").iterdir():
        try:
            lines[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(status[1])
        except (OSError, ValueError):
            continue
    ours = {pid for pid, line in lines.items() if "raylet" in line and session in line}
    return [
        pid
        for pid, line in lines.items()
        if line.startswith("ray::Remote") and parents[pid] in ours
    ]
