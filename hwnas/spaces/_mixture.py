"""The mobile space's supernet as a mixture of its networks, differentiable in how much each option counts.

Widths and expansions are masks over channels (Wan et al. 2020, "FBNetV2", section 3.1), kernels share their weights
(Stamoulis et al. 2019, "Single-Path NAS", section 3), depth and squeeze-and-excitation are gates. Where every gate is 0 or
1 this is the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from torch import Tensor, nn

from hwnas.spaces._blocks import Conv, Part, squeezed_width
from hwnas.spaces._convolution import conv2d
from hwnas.spaces._modules import ConvUnit, PartModule, activate

if TYPE_CHECKING:
    from hwnas.spaces.mobile import MobileSpace

Choice = Sequence[tuple[int, Tensor]]
"""Values with how much each counts."""


def mixed(space: MobileSpace, network: nn.Module, x: Tensor, gates: Sequence[Tensor]) -> Tensor:
    """``(B, classes)`` logits of ``network``, which holds the weights of the space's largest.

    Args:
        space: of the networks.
        network: has a module for each place.
        x: ``(B, C, size, size)`` images, of the size that counts most.
        gates: for each gene ``(options,)`` how much each counts; together 1.
    """
    chosen = {
        gene.name: list(zip(gene.options, gate, strict=True)) for gene, gate in zip(space.genes, gates, strict=True)
    }
    x = x.contiguous(memory_format=torch.channels_last)
    into: Choice = ()
    for part in space.parts(space.largest()):
        module = network.get_submodule(part.place)
        assert isinstance(module, PartModule)
        stage, _, block = part.place.partition(".")
        if not block:
            x = _conv(part.convs[0], module, x, chosen["activation"])
            into = [(part.convs[0].width, x.new_ones(()))]
            continue
        of_stage = {
            name.removeprefix(f"{stage}."): options for name, options in chosen.items() if name.startswith(f"{stage}.")
        }
        width: Choice = of_stage["width"]
        y = _block(part, module, x, of_stage, chosen["activation"], into if block == "0" else width)
        if block == "0":
            kept = _share(into, width) if max(conv.stride for conv in part.convs) == 1 else x.new_zeros(())
            x = y if kept.detach() == 0 else y + kept * F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        else:
            x = x + y * sum(count for depth, count in of_stage["depth"] if depth > int(block))
        into = width
    head = network.get_submodule("head")
    assert isinstance(head, PartModule)
    assert head.linear is not None
    size = gates[
        0
    ]  # only one size was looked at: the gradient of its gate stands for all (Cai et al. 2019, equation 4)
    logits: Tensor = F.linear(x.mean((2, 3)), head.linear.weight, head.linear.bias)
    return logits * (size.max() / size.max().detach())


def _block(
    part: Part,
    module: PartModule,
    x: Tensor,
    genes: Mapping[str, Choice],
    activations: Sequence[tuple[str, Tensor]],
    into: Choice,
) -> Tensor:
    """An inverted residual without its shortcut."""
    expand, depthwise, project = part.convs
    hidden = [(w * e, a * b) for w, a in into for e, b in genes["expansion"]]
    y = _conv(expand, module, x, activations)
    y = _conv(depthwise, module, y, activations, genes["kernel"]) * _mask(hidden, expand.width, x)
    if part.squeeze:
        reduce, gate = part.squeeze
        squeezed = [(squeezed_width(h), count) for h, count in hidden]
        z = _conv(reduce, module, y.mean((2, 3), keepdim=True)) * _mask(squeezed, reduce.width, x)
        used = dict(genes["squeeze_excite"])[True]
        y = y * (used * _conv(gate, module, z) + (1 - used))
    return _conv(project, module, y) * _mask(genes["width"], project.width, x)


def _conv(
    spec: Conv,
    module: PartModule,
    x: Tensor,
    activations: Sequence[tuple[str, Tensor]] | None = None,
    kernels: Choice | None = None,
) -> Tensor:
    unit = module.get_submodule(spec.name)
    assert isinstance(unit, ConvUnit)
    weight = unit.conv.weight
    if kernels is not None:
        weight = weight * sum(count * _centre(kernel, spec.kernel, x) for kernel, count in kernels)
    x = conv2d(x, weight, unit.conv.bias, spec.stride, spec.groups)
    if unit.norm is not None:
        x = F.batch_norm(x, None, None, unit.norm.weight, unit.norm.bias, True, 0.0, unit.norm.eps)
    if activations is None:
        return activate(x, spec.activation)
    return torch.stack([count * activate(x, name) for name, count in activations]).sum(0)


def _mask(widths: Choice, most: int, like: Tensor) -> Tensor:
    """``(most, 1, 1)``: how much each channel counts; an option is the first so many."""
    channels = torch.arange(most, device=like.device)
    return torch.stack([count * (channels < width) for width, count in widths]).sum(0)[:, None, None]


def _centre(kernel: int, most: int, like: Tensor) -> Tensor:
    """``(most, most)`` ones where the small kernel is in the large one."""
    edge = (most - kernel) // 2
    return F.pad(torch.ones(kernel, kernel, device=like.device), (edge,) * 4)


def _share(into: Choice, width: Choice) -> Tensor:
    """How much those options count in which both widths are the same."""
    nothing = into[0][1].new_zeros(())
    return sum((a * b for w, a in into for v, b in width if v == w), nothing)
