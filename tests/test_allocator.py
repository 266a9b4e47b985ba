"""The command line reuses the memory of freed arrays; importing the package changes nothing."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from gliodistill.allocator import reuse_memory
if sys.argv[1] == "reuse":
    assert reuse_memory()
for turn in range(9):
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(64_000_000, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(word):
    # Without what the Makefile sets for the tests, which reuses memory too.
    environment = {name: value for name, value in os.environ.items() if "MALLOC_" not in name}
    words = [sys.executable, "-c", FAULTS, word]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_freed_arrays_are_used_again():
    assert faults("reuse") * 10 < faults("own")
