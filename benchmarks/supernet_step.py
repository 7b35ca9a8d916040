"""What does a supernet's step cost beside its networks? Its time over the sum of their own forward and backward passes.

    python benchmarks/supernet_step.py [--task digits] [--steps 40] [--batch-size 128] [--random-networks 1]

Steps of the real training (augmentation, slicing of weights, optimiser, averaging and all) take turns with forward and backward
passes of the same networks as modules of their own, on images of the same size.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import hwnas.spaces
import hwnas.tasks
from devices.events import Note, Progress
from hwnas.training.accelerator import accelerator
from hwnas.training.settings import SupernetSettings
from hwnas.training.supernet import drawn, train_supernet


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--random-networks", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    task = hwnas.tasks.open(options.task)
    space = hwnas.spaces.open(options.space, task.input_shape, len(task.classes))
    per_epoch = max(1, len(task.train) // options.batch_size)
    settings = SupernetSettings(
        epochs=-(-(options.steps + 1) // per_epoch),
        batch_size=options.batch_size,
        random_networks=options.random_networks,
        checkpoint_steps=10**9,
    )
    labels = torch.from_numpy(task.train.labels[: options.batch_size]).to(accelerator())
    steps: list[float] = []
    alone: list[float] = []
    started = 0.0

    def now() -> float:
        if accelerator().type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_event(event: Progress | Note) -> None:
        """A step ended: time its networks by themselves."""
        nonlocal started
        if not isinstance(event, Progress):
            return
        steps.append(now() - started)
        networks = [space.largest(), space.smallest(), *drawn(space, settings, options.seed, event.done - 1)]
        modules = [space.build(genotype).to(accelerator()).train() for genotype in networks]
        sizes = [space.image_size(genotype) for genotype in networks]
        inputs = [torch.randn(len(labels), task.input_shape[0], s, s, device=accelerator()) for s in sizes]
        before = now()
        for module, x in zip(modules, inputs, strict=True):
            nn.functional.cross_entropy(module(x), labels).backward()  # type: ignore[no-untyped-call]
        alone.append(now() - before)
        if len(steps) > options.steps:
            raise StopIteration
        started = now()

    started = now()
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(StopIteration):
        train_supernet(
            space,
            task,
            settings=settings,
            seed=options.seed,
            checkpoint=Path(folder, "supernet.safetensors"),
            on_event=on_event,
        )
    ratios = np.array(steps[1:]) / np.array(alone[1:])  # the first one starts everything
    print(
        f"{options.task}, {2 + options.random_networks} networks a step, batches of {options.batch_size}, {len(ratios)} steps"
    )
    print(f"{'supernet step':34} {np.median(steps[1:]) * 1e3:8.1f} ms")
    print(f"{'its networks, forward and backward':34} {np.median(alone[1:]) * 1e3:8.1f} ms")
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    print(f"{'ratio (median, quartiles)':34} {middle:8.3f}    {low:.3f} … {high:.3f}")


if __name__ == "__main__":
    main()
