"""Options of scripts that work on one search space and one device."""

from __future__ import annotations

import argparse

import hwnas.spaces
from hwnas.space import SearchSpace


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of the options that say which space and device."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", default="onnxruntime:threads=1")
    made.add_argument("--space", default="mobile")
    made.add_argument("--shape", default="1x28x28")
    made.add_argument("--classes", type=int, default=10)
    return made


def opened(options: argparse.Namespace) -> SearchSpace:
    """The space that they name."""
    channels, height, width = (int(n) for n in options.shape.split("x"))
    return hwnas.spaces.open(options.space, (channels, height, width), options.classes)
