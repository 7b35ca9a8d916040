"""Networks that people designed, written from their papers, for small images: what a found network has to be better than.

The papers' networks halve 224×224 images five times (SqueezeNet four times). Here a network halves its input while at least
4 pixels are left, three times for 28×28 and 32×32; the paper's first halvings are kept, the stem's among them, and the later ones
left out, as the found networks do it. (Ports to CIFAR often leave out the first ones instead, and take 1.4 to 2.3 times as
long: MobileNetV2 ×0.25 then takes what ×0.5 takes here.) ResNet-20 is the paper's own for CIFAR, at full size in its first stage.
Otherwise widths, depths, kernels and activations are the papers'. All convolutions have batch norm, SqueezeNet's as well, without
which it cannot be trained by the recipe of the others; once exported it costs nothing. There is no dropout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import final

import torch
from torch import Tensor, nn

_SMALLEST_MAP = 4


def conv(
    in_width: int,
    width: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution, batch norm, activation; keeps the size up to the stride."""
    layers = [
        nn.Conv2d(in_width, width, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
    ]
    return nn.Sequential(*layers, *([] if activation is None else [activation()]))


@final
class Sum(nn.Module):
    """The sum of two paths, and an activation after it or none."""

    def __init__(self, main: nn.Module, shortcut: nn.Module, activation: nn.Module | None = None) -> None:
        nn.Module.__init__(self)
        self.main, self.shortcut, self.activation = main, shortcut, activation or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H', W')``."""
        result: Tensor = self.activation(self.shortcut(x) + self.main(x))
        return result


@final
class SqueezeExcite(nn.Module):
    """Channels re-weighted by two 1×1 convolutions of their means (Hu et al. 2018), as in MobileNetV3."""

    def __init__(self, width: int) -> None:
        nn.Module.__init__(self)
        squeezed = _divisible(width / 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, width, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(B, C, H, W)``."""
        weighted: Tensor = x * self.gate(x)
        return weighted


