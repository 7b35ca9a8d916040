"""Device specifications: wrong ones are refused with what is right."""

from __future__ import annotations

import platform

import pytest

import devices
from devices.hardware import hardware


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("onxruntime", "unknown device 'onxruntime', did you mean 'onnxruntime'?"),
        ("", "unknown device ''"),
        (":threads=1", "unknown device ''"),
        ("onnxruntime:thread=2", "no setting 'thread', did you mean 'threads'?"),
        ("onnxruntime:threads=0", "threads must be a whole number, 1 or more, got '0'"),
        ("onnxruntime:threads=-1", "threads must be a whole number"),
        ("onnxruntime:threads=1.5", "threads must be a whole number"),
        ("onnxruntime:threads=²", "threads must be a whole number"),
        ("onnxruntime:threads=two", "threads must be a whole number"),
        ("onnxruntime:threads=1,threads=2", "given twice"),
        ("onnxruntime:threads", "settings are written NAME=VALUE"),
        ("onnxruntime:", "settings are written NAME=VALUE"),
        ("onnxruntime:threads=", "settings are written NAME=VALUE"),
        ("onnxruntime:threads=1,", "settings are written NAME=VALUE"),
    ],
)
def test_wrong_specifications(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match="device") as caught:
        devices.open(spec)
    assert message in str(caught.value)


def test_threads_are_another_device() -> None:
    with devices.open("onnxruntime") as one, devices.open("onnxruntime: threads = 2") as two:
        assert one.info.spec == "onnxruntime:threads=1"
        assert two.info.spec == "onnxruntime:threads=2"
        assert two.info.settings["threads"] == 2
        with pytest.raises(devices.errors.ProvenanceMismatch, match=r"settings\.threads: found 2, wanted 1"):
            one.info.require_same(two.info, what="that")


def test_describing_starts_nothing() -> None:
    (status,) = [s for s in devices.describe() if s.name == "onnxruntime"]
    assert status.spec == "onnxruntime:threads=1"
    assert status.unavailable == ""
    assert set(status.settings) == {"threads"}


def test_hardware_of_this_machine() -> None:
    found = hardware()
    assert found["machine"] == platform.machine()
    assert found["cores"] >= 1
    assert found["cpu"]
    if platform.system() == "Linux" and platform.machine() == "x86_64":
        assert "sse4_1" in found["flags"]
