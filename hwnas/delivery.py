"""From a chosen network to the files that are shipped: training, export, INT8, certificate. Each finished step is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from devices.errors import DeviceCrashed, UnsupportedOp
from devices.events import Note
from devices.spec import runtime_of
from hwnas.accuracy import SharedWeights
from hwnas.bundle import certificate as certificates
from hwnas.bundle import files as bundle
from hwnas.bundle import native
from hwnas.bundle.certificate import FLOAT, INT8
from hwnas.bundle.formats import FORMATS, FP16, INT8_FOR_TENSORRT
from hwnas.int8 import flavours

if TYPE_CHECKING:
    from devices import Device, Graph, Profile
    from devices.events import OnEvent
    from hwnas.accuracy import AccuracyModel
    from hwnas.budget import Budget
    from hwnas.bundle.certificate import Certificate
    from hwnas.bundle.measured_files import DeviceTerms
    from hwnas.config import Config
    from hwnas.space import SearchSpace
    from hwnas.steps import Steps
    from hwnas.targets import Target
    from hwnas.task import Task
    from hwnas.training.train import Teacher, Trained
    from predictors.estimates import KernelEstimate

Start = Literal["supernet", "scratch"]
_COMPARED = 32  # images


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
    accuracy: AccuracyModel
    steps: Steps
    on_event: OnEvent

    def train(self) -> None:
        """Train the network, from every start that was asked for; the weights stay in the checkpoints."""

        def trained() -> Mapping[str, Any]:
            first, *second = [
                {"history": [asdict(e) for e in made.history], "validation_accuracy": made.validation_accuracy}
                for made in self._trainings.values()
            ]
            scratch = {"from_scratch": second[0]} if second else {}
            return {"start": self._starts[0], "delivered": self._delivered, **first, **scratch}

        self.steps.once("trained", trained, *(self._checkpoint(start) for start in self._starts))

    def export(self) -> None:
        """Write the ONNX file."""
        from hwnas.bundle.export import export

        model = self._bundle / FLOAT

        def exported() -> Mapping[str, Any]:
            difference = export(self.space, self.genotype, self._trained.module, self.task, model)
            return {"max_difference": difference}

        self.steps.once("exported", exported, model)

    def quantize(self, device: Device, profile: Profile) -> None:
        """Write the INT8 file, with the layers in float32 that ``device`` and the validation images ask for; none if the device
        takes no INT8 files."""
        from devices.atomic import write_bytes
        from hwnas.int8.mixed_precision import mix

        int8, settings = self._bundle / INT8, self.config.quantize

        def quantized() -> Mapping[str, Any]:
            images, labels = self._validation()
            try:
                mixture = mix(
                    self._bundle / FLOAT,
                    self._calibration(),
                    images,
                    labels,
                    device,
                    max_accuracy_drop=settings.max_accuracy_drop,
                    profile=profile,
                    seed=self.config.seed,
                    on_event=self.on_event,
                )
            except (UnsupportedOp, DeviceCrashed) as error:
                int8.unlink(missing_ok=True)
                self.on_event(Note(f"No INT8 file: {device.info.spec} does not run it. {error.message}"))
                return {"verdict": f"{device.info.spec} does not run Q/DQ files in INT8.", "refused": error.message}
            write_bytes(int8, mixture.model.SerializeToString())
            return mixture.to_json()

        self.steps.once("quantized", quantized, int8)

    def translate(self, device: Device) -> None:
        """Write the files in the format that ``device`` runs, where that is not ONNX."""
        from hwnas.onnx_inference import logits

        spec = self.config.device.spec
        form = None if bundle.runs_engines(spec) else FORMATS.get(runtime_of(spec))
        wanted = () if form is None else tuple(form.files)
        sources = {name: path for name in wanted if (path := bundle.source(self._bundle, name)).is_file()}
        if not sources:
            return

        def translated() -> Mapping[str, Any]:
            images = self._validation()[0][:_COMPARED]
            differences = {}
            for name, source in sources.items():
                native.translate(device, source, self._bundle / name, lambda: self._trained.module)
                if source.name == FLOAT:
                    graph = bundle.graph(self._bundle, name)
                    outputs = logits(graph.to_onnx(), images)
                    differences[name] = native.difference(device, graph, images, outputs)
            return {"max_difference": differences}

        made = [part for name in sources for part in native.parts(self._bundle / name)]
        self.steps.once("translated", translated, *sources.values(), *made)

    def build_engines(self) -> None:
        """Write the FP16 file, the INT8 file for TensorRT where the run's own is for something else, and the engines of all."""
        from hwnas.bundle.engines import build_engines, write_fp16, write_int8

        own = flavours.of(self.config.device.spec) is flavours.TENSORRT
        sources = [self._bundle / FP16] if own else [self._bundle / FP16, self._bundle / INT8_FOR_TENSORRT]

        def converted() -> Mapping[str, Any]:
            write_fp16(self._bundle)
            if not own:
                write_int8(self._bundle, self._calibration(), *self._validation(), seed=self.config.seed)
            return {}

        def built() -> Mapping[str, Any]:
            records = build_engines(self._bundle, targets=self.config.export.targets, on_event=self.on_event)
            return {"engines": {name: record.to_json() for name, record in records.items()}}

        self.steps.once("converted", converted, *sources)
        wanted = [name for name in bundle.ENGINES if bundle.source(self._bundle, name).is_file()]
        self.steps.once("engines", built, *(self._bundle / name for name in wanted))

    def certify(self, targets: Sequence[Target]) -> Certificate:
        """Measure the exported files in a fresh process, on every target's device. Of a file with kernels that the profile does
        not know (INT8, unless it was profiled for it) nothing is predicted.

        The targets' own devices are only asked for the kernels of the files, for what the predictors say of them.
        """
        from hwnas.bundle.certify import certify
        from hwnas.bundle.mistakes import find

        def certified() -> Mapping[str, Any]:
            (first, graphs, kernels), *others = [self._terms(target) for target in targets]
            certificate = certify(
                self._bundle,
                self.budget,
                first.spec,
                task=self.task,
                predicted=first.predicted,
                profile=first.profile,
                also=[terms for terms, _, _ in others],
                max_accuracy_drop=self.config.quantize.max_accuracy_drop,
                seed=self.config.seed,
                on_event=self.on_event,
            )
            mistakes = find(graphs[certificate.deploy], certificate.input, self.task, first.spec)
            return {
                "within_budget": certificate.within_budget,
                "kernels": [asdict(k) for k in kernels[certificate.deploy]],
                **asdict(mistakes),
            }

        self.steps.once("certified", certified, self._bundle / certificates.NAME, *bundle.natives(self._bundle))
        return certificates.read(self._bundle)

    def _terms(self, target: Target) -> tuple[DeviceTerms, Mapping[str, Graph], Mapping[str, Sequence[KernelEstimate]]]:
        """What files are held against on a target's device, those that it runs, and what is predicted of their kernels."""
        from hwnas.bundle.certificate import Limits
        from hwnas.bundle.measured_files import DeviceTerms, Predicted, without_refused

        device = target.device
        graphs = without_refused(device, bundle.contents(self._bundle, device.spec)).measured
        estimates = target.predictor.predict(list(graphs.values()), device)
        kernels = dict(zip(graphs, estimates.kernels, strict=True))
        predicted = {
            name: Predicted(float(estimates.latency_ms[i]), float(estimates.p50_ms[i]))
            for i, name in enumerate(graphs)
            if all(kernel.profiled for kernel in kernels[name])
        }
        return DeviceTerms(device.spec, Limits(**asdict(target.budget)), predicted, target.profile), graphs, kernels

    def _calibration(self) -> NDArray[np.float32]:
        """``(n, C, H, W)`` normalised training images that ranges are found on."""
        from hwnas.task import normalize

        rng = np.random.default_rng(self.config.seed)
        chosen = rng.permutation(len(self.task.train))[: self.config.quantize.calibration_images]
        return normalize(self.task.train.images[chosen], self.task, self._size)

    def _validation(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """``(n, C, H, W)`` normalised validation images and ``(n,)`` their classes."""
        from hwnas.task import normalize

        split = self.task.validation
        return normalize(split.images, self.task, self._size), split.labels

    @property
    def _trained(self) -> Trained:
        return self._trainings[self._delivered]

    @property
    def _delivered(self) -> Start:
        """The start of the training that validates best; the first of equals."""
        return max(self._starts, key=lambda start: self._trainings[start].validation_accuracy)

    @property
    def _starts(self) -> tuple[Start, ...]:
        """The start that was asked for, and the other one if that was asked for too."""
        settings = self.config.train
        if settings.start == "scratch" or self._shared is None:
            return ("scratch",)
        return ("supernet", "scratch") if settings.also_from_scratch else ("supernet",)

    @cached_property
    def _trainings(self) -> Mapping[Start, Trained]:
        return {start: self._train(start) for start in self._starts}

    def _train(self, start: Start) -> Trained:
        from hwnas.training.determinism import reproducible
        from hwnas.training.train import train

        settings = self.config.train
        if self._shared is not None and start == "supernet":
            module = self._shared.inherit(self.genotype)
            rate = settings.learning_rate * settings.inherited_rate
            settings = settings.model_copy(update={"learning_rate": rate})
        else:
            with reproducible(self.config.seed):
                module = self.space.build(self.genotype)
        return train(
            module,
            self.task,
            size=self._size,
            settings=settings,
            seed=self.config.seed,
            checkpoint=self._checkpoint(start),
            teacher=self._teacher,
            provenance={"genotype": self.genotype.tolist(), "start": start, "taught": self._teacher is not None},
            stage="training" if start == self._starts[0] else "from scratch",
            on_event=self.on_event,
        )

    @cached_property
    def _teacher(self) -> Teacher | None:
        """The largest network, where the accuracy model has its weights."""
        from hwnas.training.train import Teacher

        settings = self.config.train
        if settings.teacher_weight == 0 or self._shared is None:
            return None
        size = self.space.image_size(self.space.largest())
        return Teacher(self._shared.teacher(), size, settings.teacher_weight, settings.temperature)

    @property
    def _shared(self) -> SharedWeights | None:
        return self.accuracy if isinstance(self.accuracy, SharedWeights) else None

    def _checkpoint(self, start: Start) -> Path:
        return self.folder / "work" / f"network-{start}.safetensors"

    @property
    def _bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def _size(self) -> int:
        return self.space.image_size(self.genotype)
