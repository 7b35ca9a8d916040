"""A record is all that a runtime's own format takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.bundle import files as bundle
from hwnas.bundle import formats, native
from hwnas.bundle.certificate import FLOAT, INT8
from hwnas.bundle.formats import Beside, Format, Snippet


@pytest.fixture
def _shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """MNN with a format of its own, in two parts."""
    snippet = Snippet("import numpy as np", 'model = load("{deploy}")', "model(x)")
    files = {"model.mnn": (FLOAT,), "model.int8.mnn": (INT8,)}
    made_up = Format(files, "runs on MNN only", "MNN runs its own", snippet, Beside(".weight", b"END"))
    monkeypatch.setattr(formats, "FORMATS", {**formats.FORMATS, "mnn": made_up})
    monkeypatch.setattr(bundle, "FORMATS", formats.FORMATS)


@pytest.mark.usefixtures("_shipped")
def test_a_new_record_is_all_it_takes(tmp_path: Path) -> None:
    native.write(b"text END" + b"weights", tmp_path / "model.mnn")
    assert (tmp_path / "model.mnn").read_bytes() == b"text END"
    assert (tmp_path / "model.weight").read_bytes() == b"weights"
    assert native.read(tmp_path / "model.mnn") == b"text ENDweights"
    assert bundle.natives(tmp_path) == [tmp_path / "model.mnn", tmp_path / "model.weight"]
    assert bundle.source(tmp_path, "model.int8.mnn") == tmp_path / INT8
    assert formats.snippet("model.mnn").answer == "model(x)"
    assert formats.snippet(FLOAT) is formats.ONNX


@pytest.mark.parametrize("runtime", formats.FORMATS)
def test_the_float_file_comes_first_and_a_name_says_its_format(runtime: str) -> None:
    form = formats.FORMATS[runtime]
    assert next(iter(form.files.values())) == (FLOAT,)
    for name in form.files:
        assert formats.of_file(name) is form
        assert Path(name).suffix != ".onnx"
