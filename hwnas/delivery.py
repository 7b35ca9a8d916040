"""From a chosen network to the files that are shipped: training, export, INT8, certificate. Each finished step is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

import devices
from hwnas import certificate as certificates
from hwnas.certificate import FLOAT, INT8

if TYPE_CHECKING:
    from devices import Device, Profile
    from devices.events import OnEvent
    from hwnas.budget import Budget
    from hwnas.certificate import Certificate
    from hwnas.config import Config
    from hwnas.space import SearchSpace
    from hwnas.steps import Steps
    from hwnas.task import Task
    from hwnas.train import Trained
    from predictors import LatencyPredictor


@final
@dataclass
class Delivery:
    """The steps after the search, for one run."""

    config: Config
    folder: Path
    task: Task
    space: SearchSpace
    genotype: NDArray[np.int64]
    budget: Budget
    steps: Steps
    on_event: OnEvent

    def train(self) -> None:
        """Train the network; its weights stay in the checkpoint."""
        from hwnas.train import evaluate

        def trained() -> Mapping[str, Any]:
            validated = evaluate(self._trained.module, self.task.validation, self.task, self._size)
            return {"history": [asdict(e) for e in self._trained.history], "validation_accuracy": validated}

        self.steps.once("trained", trained, self._checkpoint)

    def export(self) -> None:
        """Write the ONNX file and its INT8 version."""
        from hwnas.export import export
        from hwnas.quantize import quantize
        from hwnas.task import normalize

        model, int8 = self._bundle / FLOAT, self._bundle / INT8

        def exported() -> Mapping[str, Any]:
            made = export(self.space, self.genotype, self._trained.module, self.task, model)
            return {"max_difference": made.max_difference}

        def quantized() -> Mapping[str, Any]:
            rng = np.random.default_rng(self.config.seed)
            chosen = rng.permutation(len(self.task.train))[: self.config.quantize.calibration_images]
            quantize(model, int8, normalize(self.task.train.images[chosen], self.task, self._size))
            return {}

        self.steps.once("exported", exported, model)
        self.steps.once("quantized", quantized, int8)

    def certify(self, predictor: LatencyPredictor, device: Device, profile: Profile) -> Certificate:
        """Measure the exported files in a fresh process. Of a file with kernels that the profile does not know (INT8, unless
        it was profiled for it) nothing is predicted.

        ``device`` is only asked for the kernels of the files, for what the predictor says of them.
        """
        from hwnas.certify import Predicted, certify
        from hwnas.mistakes import find

        def certified() -> Mapping[str, Any]:
            estimates = predictor.predict([devices.load_onnx(self._bundle / name) for name in (FLOAT, INT8)], device)
            certificate = certify(
                self._bundle,
                self.budget,
                self.config.device.spec,
                task=self.task,
                predicted={
                    name: Predicted(float(estimates.latency_ms[i]), float(estimates.p50_ms[i]))
                    for i, name in enumerate((FLOAT, INT8))
                    if all(kernel.profiled for kernel in estimates.kernels[i])
                },
                profile=profile,
                max_accuracy_drop=self.config.quantize.max_accuracy_drop,
                seed=self.config.seed,
                on_event=self.on_event,
            )
            kernels = estimates.kernels[(FLOAT, INT8).index(certificate.deploy)]
            mistakes = find(self._bundle / certificate.deploy, certificate.input, self.task, self.config.device.spec)
            return {
                "within_budget": certificate.within_budget,
                "kernels": [asdict(k) for k in kernels],
                **asdict(mistakes),
            }

        self.steps.once("certified", certified, self._bundle / certificates.NAME)
        return certificates.read(self._bundle)

    @cached_property
    def _trained(self) -> Trained:
        from hwnas.determinism import reproducible
        from hwnas.train import train

        with reproducible(self.config.seed):
            module = self.space.build(self.genotype)
        return train(
            module,
            self.task,
            size=self._size,
            settings=self.config.train,
            seed=self.config.seed,
            checkpoint=self._checkpoint,
            provenance={"genotype": self.genotype.tolist()},
            on_event=self.on_event,
        )

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "work" / "network.safetensors"

    @property
    def _bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def _size(self) -> int:
        return self.space.image_size(self.genotype)
