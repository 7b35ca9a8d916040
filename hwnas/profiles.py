"""Profiles made for a search space or for models, and the device that a profile is of."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

import devices
import profilers
from devices.errors import DeviceUnavailable, ProvenanceMismatch
from devices.events import Note, OnEvent, ignore

if TYPE_CHECKING:
    from devices import Device, Graph, Profile
    from hwnas.space import SearchSpace

PROFILE = "device.profile.jsonl"
"""Name in a run's folder, where the configuration names no place."""
DRAWN = 80
BESIDE_MODELS = 12


def make(
    device: Device,
    path: str | os.PathLike[str],
    *,
    space: SearchSpace | None = None,
    models: Sequence[Graph] = (),
    seed: int = 0,
    time_limit_s: float | None = None,
    on_event: OnEvent = ignore,
) -> Profile:
    """Profile networks that hold every piece of a space, and others drawn from it, and models; see :func:`profilers.profile`.

    A predictor learns from several whole networks what a network costs beside its kernels, so models without a space are timed
    beside networks of the space ``mobile``.
    """
    from hwnas import spaces
    from hwnas.costs import cover

    graphs = list(models)
    rng = np.random.default_rng(seed)
    if space is not None:
        graphs += [space.graph(g) for g in (*cover(space, seed), space.largest(), *space.sample(rng, DRAWN))]
    else:
        beside = spaces.open("mobile", (3, 32, 32), 10)
        graphs += [beside.graph(g) for g in beside.sample(rng, BESIDE_MODELS)]
    return profilers.profile(device, timed=graphs, path=path, seed=seed, time_limit_s=time_limit_s, on_event=on_event)


@contextmanager
def device_of(profile: Profile, on_event: OnEvent = ignore) -> Iterator[Device | None]:
    """The device that a profile is of, to be asked for kernels; None, and a note that says why, where it is not here."""
    try:
        device = devices.open(profile.info.spec)
    except DeviceUnavailable as error:
        on_event(Note(f"Kernels are those that the profile lets expect: {error.message}"))
        yield None
        return
    with device:
        try:
            device.info.require_same(profile.info, what="the profile")
        except ProvenanceMismatch as error:
            on_event(Note(f"Kernels are those that the profile lets expect: {error.message}"))
            yield None
            return
        yield device
