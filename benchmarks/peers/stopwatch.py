"""What peers have in common: their stages timed, their answer on standard output. The standard
library alone, to run in any environment.
"""

import json
import resource
import sys
import time
from pathlib import Path


class Stopwatch:
    """Seconds of each stage, and those of all cores, from the moment it is made."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.core_seconds: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Leave out what happened since the last lap."""
        self._start, self._spent = time.perf_counter(), time.process_time()

    def lap(self, stage: str) -> None:
        """The stage that ends here."""
        self.seconds[stage] = time.perf_counter() - self._start
        self.core_seconds[stage] = time.process_time() - self._spent
        self.restart()

    def report(self, tiles: int, all_tiles: bool, shape: list[int]) -> None:
        """Print the seconds, peak memory and what the network was asked for, as JSON."""
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        facts = {
            "seconds": self.seconds,
            "core_seconds": self.core_seconds,
            "tiles": tiles,
            "all_tiles": all_tiles,
            "shape": shape,
            "peak_gb": memory,
        }
        sys.stdout.write(json.dumps(facts) + "\n")


def images(study: Path) -> list[str]:
    """The four sequences of a study in BraTS layout."""
    return [str(next(study.glob(f"*_{name}.nii.gz"))) for name in ("t1", "t1ce", "t2", "flair")]
