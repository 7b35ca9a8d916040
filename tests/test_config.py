"""Every bad key or value in a configuration is refused with its line; the resolved one reads back as itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.config import Config, load
from hwnas.errors import InvalidConfig

GOOD = "[budget]\nlatency_ms = 8.0\n"


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load(path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[budget]\nlatency_ms = 8.0\nmemry_bytes = 3\n", ["line 3", "memry_bytes", "did you mean 'memory_bytes'"]),
        ("seeed = 1\n[budget]\nlatency_ms = 8\n", ["line 1", "did you mean 'seed'"]),
        ("[budgt]\nlatency_ms = 8\n", ["line 1", "did you mean 'budget'"]),
        ("[train]\nepoch = 3\n" + GOOD, ["line 2", "did you mean 'epochs'"]),
        ("[budget]\nlatency_ms = 0\n", ["line 2", "latency_ms", "greater than 0"]),
        ("[budget]\nlatency_ms = -3.0\n", ["line 2", "greater than 0"]),
        ("[budget]\nlatency_ms = nan\n", ["line 2", "finite"]),
        ("[budget]\nlatency_ms = inf\n", ["line 2", "finite"]),
        ("[budget]\nlatency_ms = true\n", ["line 2", "number"]),
        ('[budget]\nlatency_ms = "fast"\n', ["line 2", "number"]),
        ("[budget]\nmemory_bytes = 1.5\n", ["line 2", "integer"]),
        ("[budget]\nlatency_fraction_of_largest = 1.5\n", ["line 2", "less than or equal to 1"]),
        ("[budget]\nlatency_ms = 1\nlatency_fraction_of_largest = 0.5\n", ["not both"]),
        ("[budget]\n", ["at least one limit"]),
        ("", ["'budget'", "required"]),
        ("[search]\nevaluations = 0\n" + GOOD, ["line 2", "greater than 0"]),
        ("seeds = 0\n" + GOOD, ["line 1", "seeds", "greater than 0"]),
        ("[train]\nerase = 1.1\n" + GOOD, ["line 2", "erase", "less than or equal to 1"]),
        ("[train]\nmixup = -0.1\n" + GOOD, ["line 2", "mixup", "greater than or equal to 0"]),
        ('[train]\nstart = "sratch"\n' + GOOD, ["line 2", "'supernet' or 'scratch'"]),
        ('[train]\nstart = "scratch"\nalso_from_scratch = true\n' + GOOD, ["line 1", "also_from_scratch", "supernet"]),
        (
            GOOD + '[[also]]\nspec = "a"\n[[also]]\nspec = "b"\nlatency_m = 1\n',
            ["line 7", "[also]", "mean 'latency_ms'"],
        ),
        (
            GOOD + '[[also]]\nspec = "a"\nlatency_ms = 1\n[[also]]\nspec = "b"\nlatency_ms = 0\n',
            ["line 8", "greater than 0"],
        ),
        (GOOD + '[[also]]\nspec = "a"\n[[also]]\nlatency_ms = 1\n', ["line 5", "'spec' in [also]", "required"]),
        (GOOD + '[[also]]\nspec = "onnxruntime:threads=1"\n', ["a device is named twice"]),
        ("budget\n", ["TOML"]),
        ("\xff", ["TOML"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, wanted: list[str]) -> None:
    with pytest.raises(InvalidConfig) as caught:
        read(tmp_path, text)
    for part in wanted:
        assert part in caught.value.message, caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="no file"):
        load(tmp_path / "nothing.toml")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD + '[device]\nprofile = "../p.jsonl"\n[task]\nname = "npz"\npath = "data.npz"\n')
    assert config.device.profile == (tmp_path / "../p.jsonl").resolve()
    assert config.task.path == tmp_path / "data.npz"


def test_the_resolved_configuration_reads_back_as_itself(tmp_path: Path) -> None:
    text = (
        GOOD + '[space]\nname = "mobile"\ndepths = [1, 2]\n[search]\npopulation = 20\n[device]\nprofile = "a b.jsonl"\n'
    )
    config = read(tmp_path, text)
    again = read(tmp_path, config.to_toml())
    assert again == config
    assert again.space.settings == {"depths": [1, 2]}
    assert again.search.settings == {"population": 20}


def test_a_further_device_has_the_limits_that_it_does_not_set_from_the_budget(tmp_path: Path) -> None:
    text = "[budget]\nlatency_ms = 8\nmemory_bytes = 900\n[[also]]\nspec = 'a'\nprofile = 'a.jsonl'\n"
    config = read(tmp_path, text + "[[also]]\nspec = 'b'\nlatency_fraction_of_largest = 0.5\n")
    first, second = config.also
    assert first.profile == tmp_path / "a.jsonl"
    assert first.budget(config.budget) == config.budget
    assert second.budget(config.budget).limits == {"latency_fraction_of_largest": 0.5, "memory_bytes": 900}
    assert read(tmp_path, config.to_toml()) == config


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.parent.glob("examples/*.toml")), ids=lambda p: p.name)
def test_the_examples_are_valid(path: Path) -> None:
    from hwnas import accuracy, searchers, spaces

    config = load(path)
    searchers.check(config.search.searcher, config.search.settings)
    accuracy.check(config.accuracy.model, config.accuracy.settings)
    spaces.open(config.space.name, (1, 28, 28), 10, **config.space.settings)
