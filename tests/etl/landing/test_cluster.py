"""A Dask cluster lands what one process lands, even when a worker is killed; one that is not there is a clear error."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from distributed import Client, LocalCluster

from etl.errors import SettingsError, UpstreamError
from etl.landing import Landed, Limits
from etl.landing.cluster import Cluster
from etl.landing.share import Share


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50, memory_limit=0
    ) as started:
        yield started


def lines(landed: Landed) -> dict[str, list[bytes]]:
    """All landed lines by type, whatever shares they came in."""
    return {
        kind: sorted(line for path in paths for line in path.read_bytes().splitlines())
        for kind, paths in landed.shards.items()
    }


def check_same(one: Landed, other: Landed) -> None:
    assert lines(one) == lines(other)
    assert one.counts.equals(other.counts)
    assert one.files.equals(other.files)
    assert one.deleted.equals(other.deleted)


def test_the_cluster_lands_the_same_lines_counts_and_rejects(ground, make, cluster) -> None:
    for number in range(7):
        ground.drop(f"{number}.json", make["bundle"](make["patient"](number), make["observation"](number)))
    ground.drop("bad.json", make["bundle"](make["patient"](9), make["patient"](8, gender="zhang-san")))
    ground.drop("broken.json", b"{")
    here, rejected_here = ground.land(), ground.rejects()
    there, rejected_there = ground.land(cluster=cluster.scheduler_address), ground.rejects()
    check_same(here, there)
    assert rejected_here == rejected_there
    assert len(rejected_there) == 2
    assert not list(there.folder.glob(".*")), "answers and half-written files are gone"


def kill_a_busy_worker(cluster: LocalCluster, killed: list[str], ready: threading.Event, over: threading.Event) -> None:
    """Kills a worker, once, while it has a share in hand and others are still waiting."""
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        pids = client.run(os.getpid)
        ready.set()
        while not over.is_set() and not killed:
            busy = {worker: len(tasks) for worker, tasks in client.processing().items() if tasks}
            if sum(busy.values()) >= 3:
                worker = max(busy, key=lambda one: busy[one])
                os.kill(pids[worker], signal.SIGKILL)
                killed.append(worker)
            time.sleep(0.005)


def test_a_worker_killed_in_the_middle_changes_nothing(ground, make, cluster) -> None:
    entries = [make["observation"](number) for number in range(800)]
    for number in range(27):
        ground.drop(f"{number}.json", make["bundle"](make["patient"](number), *entries))
    here = ground.land()
    killed: list[str] = []
    ready, over = threading.Event(), threading.Event()
    killer = threading.Thread(target=kill_a_busy_worker, args=(cluster, killed, ready, over))
    killer.start()
    try:
        assert ready.wait(30)
        there = ground.land(cluster=cluster.scheduler_address)
    finally:
        over.set()
        killer.join()
    assert killed, "the worker was to be killed while shares were waiting"
    check_same(here, there)
    assert not list(there.folder.glob(".*"))


def test_a_folder_that_the_workers_do_not_see_is_told_without_values(ground, cluster) -> None:
    nowhere = Share(ground.folder / "zhang-san", 0, [], frozenset(), Limits())
    with Cluster(cluster.scheduler_address) as dask, pytest.raises(UpstreamError, match="same paths") as told:
        dask.land([nowhere])
    assert "zhang-san" not in str(told.value)


def test_a_scheduler_that_does_not_answer_is_an_upstream_error(ground, make, monkeypatch) -> None:
    monkeypatch.setattr("etl.landing.cluster._WAIT_SECONDS", 1)
    ground.drop("a.json", make["patient"](1))
    with pytest.raises(UpstreamError, match="no Dask scheduler answers"):
        ground.land(cluster="tcp://127.0.0.1:9")


def test_without_distributed_the_error_says_what_to_install(ground, make, monkeypatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    ground.drop("a.json", make["patient"](1))
    monkeypatch.setattr("etl.landing.cluster.import_module", missing)
    with pytest.raises(SettingsError, match=r"pip install blina\[cluster\]"):
        ground.land(cluster="tcp://127.0.0.1:9")
