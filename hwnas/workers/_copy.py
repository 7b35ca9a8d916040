"""What a worker needs to evaluate networks as the run itself would: configuration, data, and the files of what is shared."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from devices.errors import ProvenanceMismatch
from devices.journal import differences
from devices.versions import versions
from hwnas import judging, spaces
from hwnas.accuracy import Copyable
from hwnas.task import Split
from hwnas.threads import thread_count, threads

if TYPE_CHECKING:
    from hwnas.config import Config
    from hwnas.task import Task

_VERSIONS = ("hwnas", "numpy", "onnxruntime", "torch")


@dataclass(frozen=True)
class Copy:
    """A recipe for copies of a run's accuracy model, which travels to workers.

    Attributes:
        config: of the run.
        task: training and validation images; a worker has no test images.
        folder: of the model's files, for workers on this machine; None elsewhere.
        threads: that each evaluation computes with.
        files: content of those files by their path in the folder, ``(bytes,)`` uint8 each, for workers elsewhere.
        shared_threads: that what is shared was made with.
        versions: of the libraries that decide the numbers.
    """

    config: Config
    task: Task
    folder: Path | None
    threads: int
    files: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    shared_threads: int = field(default_factory=thread_count)
    versions: Mapping[str, str] = field(default_factory=lambda: versions(_VERSIONS))

    @staticmethod
    def of(config: Config, task: Task, folder: Path, *, threads: int) -> Copy:
        """For workers on this machine, which share the folder of the model."""
        return Copy(config, replace(task, read_test=_no_test), folder, threads)

    def packed(self, files: Sequence[Path]) -> Copy:
        """For workers elsewhere: takes the ``files`` along."""
        assert self.folder is not None
        content = {str(path.relative_to(self.folder)): np.fromfile(path, np.uint8) for path in files}
        return replace(self, folder=None, files=content)

    def open(self) -> Evaluator:
        """The copy, ready to evaluate.

        Raises:
            ProvenanceMismatch: other versions of the libraries are here, so that the numbers would differ.
        """
        differing = differences(versions(_VERSIONS), dict(self.versions))
        if differing:
            raise ProvenanceMismatch(
                "A worker's software", differing, hint="Install the same versions on all machines of the cluster."
            )
        return Evaluator(self)


class Evaluator:
    """A copy of a run's accuracy model in a worker."""

    def __init__(self, copy: Copy) -> None:
        config, task = copy.config, copy.task
        space = spaces.open(config.space.name, task.input_shape, len(task.classes), **config.space.settings)
        folder = copy.folder
        if folder is None:
            self._own = tempfile.TemporaryDirectory(prefix="hwnas-")  # lives as long as the worker
            folder = Path(self._own.name)
            for name, content in copy.files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                content.tofile(folder / name)
        self._threads = copy.threads
        model = judging.ranking_model(config, judging.accuracy_model(config, space, task, folder), space, task)
        assert isinstance(model, Copyable)
        with threads(copy.shared_threads):
            model.prepare()
        self._model = model

    def evaluate(self, asked: Any) -> Any:
        """What the model answers."""
        with threads(self._threads):
            return self._model.evaluate(asked)


def _no_test() -> Split:
    raise AssertionError("a worker has no test images")
