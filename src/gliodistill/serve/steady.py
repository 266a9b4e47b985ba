"""Loops that outlive a full disk: what they do is tried again until it succeeds."""

import threading
from collections.abc import Callable

from gliodistill.errors import OutputError

PAUSE_S = 5.0
"""Seconds until the next try where there was no room."""


def steadily(
    work: Callable[[], None],
    every_s: float,
    ended: threading.Event,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Do something again and again, until ``ended``.

    Args:
        work: leaves everything as it was where it fails.
        every_s: seconds between the end of one time and the next.
        ended: set to end it.
        say: told when the disk is full, and when it is no more.
    """
    well = True
    while not ended.wait(every_s if well else PAUSE_S):
        try:
            work()
        except OutputError as error:
            if well:
                say(f"{error}; tried again every {PAUSE_S:.0f} s")
            well = False
        else:
            if not well:
                say("there is room again")
            well = True
