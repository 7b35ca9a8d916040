"""Workers of a Ray cluster, on any number of machines."""

from __future__ import annotations

import logging
import os
import re
import socket
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import ray
import ray.exceptions

from devices.events import OnEvent, Progress
from hwnas.errors import HwnasError, SearchError
from hwnas.workers import LOSSES

if TYPE_CHECKING:
    from hwnas.workers._copy import Copy, Evaluator

_ANSWERS_WITHIN_S = 5
_NODE_WITHIN_S = 60  # clusters that grow by themselves take their time
_AGAIN = "The same command goes on from here."


@contextmanager
def cluster(address: str | None, copy: Copy, on_event: OnEvent) -> Iterator[Cluster]:
    """A cluster that evaluates networks, each with as many of its cores as ``copy`` says, and a GPU if this machine has one.

    Args:
        address: ``ray://HOST:PORT``; None is the cluster that Ray finds here, by ``RAY_ADDRESS`` or as a node of it, and if
            there is none, one of this machine that ends with the context.
        copy: goes into the object store once; every worker process takes its copy from there.
        on_event: told of progress.

    Raises:
        SearchError: it cannot be reached.
    """
    ours = not ray.is_initialized()
    if ours:
        _connect(address)
    try:
        yield Cluster(copy, on_event)
    finally:
        if ours:
            ray.shutdown()


@final
class Cluster:
    """See :class:`hwnas.workers.Crew`. Ray gives every evaluation to a free core, and to another one if its machine is lost."""

    def __init__(self, copy: Copy, on_event: OnEvent) -> None:
        from hwnas.training.accelerator import accelerator

        self._needed = {"CPU": copy.threads, "GPU": 1 if accelerator().type == "cuda" else 0}
        self._evaluate: Any = ray.remote(
            num_cpus=self._needed["CPU"], num_gpus=self._needed["GPU"], max_retries=LOSSES - 1
        )(_evaluated)
        self._name, self._copy, self._on_event = uuid.uuid4().hex, ray.put(copy), on_event

    def evaluate(self, asked: Sequence[Any]) -> list[Any]:
        """See :class:`hwnas.workers.Crew`."""
        try:
            tasks = [self._evaluate.remote(self._name, [self._copy], one) for one in asked]
            answers: dict[Any, Any] = {}
            while len(answers) < len(tasks):
                done, _ = ray.wait([task for task in tasks if task not in answers], timeout=_NODE_WITHIN_S)
                if not done:
                    self._require_node()
                answers |= zip(done, ray.get(done), strict=True)
                self._on_event(Progress("generation", len(answers), len(tasks)))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, HwnasError):
                raise error.cause from error
            raise SearchError(
                f"A Ray worker failed: {type(error.cause).__name__}: {error.cause}",
                hint="hwnas has to be installed, in the same version, on every machine of the cluster.",
            ) from error
        except ray.exceptions.RayError as error:
            raise SearchError(
                f"Ray lost an evaluation for good: {error}",
                hint=f"Look for what ended the workers, such as too little memory. {_AGAIN}",
            ) from error
        except ConnectionError as error:
            raise SearchError(f"The connection to the Ray cluster broke: {error}", hint=_AGAIN) from error
        return [answers[task] for task in tasks]

    def _require_node(self) -> None:
        """Ray itself would wait for ever."""
        if not any(
            node["Alive"] and all(node["Resources"].get(kind, 0) >= n for kind, n in self._needed.items())
            for node in ray.nodes()
        ):
            needed = " and ".join(f"{n} {kind}" for kind, n in self._needed.items() if n)
            raise SearchError(
                f"No node of the Ray cluster has the {needed} that an evaluation needs.",
                hint=f"Add one: ray start --address=HEAD:6379. {_AGAIN}",
            )


def _connect(address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # who asked for no GPU sees none
    wanted = address or _named_here()
    named = re.fullmatch(r"(?:ray://)?(.+):(\d+)", wanted)
    try:
        if named is not None:  # Ray itself would try for minutes
            socket.create_connection((named[1].strip("[]"), int(named[2])), timeout=_ANSWERS_WITHIN_S).close()
        try:
            _init(address)
        except ConnectionAbortedError:  # now and then a head fails to start the server for a client
            _init(address)
    except (OSError, ray.exceptions.RayError) as error:
        raise SearchError(
            f"The Ray cluster {wanted or 'of this machine'} cannot be reached: {error}",
            hint="Start one with `ray start --head --ray-client-server-port=10001`, and give ray://HOST:10001."
            if address
            else "RAY_ADDRESS or an earlier `ray start` names it: unset that, or `ray stop`, for one of this machine's cores.",
        ) from error


def _init(address: str | None) -> None:
    ray.init(address, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)


def _named_here() -> str:
    """The cluster that Ray itself would look for: of the environment, or else what this machine was last started as a node of."""
    noted = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()), "ray", "ray_current_cluster")
    return os.environ.get("RAY_ADDRESS") or (noted.read_text().strip() if noted.is_file() else "")


_evaluators: dict[str, Evaluator] = {}
"""In a worker process: its copy, by the name of the run's crew."""


def _evaluated(name: str, copy: list[ray.ObjectRef[Copy]], asked: Any) -> Any:
    """In a worker process. The reference is in a list so that the copy is fetched only by a process that has none."""
    if name not in _evaluators:
        _evaluators.clear()
        _evaluators[name] = ray.get(copy[0]).open()
    return _evaluators[name].evaluate(asked)
