"""The torch module of a list of :class:`hwnas.spaces._blocks.Part`, and its weights for the inference graph.

Submodules are named as in the graph: ``stage1.0.expand.conv`` holds what becomes ``stage1.0/expand.weight``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.spaces._blocks import Conv, Part
from hwnas.spaces._convolution import conv2d

_ACTIVATION = {"relu": F.relu, "hardswish": F.hardswish, "hardsigmoid": F.hardsigmoid}


def activate(x: Tensor, activation: str) -> Tensor:
    """Apply a named activation; ``""`` is none."""
    return _ACTIVATION[activation](x) if activation else x


class ConvUnit(nn.Module):
    """Convolution, then batch norm or a bias or neither, then an activation."""

    def __init__(self, spec: Conv) -> None:
        nn.Module.__init__(self)
        self.activation = spec.activation
        self.conv = nn.Conv2d(
            spec.in_width,
            spec.width,
            spec.kernel,
            spec.stride,
            spec.kernel // 2,
            groups=spec.groups,
            bias=spec.bias and not spec.norm,
        )
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)
        self.norm = nn.BatchNorm2d(spec.width) if spec.norm else None

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_width, H, W)`` to ``(B, width, ⌈H/stride⌉, ⌈W/stride⌉)``."""
        conv = self.conv
        if torch.is_inference_mode_enabled() and not self.training:  # as the inference graph has it: 1.5 times as fast
            weight, bias = self.folded()
            return activate(F.conv2d(x, weight, bias, conv.stride, conv.padding, groups=conv.groups), self.activation)
        x = conv2d(x, conv.weight, conv.bias, conv.stride[0], conv.groups)
        return activate(x if self.norm is None else self.norm(x), self.activation)

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the equivalent convolution without batch norm; None where the graph has no bias."""
        weight = self.conv.weight.detach()
        if self.norm is None:
            return weight, None if self.conv.bias is None else self.conv.bias.detach()
        scale, bias = as_affine(self.norm)
        return (weight.double() * scale[:, None, None, None]).float(), bias.float()


def as_affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """``(C,)`` doubles by which batch norm in evaluation multiplies each channel, and that it adds."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.detach().double() - norm.running_mean.double() * scale


class PartModule(nn.Module):
    """What stands at one place."""

    def __init__(self, part: Part) -> None:
        nn.Module.__init__(self)
        self.residual = part.residual
        self.path = tuple(c.name for c in part.convs)
        self.squeeze = tuple(c.name for c in part.squeeze)
        for conv in (*part.convs, *part.squeeze):
            self.add_module(conv.name, ConvUnit(conv))
        self.linear = nn.Linear(part.convs[-1].width, part.classes) if part.classes else None
        if self.linear is not None:
            nn.init.normal_(self.linear.weight, std=0.01)
            nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` features to features; to ``(B, classes)`` logits for the head."""
        y = x
        for name in self.path:
            if name == "project" and self.squeeze:
                gate = y.mean((2, 3), keepdim=True)
                for gate_name in self.squeeze:
                    gate = self.get_submodule(gate_name)(gate)
                y = y * gate
            y = self.get_submodule(name)(y)
        if self.linear is not None:
            y = y.mean((2, 3))
            logits: Tensor = self.linear(y)
            return logits
        return x + y if self.residual else y


class Network(nn.Module):
    """A whole network: one submodule per place, in order."""

    def __init__(self, parts: Sequence[Part]) -> None:
        nn.Module.__init__(self)
        self.places = tuple(p.place for p in parts)
        for part in parts:
            stage, _, block = part.place.partition(".")
            if not block:
                self.add_module(stage, PartModule(part))
                continue
            if block == "0":
                self.add_module(stage, nn.Sequential())
            self.get_submodule(stage).add_module(block, PartModule(part))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own stub lacks it

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, size, size)`` normalised images to ``(B, classes)`` logits."""
        x = x.contiguous(memory_format=torch.channels_last)
        for place in self.places:
            x = self.get_submodule(place)(x)
        return x


def folded_weights(module: nn.Module) -> Mapping[str, NDArray[Any]]:
    """The constants of the inference graph by name."""
    out: dict[str, NDArray[np.float32]] = {}
    for name, unit in module.named_modules():
        if isinstance(unit, ConvUnit):
            tensors = unit.folded()
        elif isinstance(unit, nn.Linear):
            tensors = (unit.weight.detach(), unit.bias.detach())
        else:
            continue
        place, _, op = name.rpartition(".")
        for constant, tensor in zip(("weight", "bias"), tensors, strict=True):
            if tensor is not None:
                out[f"{place}/{op}.{constant}"] = tensor.contiguous().numpy()
    return out
