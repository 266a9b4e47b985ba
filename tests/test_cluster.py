"""The Ray executor: results equal those of one machine, whatever dies; machines without the files
get them.
"""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny_model
from deadly import Deadly
from gliodistill.cluster.packing import deliver, pack
from gliodistill.cluster.worker import Order, Remote
from gliodistill.errors import GliodistillError
from gliodistill.inference.batch import segment_studies
from gliodistill.inference.predictor import Predictor
from gliodistill.models import ModelPackage
from gliodistill.preparation import Preparation, build_cache
from gliodistill.studies.cohort import open_cohort


def contents(folder: Path, but: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Every file but those with times in them."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.startswith(".") and file.suffix not in but
    }


class Elsewhere:
    """An executor of one worker that sees neither the studies nor the output folder."""

    def __init__(self, output: Path, hidden: Path, away: Path) -> None:
        self.output, self.hidden, self.away = output, hidden, away

    def outcomes(self, work: Any, items: Any) -> Iterator[Any]:
        from gliodistill.pool.worker import outcome_of

        packed, worker = pack(work, self.output, folders=True), Remote()
        order = Order(packed, packed.files(), (), self.output, (self.output / "no", "probe"))
        assert worker.start(order) == (socket.gethostname(), False)
        sent = [(item, each := pack(item, self.output), each.files()) for item in items]
        self.hidden.rename(self.away)  # no such files from here on
        try:
            for item, each, files in sent:
                assert worker.call([each], [None])[0].reply is None
                (answer,) = worker.call([each], [files])
                assert answer.reply is not None and answer.made
                deliver(answer.made, self.output)
                yield outcome_of(item, answer.reply)
        finally:
            self.away.rename(self.hidden)
            worker.close()


def test_machines_without_the_files_get_them_and_send_results(cohort: Path, tmp_path: Path) -> None:
    """Prepared studies are the same, byte by byte, but for nothing."""
    studies = open_cohort(cohort, labels="brats2021")
    elsewhere = Elsewhere(tmp_path / "there", cohort, cohort.with_name("away"))
    build_cache(studies, Preparation(), tmp_path / "there", executor=elsewhere)
    build_cache(studies, Preparation(), tmp_path / "here", jobs=1)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert len(contents(tmp_path / "here")) > 9


def test_what_cannot_be_sent_is_said() -> None:
    with pytest.raises(GliodistillError, match="cannot be sent to another machine"):
        pack(lambda: None)
    with pytest.raises(GliodistillError, match="expected auto, or ray://HOST:PORT"):
        pytest.importorskip("ray", reason="the extra cluster is not installed")
        from gliodistill.cluster import Cluster

        Cluster("localhost")


@pytest.fixture(scope="module")
def two_machines() -> Iterator[Any]:
    """A cluster of two raylets with a core each, on loopback."""
    pytest.importorskip("ray", reason="the extra cluster is not installed")
    # Else workers get no time on a busy machine.
    os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    import ray
    from ray.cluster_utils import Cluster as Raylets

    size = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    raylets = Raylets(initialize_head=True, head_node_args=size)
    raylets.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    os.environ["RAY_ADDRESS"] = raylets.address
    yield raylets
    ray.shutdown()
    raylets.shutdown()
    del os.environ["RAY_ADDRESS"]
    os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """Segments what is bright."""
    return tiny_model.export(tmp_path_factory.mktemp("voxelwise") / "model")


def test_workers_that_die_are_replaced(two_machines: Any, tmp_path: Path) -> None:
    from gliodistill.cluster import Cluster

    cluster = Cluster("auto", tmp_path)
    items = [0, -2, *range(1, 9)]
    outcomes = {o.item: o for o in cluster.outcomes(Deadly(tmp_path), items)}
    assert sorted(outcomes) == sorted(items)
    assert "died twice" in str(outcomes[-2].error)
    assert all((outcomes[item].error is None) == (item % 2 == 0) for item in range(9))
    assert str(outcomes[3].error) == "odd (field item, got 3)"
    assert sum(share.items for share in cluster.shares.values()) == 9
    assert "done" in cluster.summary()[0]


def test_workers_that_do_not_start_are_given_up(
    two_machines: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gliodistill.cluster import Cluster, executor

    monkeypatch.setattr(executor, "START_S", -1.0)
    cluster = Cluster("auto", tmp_path)
    with pytest.raises(GliodistillError, match=r"no machine .* no worker has started within"):
        list(cluster.outcomes(Deadly(tmp_path), [0, 2]))


def test_segmentations_are_those_of_one_machine(
    two_machines: Any, cohort: Path, package: ModelPackage, tmp_path: Path
) -> None:
    from gliodistill.cluster import Cluster

    studies = open_cohort(cohort, labels="brats2021").studies
    predictor = Predictor(package, threads=1)
    there = segment_studies(
        studies, predictor, tmp_path / "there", executor=Cluster("auto", tmp_path / "there", cpus=1)
    )
    here = segment_studies(studies, predictor, tmp_path / "here", jobs=1)
    assert there.ok and sorted(there.done) == sorted(here.done)
    but = (".json",)  # seconds
    assert contents(tmp_path / "there", but) == contents(tmp_path / "here", but)
    again = segment_studies(
        studies, predictor, tmp_path / "there", resume=True, executor=Cluster("auto")
    )
    assert sorted(again.skipped) == sorted(here.done)
