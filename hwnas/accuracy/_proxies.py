"""What can be said of a network that was not trained: scores of its first weights and one batch, the higher the better.

Each is a function of a module as it was initialised, which it may spoil, images ``(B, C, size, size)`` as the network takes
them, and labels ``(B,)``. Scores that cover orders of magnitude are logarithms; -inf is a network that lets nothing through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

_DISTANCE = 0.01  # Lin et al. 2021, algorithm 1
_RECTIFIERS = (F.relu, F.hardswish)


def synflow(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Logarithm of the synaptic flow (Tanaka et al. 2020, "Pruning neural networks without any data by iteratively conserving
    synaptic flow", section 4): what all weights, taken positive, let through of an image of ones, as the sum over weights of
    weight times gradient. Batch norm does nothing, as in Abdelfattah et al. 2021, who made it a score of networks."""
    module.eval().double()  # batch norm that has seen nothing
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.abs_()
    module(torch.ones_like(images[:1], dtype=torch.float64)).sum().backward()
    flow = torch.stack([(p * p.grad).sum() for p in _weights(module) if p.grad is not None]).sum()
    return float(flow.detach().log())


def naswot(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """How differently the rectifiers take the images of a batch (Mellor et al. 2021, "Neural architecture search without
    training", equations 1 and 2): log determinant of the ``(B, B)`` numbers of units that two images agree in."""
    alike = images.new_zeros(len(images), len(images), dtype=torch.float64)

    def compare(x: Tensor) -> None:
        active = (x.flatten(1) > 0).float()
        both, each = active @ active.T, active.sum(1)
        alike.add_(active.shape[1] - each[:, None] - each + 2 * both)

    with torch.no_grad(), _Calls(compare):
        module.train()(images)
    return float(torch.linalg.slogdet(alike).logabsdet)


def grad_norm(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Logarithm of the summed norms of the weights' gradients after one batch (Abdelfattah et al. 2021, "Zero-cost proxies for
    lightweight NAS", section 3.2)."""
    F.cross_entropy(module.train()(images), labels).backward()  # type: ignore[no-untyped-call]
    norms = [p.grad.norm() for p in _weights(module) if p.grad is not None]
    return float(torch.stack(norms).sum().log())


def zen(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """How far noise moves the map before the last pooling, with what batch norm took out put back (Lin et al. 2021, "Zen-NAS",
    algorithm 1). Inputs and weights are drawn from the normal distribution; shortcuts stay, which the authors take away."""
    with torch.no_grad():
        for weight in _weights(module):
            weight.normal_()
    log_scales: list[Tensor] = []

    def noted(norm: nn.Module, arguments: tuple[Tensor]) -> None:
        log_scales.append(arguments[0].var((0, 2, 3), correction=0).mean().sqrt().log())

    hooks = [m.register_forward_pre_hook(noted) for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    x = torch.randn_like(images)
    with torch.no_grad(), _Calls() as calls:
        module.train()(x)
        seen = calls.pooled
        for hook in hooks:
            hook.remove()
        module(x + _DISTANCE * torch.randn_like(x))
    moved = (calls.pooled - seen).flatten(1).norm(dim=1).mean().log()
    return float(moved + sum(log_scales))


def parameters(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Logarithm of the number of parameters."""
    return float(torch.tensor(float(sum(p.numel() for p in module.parameters()))).double().log())


def flops(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Logarithm of the floating point operations for one image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(images[:1])
    return float(torch.tensor(float(counter.get_total_flops())).double().log())


Proxy = Callable[[nn.Module, Tensor, Tensor], float]
PROXIES: dict[str, Proxy] = {
    "synflow": synflow,
    "naswot": naswot,
    "grad_norm": grad_norm,
    "zen": zen,
    "parameters": parameters,
    "flops": flops,
}


def _weights(module: nn.Module) -> list[Tensor]:
    """Of convolutions and linear layers."""
    return [m.weight for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


class _Calls(TorchFunctionMode):
    """Notes what a network does on its way.

    Attributes:
        pooled: the last map ``(B, C, H, W)`` that a mean over its positions was taken of.

    Args:
        on_rectifier: told of the input ``(B, …)`` of each rectifier.
    """

    def __init__(self, on_rectifier: Callable[[Tensor], None] = lambda x: None) -> None:
        TorchFunctionMode.__init__(self)
        self._on_rectifier = on_rectifier
        self.pooled = torch.empty(0)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called for each of torch's functions; does what it is."""
        if func in _RECTIFIERS:
            self._on_rectifier(args[0])
        elif func is torch.Tensor.mean and args[0].ndim == 4:
            self.pooled = args[0]
        return func(*args, **(kwargs or {}))
