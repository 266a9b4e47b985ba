"""The command line reuses the memory of freed arrays; importing the package changes nothing."""

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
    done = subprocess.run([sys.executable, "-c", FAULTS, word], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_freed_arrays_are_used_again():
    assert faults("reuse") * 10 < faults("own")
