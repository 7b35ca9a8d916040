"""Export: the file computes what the module computes, or there is no file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import hwnas.spaces
import hwnas.tasks
from hwnas.bundle.export import export
from hwnas.errors import ExportError
from hwnas.space import SearchSpace
from hwnas.task import Task, normalize
from hwnas.training.supernet import calibrate
from hwnas.training.train import logits


@pytest.fixture(scope="module")
def task() -> Task:
    return hwnas.tasks.open("digits")


@pytest.fixture(params=hwnas.spaces.names())
def space(request: pytest.FixtureRequest, task: Task) -> SearchSpace:
    return hwnas.spaces.open(request.param, task.input_shape, len(task.classes))


def network(space: SearchSpace, genotype: np.ndarray, task: Task) -> nn.Module:
    module = space.build(genotype)
    with torch.no_grad():
        for linear in module.modules():
            if isinstance(linear, nn.Linear):
                linear.weight.mul_(100)
    calibrate(module, task.train.images[:100], task, space.image_size(genotype))
    return module


def test_the_file_computes_what_the_module_computes(space: SearchSpace, task: Task, tmp_path: Path) -> None:
    for genotype in space.sample(np.random.default_rng(0), 3):
        module, size = network(space, genotype, task), space.image_size(genotype)
        path = tmp_path / "model.onnx"
        assert export(space, genotype, module, task, path) < 1e-2
        model = onnx.load(path)
        assert model.opset_import[0].version == 17
        assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        images = task.validation.images[40:60]
        found = np.concatenate([session.run(None, {"input": x[None]})[0] for x in normalize(images, task, size)])
        np.testing.assert_allclose(found, logits(module, images, task, size), atol=1e-2, rtol=1e-3)


def test_a_module_that_computes_something_else_leaves_no_file(space: SearchSpace, task: Task, tmp_path: Path) -> None:
    genotype = space.largest()
    module = network(space, genotype, task)
    module.register_forward_hook(lambda _module, _inputs, output: output + 1)
    with pytest.raises(ExportError, match=r"differ from the module's by up to 1\b"):
        export(space, genotype, module, task, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_numbers_are_refused(space: SearchSpace, task: Task, tmp_path: Path) -> None:
    genotype = space.smallest()
    module = network(space, genotype, task)
    with torch.no_grad():
        next(module.parameters()).fill_(float("nan"))
    with pytest.raises(ExportError, match="nan"):
        export(space, genotype, module, task, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
