"""Torch modules of networks made of :class:`hwnas.spaces._steps.Step`: alone, and sharing the weights of equal choices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.spaces._blocks import INPUT, Conv
from hwnas.spaces._elastic import copy_shared, shared_conv
from hwnas.spaces._modules import ConvUnit, as_affine
from hwnas.spaces._steps import Step
from hwnas.training.supernet import Supernet

if TYPE_CHECKING:
    from hwnas.spaces._choice import ChoiceSpace


class NormUnit(nn.Module):
    """Batch norm, then ReLU."""

    def __init__(self, width: int) -> None:
        nn.Module.__init__(self)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width, H, W)`` to the same."""
        return F.relu(self.norm(x))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the depthwise 1×1 convolution that does the same."""
        scale, bias = as_affine(self.norm)
        return scale.float()[:, None, None, None], bias.float()


class StepNetwork(nn.Module):
    """A network alone. Submodules are named as the steps: ``stage1.edge01.conv0`` for ``stage1.edge01/conv0``."""

    def __init__(self, steps: Sequence[Step]) -> None:
        nn.Module.__init__(self)
        self.steps = tuple(steps)
        for step in steps:
            if (module := _module(step)) is not None:
                self._nested(step.place).add_module(step.name, module)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own stub lacks it

    def _nested(self, place: str) -> nn.Module:
        parent: nn.Module = self
        for name in place.split("."):
            if name not in parent._modules:
                parent.add_module(name, nn.Module())
            parent = parent.get_submodule(name)
        return parent

    def unit(self, step: Step) -> nn.Module:
        """The module that holds a step's weights."""
        return self.get_submodule(f"{step.place}.{step.name}")

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, size, size)`` normalised images to ``(B, classes)`` logits."""
        return _run(self.steps, x, lambda step, x: _with_head(step, self.unit(step), x))


class ChoiceNetwork(Supernet):
    """All networks of a space of choices: every option of every choice has its own weights, whatever was chosen elsewhere (Guo et
    al. 2020, "Single path one-shot neural architecture search with uniform sampling", section 3.2)."""

    def __init__(self, space: ChoiceSpace) -> None:
        Supernet.__init__(self)
        self.space = space
        self.shrinking = (frozenset(gene.name for gene in space.genes),)
        most = max(len(gene.options) for gene in space.genes)
        steps: dict[str, Step] = {}
        for option in range(most):
            steps |= {s.output: s for s in space.steps(np.full(len(space.genes), option))}
        self.network = StepNetwork(tuple(steps.values()))

    def forward(self, x: Tensor, genotype: NDArray[np.int64]) -> Tensor:
        """``(B, C, size, size)`` normalised images to ``(B, classes)`` logits of one network, with batch statistics."""
        return _run(self.space.steps(genotype), x, self._shared)

    def _shared(self, step: Step, x: Tensor) -> Tensor:
        unit = self.network.unit(step)
        if step.op == "conv":
            return shared_conv(step.of, unit, x)
        if isinstance(unit, NormUnit):
            norm = unit.norm
            return F.relu(F.batch_norm(x, None, None, norm.weight, norm.bias, True, 0.0, norm.eps))
        return _with_head(step, unit, x)

    def extract(self, genotype: NDArray[np.int64]) -> nn.Module:
        """A module of the space's ``build`` with a copy of the network's weights; its batch norm statistics are fresh."""
        steps = self.space.steps(genotype)
        network = StepNetwork(steps)
        with torch.no_grad():
            for step in steps:
                if step.op == "conv":
                    copy_shared(step.of, self.network.unit(step), network.unit(step))
                elif step.op in ("norm", "classify"):
                    network.unit(step).load_state_dict(self.network.unit(step).state_dict())
        return network


def weights(module: nn.Module) -> Mapping[str, NDArray[Any]]:
    """The weights of the inference graph by name, from a :class:`StepNetwork`."""
    assert isinstance(module, StepNetwork)
    out: dict[str, NDArray[np.float32]] = {}
    for step in module.steps:
        if step.op not in ("conv", "norm", "classify"):
            continue
        unit = module.unit(step)
        tensors: Iterable[Tensor | None]
        tensors = unit.folded() if isinstance(unit, ConvUnit | NormUnit) else unit.parameters()
        for name, tensor in zip(("weight", "bias"), tensors, strict=True):
            if tensor is not None:
                out[f"{step.output}.{name}"] = tensor.detach().contiguous().numpy()
    return out


def _module(step: Step) -> nn.Module | None:
    """What holds a step's weights, as initialised; None if it has none."""
    if step.op == "conv":
        return ConvUnit(step.of)
    if step.op == "norm":
        return NormUnit(step.of.width)
    if step.op == "classify":
        linear = nn.Linear(step.of.in_width, step.of.width)
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)
        return linear
    return None


def _with_head(step: Step, unit: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = unit(x.mean((2, 3)) if step.op == "classify" else x)
    return out


def _run(steps: Sequence[Step], x: Tensor, weighted: Callable[[Step, Tensor], Tensor]) -> Tensor:
    """Run ``steps``, those with weights by ``weighted``; a result is dropped after its last reader."""
    last = {name: i for i, step in enumerate(steps) for name in step.inputs}
    made = {INPUT: x.contiguous(memory_format=torch.channels_last)}
    for i, step in enumerate(steps):
        inputs = [made[name] for name in step.inputs]
        for name in step.inputs:
            if last[name] == i:
                made.pop(name, None)
        plain = _PLAIN.get(step.op)
        made[step.output] = weighted(step, inputs[0]) if plain is None else plain(step.conv, *inputs)
    return made[steps[-1].output]


def _average(conv: Conv | None, x: Tensor) -> Tensor:
    assert conv is not None
    return F.avg_pool2d(x, conv.kernel, conv.stride, (conv.kernel - 1) // 2, ceil_mode=True, count_include_pad=False)


def _shuffle(conv: Conv | None, x: Tensor) -> Tensor:
    assert conv is not None
    return F.channel_shuffle(x, conv.groups)


_PLAIN: dict[str, Callable[..., Tensor]] = {
    "relu": lambda _, x: F.relu(x),
    "add": lambda _, x, y: x + y,
    "zero": lambda _, x: x - x,
    "average": _average,
    "shuffle": _shuffle,
}
