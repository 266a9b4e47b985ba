"""Work that kills its process, for tests of what becomes of it."""

import os
import signal
from pathlib import Path

from gliodistill.errors import GliodistillError


class Deadly:
    """Ends its process at every item below 0, and once at 0; odd items are errors."""

    def __init__(self, folder: Path) -> None:
        self.mark = folder / "dead"

    def __call__(self, item: int) -> int:
        if item < 0 or (item == 0 and not self.mark.exists()):
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if item % 2:
            raise GliodistillError("odd", field="item", got=item)
        return os.getpid()
