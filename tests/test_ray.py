"""A search on a Ray cluster records what one process records, though a node is killed midway."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from devices.events import ignore
from hwnas import searchers, tasks
from hwnas.config import Config
from hwnas.errors import ProvenanceMismatch, SearchError
from hwnas.workers import ray as ray_workers
from hwnas.workers._copy import Copy

# Ray leaves its servers' log files to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def wait_for(port: int) -> None:
    """Until somebody listens there."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


CLIENT_PORT = free_port()


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    """A head that evaluates nothing, and two nodes with a core each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 0, "include_dashboard": False, "ray_client_server_port": CLIENT_PORT}
        made = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            made.add_node(num_cpus=1)
        made.wait_for_nodes()
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the supernet is that all searches have in common."""
    return tmp_path_factory.mktemp("search")


def test_a_node_killed_midway_changes_nothing(
    two_nodes: Cluster, recorded: Callable[..., bytes], quick_config: Config, folder: Path
) -> None:
    alone = recorded(None, quick_config, folder)
    killed = threading.Event()

    def kill() -> None:
        while not ray.is_initialized() or ray.available_resources().get("CPU", 0) > 0:
            time.sleep(0.01)
        two_nodes.remove_node(next(node for node in two_nodes.list_all_nodes() if not node.head), allow_graceful=False)
        killed.set()

    threading.Thread(target=kill, daemon=True).start()
    assert recorded(f"ray://127.0.0.1:{CLIENT_PORT}", quick_config, folder) == alone
    assert killed.wait(timeout=5)
    two_nodes.add_node(num_cpus=1)


def test_a_cluster_that_is_lost_is_said_and_the_search_goes_on_without_it(
    recorded: Callable[..., bytes], quick_config: Config, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.shutdown()  # whatever another test is connected to
    alone = recorded(None, quick_config, folder)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_CLIENT_RECONNECT_GRACE_PERIOD", "1")
    port = free_port()
    lost = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "ray_client_server_port": port},
    )
    wait_for(port)
    head, journal = lost.head_node, folder / "journal"
    assert head is not None

    def kill() -> None:
        while b'"generation"' not in journal.read_bytes():
            time.sleep(0.01)
        lost.remove_node(head, allow_graceful=False)

    journal.write_bytes(b"")
    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(SearchError, match="connection to the Ray cluster broke") as caught:
        recorded(f"ray://127.0.0.1:{port}", quick_config, folder)
    lost.shutdown()
    assert "same command goes on" in caught.value.hint
    begun = journal.read_bytes()
    assert alone.startswith(begun)
    assert begun.count(b'"generation"') in (1, 2)
    assert recorded(None, quick_config, folder, begun=begun) == alone


@pytest.mark.parametrize("name", searchers.names())
def test_every_strategy_resumes_exactly(
    two_nodes: Cluster, recorded: Callable[..., bytes], quick_config: Config, folder: Path, name: str
) -> None:
    if not ray.is_initialized():
        ray.init()  # once for all of them
    alone = recorded(None, quick_config, folder, searcher=name)
    begun = b"".join(alone.splitlines(keepends=True)[:2]) + b'{"torn'
    assert recorded("ray", quick_config, folder, searcher=name, begun=begun) == alone


def test_what_a_worker_raises_is_raised_here(two_nodes: Cluster, quick_config: Config, tmp_path: Path) -> None:
    copy = replace(Copy.of(quick_config, tasks.open("digits", seed=0), tmp_path, threads=1), versions={"torch": "0.1"})
    with ray_workers.cluster(None, copy, ignore) as crew, pytest.raises(ProvenanceMismatch, match="torch: found"):
        crew.evaluate([np.zeros(5, np.int64)] * 2)


def test_a_cluster_that_is_too_small_is_named(
    two_nodes: Cluster, quick_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_workers, "_NODE_WITHIN_S", 0.1)
    copy = Copy.of(quick_config, tasks.open("digits", seed=0), tmp_path, threads=3)
    with ray_workers.cluster(None, copy, ignore) as crew, pytest.raises(SearchError, match=r"No node .* has the 3 CPU"):
        crew.evaluate([np.zeros(5, np.int64)])


@pytest.mark.parametrize(
    ("address", "environment", "noted", "hint"),
    [
        ("ray://127.0.0.1:1", "", "", "ray start --head"),
        (None, "127.0.0.1:1", "", "unset"),
        (None, "ray://127.0.0.1:1", "", "unset"),
        (None, "", "127.0.0.1:1", "ray stop"),
    ],
)
def test_a_cluster_that_is_not_there_is_named_at_once(
    quick_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str | None,
    environment: str,
    noted: str,
    hint: str,
) -> None:
    ray.shutdown()  # whatever another test is connected to
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(noted)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", environment)
    copy = Copy.of(quick_config, tasks.open("digits", seed=0), tmp_path, threads=1)
    begun = time.monotonic()
    with (
        pytest.raises(SearchError, match=r"127\.0\.0\.1:1 cannot be reached") as caught,
        ray_workers.cluster(address, copy, ignore),
    ):
        pass
    assert hint in caught.value.hint
    assert time.monotonic() - begun < 10
