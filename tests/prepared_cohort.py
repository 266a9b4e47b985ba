"""Prepared studies for every test of training, and one thread so that a core shared with others is
enough.
"""

import pytest
import torch

from gliodistill.preparation import Cache, Preparation, build_cache
from gliodistill.studies.cohort import open_cohort
from tiny_cohort import write_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """Folder of three labelled patients."""
    return write_cohort(tmp_path_factory.mktemp("training") / "cohort", 3)


@pytest.fixture(scope="session")
def prepared(cohort) -> Cache:
    """Their cache; not to be written to."""
    return build_cache(
        open_cohort(cohort, labels="brats2021"), Preparation(), cohort.parent / "cache", 1
    )


@pytest.fixture(autouse=True)
def one_thread():
    """The studies are tiny: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
