"""The mobile space's supernet: every place holds the weights of its largest piece, and smaller ones use a part of them.

Channels are the first ones, small kernels the centre of large ones (BigNAS, Yu et al. 2020, section 3), shallow stages the
first blocks. Batch norm uses the batch's own statistics; a network taken out with :meth:`ElasticNetwork.extract` must have
its statistics calibrated before it is evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.spaces._blocks import Conv, Part
from hwnas.spaces._convolution import conv2d
from hwnas.spaces._mixture import mixed
from hwnas.spaces._modules import ConvUnit, Network, PartModule, activate
from hwnas.training.supernet import Supernet

if TYPE_CHECKING:
    from hwnas.spaces.mobile import MobileSpace

_PHASES = (
    ("kernel", "resolution", "activation", "squeeze_excite"),
    ("depth",),
    ("width", "expansion"),
)  # Cai et al. 2020, figure 3; what their space does not choose comes with the kernels


class ElasticNetwork(Supernet):
    """All networks of a :class:`~hwnas.spaces.mobile.MobileSpace` in the weights of its largest."""

    def __init__(self, space: MobileSpace) -> None:
        Supernet.__init__(self)
        self.space = space
        self.shrinking = tuple(
            frozenset(gene.name for gene in space.genes if gene.name.rpartition(".")[2] in phase) for phase in _PHASES
        )
        self.network = Network(space.parts(space.largest()))

    def forward(self, x: Tensor, genotype: NDArray[np.int64]) -> Tensor:
        """``(B, C, size, size)`` normalised images to ``(B, classes)`` logits of one network, with batch statistics."""
        x = x.contiguous(memory_format=torch.channels_last)
        for part in self.space.parts(genotype):
            x = _run(part, self._module(part.place), x)
        return x

    def mixed(self, x: Tensor, gates: Sequence[Tensor]) -> Tensor:
        """``(B, classes)`` logits of all networks at once; see :func:`hwnas.spaces._mixture.mixed`."""
        return mixed(self.space, self.network, x, gates)

    def extract(self, genotype: NDArray[np.int64]) -> nn.Module:
        """A module of :meth:`MobileSpace.build` with a copy of the network's weights; its batch norm statistics are fresh."""
        network = Network(self.space.parts(genotype))
        with torch.no_grad():
            for part in self.space.parts(genotype):
                source, target = self._module(part.place), network.get_submodule(part.place)
                for conv in (*part.convs, *part.squeeze):
                    copy_shared(conv, source.get_submodule(conv.name), target.get_submodule(conv.name))
                if part.classes:
                    assert isinstance(target, PartModule)
                    assert source.linear is not None
                    assert target.linear is not None
                    target.linear.load_state_dict(source.linear.state_dict())
        return network

    def _module(self, place: str) -> PartModule:
        module = self.network.get_submodule(place)
        assert isinstance(module, PartModule)
        return module


def _run(part: Part, module: PartModule, x: Tensor) -> Tensor:
    y = x
    for conv in part.convs:
        if conv.name == "project" and part.squeeze:
            gate = y.mean((2, 3), keepdim=True)
            for squeeze in part.squeeze:
                gate = shared_conv(squeeze, module.get_submodule(squeeze.name), gate)
            y = y * gate
        y = shared_conv(conv, module.get_submodule(conv.name), y)
    if module.linear is not None:
        return F.linear(y.mean((2, 3)), module.linear.weight, module.linear.bias)
    return x + y if part.residual else y


def shared_conv(spec: Conv, unit: nn.Module, x: Tensor) -> Tensor:
    """The convolution ``spec`` by the weights of a larger one, batch norm by the batch's own statistics."""
    assert isinstance(unit, ConvUnit)
    bias = unit.conv.bias
    x = conv2d(
        x, _slice(unit.conv.weight, spec), None if bias is None else bias[: spec.width], spec.stride, spec.groups
    )
    if unit.norm is not None:
        norm = unit.norm
        x = F.batch_norm(x, None, None, norm.weight[: spec.width], norm.bias[: spec.width], True, 0.0, norm.eps)
    return activate(x, spec.activation)


def _slice(weight: Tensor, spec: Conv) -> Tensor:
    out, into, side, _ = spec.weight_shape
    edge = (weight.shape[2] - side) // 2
    return weight[:out, :into, edge : edge + side, edge : edge + side]


def copy_shared(spec: Conv, source: nn.Module, target: nn.Module) -> None:
    """Copy what :func:`shared_conv` uses of ``source`` into the convolution's own ``target``."""
    assert isinstance(source, ConvUnit)
    assert isinstance(target, ConvUnit)
    target.conv.weight.copy_(_slice(source.conv.weight, spec))
    if target.conv.bias is not None and source.conv.bias is not None:
        target.conv.bias.copy_(source.conv.bias[: spec.width])
    if target.norm is not None and source.norm is not None:
        target.norm.weight.copy_(source.norm.weight[: spec.width])
        target.norm.bias.copy_(source.norm.bias[: spec.width])
