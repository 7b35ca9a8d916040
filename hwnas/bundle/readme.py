"""The README of a bundle: how to load and feed the network, for somebody who has nothing but this folder."""

from __future__ import annotations

from devices.spec import runtime_of
from hwnas.bundle import formats
from hwnas.bundle.certificate import Certificate, FileRecord
from hwnas.int8.paired import Drop

_EXAMPLE = """\
{imports}

classes = {classes}
mean, std = np.array({mean}, np.float32), np.array({std}, np.float32)
{opening}


{resampling}def classify(image: np.ndarray) -> str:
    \"\"\"Name of the class of an image, uint8 ({channels}, height, width).\"\"\"
    x = image.astype(np.float32) / 255
{resize}    x = (x - mean[:, None, None]) / std[:, None, None]
    logits = {answer}
    return classes[int(logits.argmax())]
"""


_RESAMPLING = """\
def resampling(old: int, new: int) -> np.ndarray:
    \"\"\"Bilinear with antialiasing.\"\"\"
    scale = old / new
    distance = np.abs(np.arange(old) - ((np.arange(new) + 0.5) * scale - 0.5)[:, None])
    weights = np.maximum(0, 1 - distance / max(scale, 1))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


"""


def example(certificate: Certificate) -> str:
    """Python code that defines ``classify(image)``, to be run in the bundle's folder."""
    given, resize = certificate.input, ""
    if given.resize is not None:
        size = given.resize.size
        resize = f"    x = resampling(x.shape[1], {size}) @ x @ resampling(x.shape[2], {size}).T\n"
    way, settings = formats.snippet(certificate.deploy), certificate.device_info.settings
    return _EXAMPLE.format(
        imports=way.imports,
        opening=way.opening.format(
            deploy=certificate.deploy,
            device=settings.get("device"),
            precision=settings.get("precision"),
            threads=settings.get("threads", 1),
        ),
        answer=way.answer.format(input=given.name, device=settings.get("device")),
        classes=list(certificate.classes),
        mean=list(given.mean),
        std=list(given.std),
        resampling=_RESAMPLING if resize else "",
        channels=given.shape[1],
        resize=resize,
    )


def readme(certificate: Certificate) -> str:
    """The whole text, Markdown."""
    given, file = certificate.input, certificate.files[certificate.deploy]
    _, channels, height, width = given.shape
    side = f"{height}×{width}"
    resized = f"resized to {side} (bilinear with antialiasing), " if given.resize else f"of {side} pixels, "
    kept = "The budget is kept" if file.within_budget else "**The budget is not kept**"
    notes = "".join(f"{note}\n\n" for note in certificate.notes)
    rows = "\n".join(_row(name, record) for name, record in certificate.files.items())
    return f"""# {certificate.deploy}

{kept} on {certificate.device_info.spec}: {file.p50_ms:.3g} ms median latency, {file.memory_bytes:,} bytes of memory,
{file.bytes:,} bytes on disk, {file.accuracy:.2%} accuracy on the test images of {certificate.task}.
{certificate.deploy_reason}{_paired(certificate)}

| file | precision | p50 ms | p95 ms | memory bytes | size bytes | accuracy | within budget |
|---|---|---|---|---|---|---|---|
{rows}

{notes}`certificate.json` has everything that was measured. `hwnas certify FOLDER` measures this folder again.

## How to load it

Input `{given.name}`: float32 {given.shape}, {given.layout}. Images with {channels} channel{"s" if channels > 1 else ""},
{resized}pixels divided by 255, then less the mean {list(given.mean)}, over the standard deviation {list(given.std)}.
Output: one number for each of the {len(certificate.classes)} classes; the largest wins.{_elsewhere(certificate)}

```python
{example(certificate)}```
"""


def _elsewhere(certificate: Certificate) -> str:
    """A sentence where the code does not run the file on the runtime that it was certified on."""
    spec = certificate.device_info.spec
    if formats.of_file(certificate.deploy) is not None or runtime_of(spec) == "onnxruntime":
        return ""
    return f"\nThe certificate is of {spec}; the code shows how the network is fed, with ONNX Runtime."


def _paired(certificate: Certificate) -> str:
    """A sentence on what INT8 does to accuracy."""
    file = next((f for f in certificate.files.values() if f.precision == "int8"), None)
    if file is None or file.accuracy_lost is None or file.accuracy_lost_ci95 is None:
        return ""
    drop = Drop(file.accuracy_lost, *file.accuracy_lost_ci95)
    return f"\nOn the same test images INT8 changes accuracy by {drop}, the 95 % interval in brackets."


def _row(name: str, file: FileRecord) -> str:
    cells = (
        name,
        file.precision,
        f"{file.p50_ms:.4g}",
        f"{file.p95_ms:.4g}",
        f"{file.memory_bytes:,}",
        f"{file.bytes:,}",
        f"{file.accuracy:.4f}",
        "yes" if file.within_budget else "no",
    )
    return f"| {' | '.join(cells)} |"
