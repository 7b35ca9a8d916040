"""The mobile space: what its options mean, and how it follows the image's size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hwnas.spaces._convolution import conv2d
from hwnas.spaces.mobile import MobileSpace


def chosen(space: MobileSpace, **genes: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The smallest network but for some genes, dots in their names written as underscores."""
    genotype = space.smallest()
    for i, gene in enumerate(space.genes):
        key = gene.name.replace(".", "_", 1)
        if key in genes:
            genotype[i] = gene.options.index(genes[key])
    return genotype


@pytest.mark.parametrize(
    ("side", "sizes"),
    [
        (8, [8, 8, 4, 4]), (16, [16, 16, 8, 4]), (28, [14, 14, 7, 4]), (32, [16, 16, 8, 4]),
        (64, [32, 32, 16, 8, 4]), (224, [112, 112, 56, 28, 14, 7]), (3, [3, 3, 3, 3]),
    ],
)  # fmt: skip
def test_the_image_shrinks_as_far_as_its_size_allows(side: int, sizes: list[int]) -> None:
    space = MobileSpace((1, side, side), 10)
    genotype = chosen(space, resolution=side)
    assert [part.out_size for part in space.parts(genotype)[:-1]] == sizes


def test_parameters_and_macs_are_those_of_the_graph() -> None:
    space = MobileSpace((1, 28, 28), 10)
    for genotype in space.sample(np.random.default_rng(0), 20):
        graph = space.graph(genotype)
        assert space.parameters(genotype) == sum(graph.tensors[c].size for c in graph.constants)
        macs = 0
        for node in graph.nodes:
            if node.op in ("Conv", "Gemm"):
                shape = graph.tensors[node.outputs[0]].shape
                macs += graph.tensors[node.inputs[1]].size * int(np.prod(shape[2:]))
        assert space.macs(genotype) == macs


def test_genes_do_what_they_say() -> None:
    space = MobileSpace((1, 28, 28), 10)
    genotype = chosen(
        space, resolution=24, activation="hardswish", stage2_depth=3, stage2_width=48, stage2_kernel=5,
        stage2_expansion=4, stage2_squeeze_excite=True,
    )  # fmt: skip
    graph = space.graph(genotype)
    nodes = {node.name: node for node in graph.nodes}
    assert space.image_size(genotype) == 24
    assert {name.split("/")[0] for name in nodes} == {
        "stem", "stage1.0", "stage2.0", "stage2.1", "stage2.2", "stage3.0", "head",
    }  # fmt: skip
    depthwise = nodes["stage2.1/depthwise"]
    assert depthwise.attributes["kernel_shape"] == (5, 5)
    assert graph.tensors[depthwise.outputs[0]].shape == (1, 4 * 48, 6, 6)
    assert "stage2.1/scale" in nodes
    assert "stage1.0/scale" not in nodes
    assert "stage2.1/add" in nodes
    assert "stage2.0/add" not in nodes
    assert "Relu" not in {node.op for node in graph.nodes if not node.name.startswith("stage2")}


def test_residuals_are_added_only_where_shapes_agree() -> None:
    space = MobileSpace((1, 28, 28), 10, stem_width=16, widths=[[16], [16], [24]])
    names = {node.name for node in space.graph(space.smallest()).nodes}
    assert "stage1.0/add" in names  # 16 to 16 channels at the same size
    assert not {"stage2.0/add", "stage3.0/add"} & names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": [[16], [20], [32]]}, r"widths\[1\] must be multiples of 8 of at least 8, got 20"),
        ({"kernels": [3, 4]}, "kernels must be odd integers of at least 1, got 4"),
        ({"depths": [0]}, "depths must be integers of at least 1, got 0"),
        ({"expansions": [1.5]}, "expansions must be integers of at least 1, got 1.5"),
        ({"expansions": []}, "expansion needs at least one option"),
        ({"resolutions": [-4]}, "resolutions must be integers of at least 1, got -4"),
        ({"activations": ["relu6"]}, "unknown activation 'relu6', did you mean 'relu'"),
        ({"stem_width": True}, "stem_width must be multiples of 8"),
        ({"head_width": 100}, "head_width must be multiples of 8"),
        ({"widths": [[]]}, r"widths\[0\] needs at least one option"),
    ],
)
def test_options_that_make_no_network_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MobileSpace((1, 28, 28), 10, **options)


def test_options_stand_from_cheap_to_dear_however_they_were_written() -> None:
    space = MobileSpace(
        (1, 28, 28), 10, resolutions=[28, 20], kernels=[5, 3, 5], squeeze_excite=[True, False],
        activations=["hardswish", "relu"], depths=[2],
    )  # fmt: skip
    options = {gene.name: gene.options for gene in space.genes}
    assert options["resolution"] == (20, 28)
    assert options["stage1.kernel"] == (3, 5)
    assert options["stage1.squeeze_excite"] == (False, True)
    assert options["activation"] == ("relu", "hardswish")
    assert [part.place for part in space.parts(space.smallest())].count("stage1.1") == 1


@pytest.mark.parametrize(
    ("kernel", "stride", "size"), [(5, 1, 14), (5, 2, 14), (5, 1, 4), (7, 1, 7), (7, 2, 16), (9, 1, 5)]
)
def test_a_depthwise_convolution_has_torchs_gradients(kernel: int, stride: int, size: int) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(3, 32, size, size, generator=rng).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(32, 1, kernel, kernel, generator=rng, requires_grad=True)
    ours = conv2d(x, weight, None, stride, 32)
    torchs = torch.nn.functional.conv2d(x, weight, None, stride, kernel // 2, groups=32)
    assert torch.equal(ours, torchs)
    gradient = torch.randn(ours.shape, generator=rng)
    for got, wanted in zip(
        torch.autograd.grad(ours, (x, weight), gradient),
        torch.autograd.grad(torchs, (x, weight), gradient),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