@final
class Fire(nn.Module):
    """SqueezeNet's module: a 1×1 convolution to few channels, then 1×1 and 3×3 ones side by side (section 3.2)."""

    def __init__(self, in_width: int, squeezed: int, expanded: int) -> None:
        nn.Module.__init__(self)
        self.squeeze = conv(in_width, squeezed)
        self.one, self.three = conv(squeezed, expanded), conv(squeezed, expanded, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_width, H, W)`` to ``(B, 2 · expanded, H, W)``."""
        x = self.squeeze(x)
        return torch.cat([self.one(x), self.three(x)], 1)


def mobilenet_v2(shape: tuple[int, int, int], classes: int, *, width: float) -> nn.Module:
    """MobileNetV2 (Sandler et al. 2018, table 2) with a width multiplier; the last convolution keeps its 1280 channels where
    the multiplier is below 1, as there."""
    # expansion, channels, blocks, stride of the first block
    rows = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    strides = _strides([2, *(stride for *_, stride in rows)], shape)
    channels = _divisible(32 * width)
    layers: list[nn.Module] = [conv(shape[0], channels, 3, strides[0], activation=nn.ReLU6)]
    for (expansion, out, blocks, _), first in zip(rows, strides[1:], strict=True):
        for block in range(blocks):
            hidden, stride, out_width = channels * expansion, first if block == 0 else 1, _divisible(out * width)
            main = nn.Sequential(
                *([conv(channels, hidden, activation=nn.ReLU6)] if expansion > 1 else []),
                conv(hidden, hidden, 3, stride, hidden, nn.ReLU6),
                conv(hidden, out_width, activation=None),
            )
            layers.append(Sum(main, nn.Identity()) if stride == 1 and channels == out_width else main)
            channels = out_width
    last = _divisible(1280 * max(1.0, width))
    return _network(*layers, conv(channels, last, activation=nn.ReLU6), *_classifier(last, classes))


def mobilenet_v3_small(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """MobileNetV3-small (Howard et al. 2019, table 2)."""
    # kernel, hidden, channels, squeeze-and-excitation, hard swish, stride
    rows = [
        (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1), (5, 96, 40, True, True, 2),
        (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1), (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1),
        (5, 288, 96, True, True, 2), (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1),
    ]  # fmt: skip
    strides = _strides([2, *(row[-1] for row in rows)], shape)
    channels = 16
    layers: list[nn.Module] = [conv(shape[0], channels, 3, strides[0], activation=nn.Hardswish)]
    for (kernel, hidden, width, excite, swish, _), stride in zip(rows, strides[1:], strict=True):
        activation = nn.Hardswish if swish else nn.ReLU
        main = nn.Sequential(
            *([conv(channels, hidden, activation=activation)] if hidden != channels else []),
            conv(hidden, hidden, kernel, stride, hidden, activation),
            *([SqueezeExcite(hidden)] if excite else []),
            conv(hidden, width, activation=None),
        )
        layers.append(Sum(main, nn.Identity()) if stride == 1 and channels == width else main)
        channels = width
    pooled = [conv(channels, 576, activation=nn.Hardswish), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return _network(*layers, *pooled, nn.Linear(576, 1024), nn.Hardswish(), nn.Linear(1024, classes))


def resnet(shape: tuple[int, int, int], classes: int, *, depth: int) -> nn.Module:
    """The ResNet for CIFAR (He et al. 2016, section 4.2) of ``depth`` 6n + 2 layers. Where the size changes the shortcut is a
    1×1 convolution (option B), which runs faster than padding with zeros."""
    layers: list[nn.Module] = [conv(shape[0], 16, 3)]
    channels = 16
    for width in (16, 32, 64):
        for block in range((depth - 2) // 6):
            stride = 2 if block == 0 and width > 16 else 1
            main = nn.Sequential(conv(channels, width, 3, stride), conv(width, width, 3, activation=None))
            shortcut = conv(channels, width, 1, stride, activation=None) if stride == 2 else nn.Identity()
            layers.append(Sum(main, shortcut, nn.ReLU()))
            channels = width
    return _network(*layers, *_classifier(channels, classes))


def squeezenet(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """SqueezeNet (Iandola et al. 2016) in its version 1.1, the authors' own, with the accuracy of 1.0 at 2.4 times less work."""
    strides = _strides([2, 2, 2, 2], shape)

    def pool(stride: int) -> list[nn.Module]:
        return [nn.MaxPool2d(3, stride, 1)] if stride == 2 else []

    layers = [
        conv(shape[0], 64, 3, strides[0]), *pool(strides[1]), Fire(64, 16, 64), Fire(128, 16, 64),
        *pool(strides[2]), Fire(128, 32, 128), Fire(256, 32, 128),
        *pool(strides[3]), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
    ]  # fmt: skip
    return _network(*layers, nn.Conv2d(512, classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


NETWORKS: Mapping[str, Callable[[tuple[int, int, int], int], nn.Module]] = {
    **{f"MobileNetV2 ×{width:g}": partial(mobilenet_v2, width=width) for width in (0.25, 0.5, 0.75, 1.0)},
    "MobileNetV3-small": mobilenet_v3_small,
    "ResNet-20": partial(resnet, depth=20),
    "SqueezeNet 1.1": squeezenet,
}
"""By name: shape ``(C, H, W)`` of an image and number of classes to a module, ``(B, C, H, W)`` to ``(B, classes)`` logits."""


def _strides(of_paper: list[int], shape: tuple[int, int, int]) -> list[int]:
    """The paper's strides for images of ``shape``, as many of its halvings as there is room for."""
    wanted = max(0, math.ceil(math.log2(max(shape[1:]) / _SMALLEST_MAP)))
    halvings = [i for i, stride in enumerate(of_paper) if stride == 2]
    return [1 if i in halvings[wanted:] else stride for i, stride in enumerate(of_paper)]


def _divisible(width: float) -> int:
    """The nearest multiple of 8, but not less than 90 % (the papers' own rule for widths)."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


def _classifier(width: int, classes: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)


def _network(*layers: nn.Module) -> nn.Module:
    """The layers in a row, weights drawn after He et al. (2015), in the memory layout that trains fastest on CPUs."""
    network = nn.Sequential(*layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # torch's stub lacks it
