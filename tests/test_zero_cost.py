"""Scores of untrained networks: what their definitions say of networks whose scores are known, and what becomes of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hwnas.accuracy
import hwnas.spaces
import hwnas.tasks
from hwnas.accuracy import is_score
from hwnas.accuracy._proxies import PROXIES
from hwnas.accuracy.zero_cost import ZeroCost, ZeroCostSettings
from hwnas.report import figures
from hwnas.report import findings as report_findings
from hwnas.report import sections as report_sections
from hwnas.report import text as report_text
from hwnas.report.data import ReportData

LABELS = torch.tensor([0, 1, 2, 0])


class Plain(nn.Module):
    """Two convolutions with a rectifier between them, a pooling, a classifier."""

    def __init__(self, width: int = 6, *, rectified: bool = True) -> None:
        nn.Module.__init__(self)
        self.first, self.norm = nn.Conv2d(2, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.second, self.linear = nn.Conv2d(width, 5, 1, bias=False), nn.Linear(5, 3)
        self.rectified = rectified

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 2, H, W)`` to ``(B, 3)``."""
        x = self.norm(self.first(x))
        logits: Tensor = self.linear(self.second(F.relu(x) if self.rectified else x).mean((2, 3)))
        return logits


@pytest.fixture
def plain() -> Plain:
    torch.manual_seed(0)
    return Plain()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(1))


def test_synflow_is_what_the_weights_let_through_once_for_every_layer(plain: Plain, images: Tensor) -> None:
    # With positive weights the rectifier does nothing: the flow is a product of matrices, and every layer conserves it.
    with torch.no_grad():
        by_position = F.conv2d(torch.ones(1, 2, 5, 5), plain.first.weight.abs(), padding=1).mean((2, 3))
        by_position /= math.sqrt(1 + plain.norm.eps)
        flow = (by_position @ plain.second.weight.abs()[:, :, 0, 0].T @ plain.linear.weight.abs().T).sum()
    assert PROXIES["synflow"](plain, images, LABELS) == pytest.approx(math.log(3 * flow.item()), rel=1e-5)


def test_naswot_counts_the_units_that_two_images_agree_in(plain: Plain, images: Tensor) -> None:
    with torch.no_grad():
        active = (plain.norm(plain.first(images)) > 0).flatten(1).numpy()
    alike = (active[:, None, :] == active[None, :, :]).sum(axis=2)
    assert PROXIES["naswot"](plain, images, LABELS) == pytest.approx(np.linalg.slogdet(alike)[1])
    assert PROXIES["naswot"](Plain(rectified=False), images, LABELS) == -math.inf, "nothing tells the images apart"


def test_grad_norm_is_that_of_each_layer_summed(plain: Plain, images: Tensor) -> None:
    found = PROXIES["grad_norm"](plain, images, LABELS)
    weights = [plain.first.weight, plain.second.weight, plain.linear.weight]
    loss = F.cross_entropy(plain(images), LABELS)
    gradients = torch.autograd.grad(loss, weights)
    assert found == pytest.approx(math.log(sum(g.norm().item() for g in gradients)), rel=1e-5)


def test_zen_puts_back_what_batch_norm_took_out(images: Tensor) -> None:
    def score(factor: float) -> float:
        torch.manual_seed(3)
        return PROXIES["zen"](Plain(), images * factor, LABELS)

    assert score(1.0) == score(5.0), "the images are not looked at"

    class Louder(Plain):
        """The same, but batch norm is given ten times as much."""

        def forward(self, x: Tensor) -> Tensor:
            """As in the class above."""
            x = self.norm(10 * self.first(x))
            logits: Tensor = self.linear(self.second(F.relu(x)).mean((2, 3)))
            return logits

    torch.manual_seed(3)
    assert PROXIES["zen"](Louder(), images, LABELS) == pytest.approx(score(1.0) + math.log(10), abs=1e-3)


def test_parameters_and_flops_are_counted(plain: Plain, images: Tensor) -> None:
    assert PROXIES["parameters"](plain, images, LABELS) == pytest.approx(
        math.log(2 * 9 * 6 + 2 * 6 + 6 * 5 + 5 * 3 + 3)
    )
    macs = 25 * 2 * 9 * 6 + 25 * 6 * 5 + 5 * 3
    assert PROXIES["flops"](plain, images, LABELS) == pytest.approx(math.log(2 * macs))


def test_every_proxy_can_be_asked_for() -> None:
    for name in PROXIES:
        assert ZeroCostSettings.model_validate({"proxy": name}).proxy == name
    with pytest.raises(ValueError, match=r"proxy: .*got 'magic'"):
        hwnas.accuracy.check("zero_cost", {"proxy": "magic"})


@pytest.mark.parametrize("proxy", PROXIES)
def test_scores_from_0_to_1_have_the_order_of_the_proxy(proxy: str, tmp_path: Path) -> None:
    task = hwnas.tasks.open("digits")
    space = hwnas.spaces.open("mobile", task.input_shape, 10, widths=[[8, 16], [16], [24]], depths=[1], resolutions=[6])
    settings = {"proxy": proxy, "batch_size": 8}

    def opened() -> ZeroCost:
        made = hwnas.accuracy.open("zero_cost", space, task, settings=settings, seed=4, folder=tmp_path / "none")
        assert isinstance(made, ZeroCost)
        return made

    model = opened()
    genotypes = space.sample(np.random.default_rng(2), 6)
    found, scores = model.accuracy(genotypes), model.scores(genotypes)
    assert np.array_equal(np.argsort(found, kind="stable"), np.argsort(scores, kind="stable"))
    assert len(set(found.tolist())) == len(set(scores.tolist())) > 1
    assert np.all((found > 0) & (found < 1))
    assert np.array_equal(opened().accuracy(genotypes[::-1]), found[::-1])
    assert is_score(model.source)
    assert not (tmp_path / "none").exists(), "nothing is trained"


def test_only_proxies_are_scores() -> None:
    assert not any(is_score(source) for source in ("supernet", "short_training", "tabulated", "supernet, int8", ""))


def test_a_report_never_calls_a_score_an_accuracy(report_data: ReportData) -> None:
    scored = replace(
        report_data, candidates=replace(report_data.candidates, source="naswot score"), certificate=None, histories=()
    )

    def shown(data: ReportData) -> str:
        parts = [report_text.headline(data)]
        for section in (report_sections._search(data), report_findings.choices(data)):
            assert section is not None
            parts += [str(section.paragraphs), *(str(plot) for plot in section.figures), str(section.more)]
        axes = (figures.front(data.candidates, None), figures.progress(data.candidates))
        return " ".join([*parts, *(figure.to_json() for figure in axes)])

    assert "naswot score" in shown(scored)
    assert "accura" not in shown(scored).replace("which is no accuracy", "").replace("effects-accuracy", "")
    assert "accura" in shown(replace(scored, candidates=report_data.candidates))
