"""What a result says of how it came about (command, machine, versions), and its two files.

Only the standard library is imported at the top: contestants run in environments of their own.
"""

import json
import os
import platform
import shlex
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any


def command() -> str:
    """This command, as it is run from the repository root; of paths elsewhere the name alone."""
    spec = sys.modules["__main__"].__spec__
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", spec.name if spec else Path(sys.argv[0]).stem, *words])


def cpu_fields() -> dict[str, str]:
    """What Linux says of the processor; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in reversed(lines))
    return {key.strip(): value.strip() for key, _, value in pairs}


def processor() -> str:
    """The processor's name, or its architecture where the name is not known."""
    return cpu_fields().get("model name") or platform.processor() or platform.machine()


def instructions(names: Iterable[str]) -> list[str]:
    """Those of the instruction sets ``names`` that the processor has."""
    flags = cpu_fields().get("flags", "").split()
    return [name for name in names if name in flags]


def load() -> float:
    """How many processes wanted a core in the last minute."""
    return round(os.getloadavg()[0], 2)


def versions(*packages: str) -> dict[str, str]:
    """Python and packages."""
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def write_results(file: Path, facts: dict[str, Any], table: str) -> None:
    """Write ``file`` as ``.json`` (the command, versions and all facts) and as ``.md`` (the table)."""
    from gliodistill.files import make_folder, write_text

    facts = {"command": command(), "versions": versions("gliodistill")} | facts
    text = json.dumps(facts, indent=1, ensure_ascii=False)
    make_folder(file.parent)
    write_text(file.with_suffix(".json"), text + "\n")
    write_text(file.with_suffix(".md"), table)
