"""Random recurrent networks and perceptrons."""

from __future__ import annotations

from profilers.sampling import parts
from profilers.sampling.builder import Builder


def network(b: Builder, batch: int, *, small: bool) -> None:
    """Draw a recurrent network over ids, vectors, or what a convolution makes of a signal."""
    steps, width = b.integer(4, 48 if small else 256), b.width(8, 96 if small else 512)
    match b.pick(["ids", "vectors", "signal"]):
        case "ids":
            x = b.embed(steps, batch, width=b.width(16, 512))
        case "vectors":
            x = b.input(steps, batch, b.width(4, 256))
        case "signal":
            channels, stride = b.width(8, 256), b.pick([1, 2, 4])
            signal = b.input(batch, b.integer(1, 80), steps * stride)
            attributes = {"kernel_shape": (5,), "strides": (stride,), "pads": (2, 2)}
            y = b.op(
                "Conv", signal, b.weight(channels, b.shape(signal)[1], 5), b.weight(channels), attributes=attributes
            )
            x = b.transpose(parts.activate(b, y, "Relu"), 2, 0, 1)
    kind = b.pick(["LSTM", "GRU", "RNN"], [0.6, 0.35, 0.05])
    directions = b.pick([1, 2])
    for _ in range(b.integer(1, 4)):
        x = _layer(b, x, kind, width, directions)
    each = b.chance(0.4)
    last = b.linear(x, b.width(8, 256)) if each else b.op("Gather", x, b.constant(-1, "int64"), attributes={"axis": 0})
    x = b.linear(last, b.integer(2, 256))
    if b.chance(0.5):
        b.op(b.pick(["Softmax", "LogSoftmax", "Sigmoid"]), x)


def _layer(b: Builder, x: str, kind: str, width: int, directions: int) -> str:
    """Both directions' outputs beside each other: ``(steps, batch, directions · width)``."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    steps, batch, depth = b.shape(x)
    attributes: dict[str, int | str] = {"hidden_size": width}
    if directions == 2:
        attributes["direction"] = "bidirectional"
    if kind == "GRU":
        attributes["linear_before_reset"] = 1
    operands = [
        x,
        b.weight(directions, gates * width, depth),
        b.weight(directions, gates * width, width),
        b.weight(directions, 2 * gates * width),
        "",
        b.constant([[[0.0] * width] * batch] * directions),
    ]
    if kind == "LSTM":
        operands.append(b.constant([[[0.0] * width] * batch] * directions))
    y = b.op(kind, *operands, attributes=attributes)
    if directions == 1:
        return b.op("Squeeze", y, b.constant([1], "int64"))
    return b.reshape(b.transpose(y, 0, 2, 1, 3), steps, batch, directions * width)


def perceptron(b: Builder, batch: int, *, small: bool) -> None:
    """Draw a chain of products, at times with normalisation and residuals."""
    x = b.input(batch, b.width(8, 512 if small else 4096))
    activation = parts.draw_activation(b)
    width = b.width(8, 512 if small else 4096)
    for _ in range(b.integer(1, 8)):
        y = b.linear(x, width if b.chance(0.7) else b.width(8, 512 if small else 4096), bias=b.chance(0.9))
        if b.chance(0.2):
            y = parts.layer_norm(b, y)
        y = parts.activate(b, y, activation)
        x = b.op("Add", x, y) if b.shape(x) == b.shape(y) and b.chance(0.5) else y
    x = b.linear(x, b.integer(1, 1000))
    if b.chance(0.5):
        b.op("Softmax", x)
