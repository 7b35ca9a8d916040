"""The convolution that networks are trained with: torch's own, but for one gradient that is slow there on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from torch import Tensor

_FAST_WIDTH = 3  # oneDNN's own kernel for the gradient of a depthwise convolution's weights has no wider window,
_FAST_CHANNELS = 16  # wants channels in multiples of this,
_FAST_MAP = 16  # and on larger maps gains less than the strips' copies cost


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int) -> Tensor:
    """``(B, C, H, W)`` to ``(B, out, ⌈H/stride⌉, ⌈W/stride⌉)`` by ``weight`` (out, C/groups, k, k), k odd, padded by k // 2."""
    out, _, kernel, _ = weight.shape
    if (
        kernel > _FAST_WIDTH
        and bias is None
        and groups == out == x.shape[1]
        and groups % _FAST_CHANNELS == 0
        and max(x.shape[2:]) <= _FAST_MAP
        and x.device.type == "cpu"
        and torch.is_grad_enabled()
    ):
        y: Tensor = _Depthwise.apply(x, weight, stride)  # type: ignore[no-untyped-call]
        return y
    return F.conv2d(x, weight, bias, stride, kernel // 2, groups=groups)


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution whose weights get their gradient in strips of three columns: two to four times as fast."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, None, stride, weight.shape[2] // 2, groups=weight.shape[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_input = of_weight = None
        if ctx.needs_input_grad[0]:
            of_input = _backward(x, weight, gradient, ctx.stride, weight.shape[2] // 2, (True, False, False))[0]
        if ctx.needs_input_grad[1]:
            of_weight = _in_strips(x, weight, gradient, ctx.stride)
        return of_input, of_weight, None


def _in_strips(x: Tensor, weight: Tensor, gradient: Tensor, stride: int) -> Tensor:
    """``(C, 1, k, k)``: the last strip overlaps the one before, so that all are three wide."""
    channels, _, kernel, _ = weight.shape
    padding = kernel // 2
    strip = weight.new_empty(channels, 1, kernel, _FAST_WIDTH)
    reach = (gradient.shape[3] - 1) * stride + _FAST_WIDTH
    above = padding if x.shape[2] < kernel else 0  # the fast kernel wants a map as high as its window
    columns: list[Tensor] = []
    for first in (*range(0, kernel - _FAST_WIDTH, _FAST_WIDTH), kernel - _FAST_WIDTH):
        left = padding - first
        seen = F.pad(x, (left, reach - left - x.shape[3], above, above))
        of_strip = _backward(seen, strip, gradient, stride, (padding - above, 0), (False, True, False))[1]
        columns.append(of_strip[..., len(columns) * _FAST_WIDTH - first :])
    return torch.cat(columns, 3)


def _backward(
    x: Tensor,
    weight: Tensor,
    gradient: Tensor,
    stride: int,
    padding: int | tuple[int, int],
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of input, weight and bias of a depthwise convolution, those that are ``wanted``."""
    pads = [padding, padding] if isinstance(padding, int) else list(padding)
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride, stride], pads, [1, 1], False, [0, 0], weight.shape[0], list(wanted)
    )
    return gradients
