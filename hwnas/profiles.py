"""Profiles made for a search space or for models, and the device that a profile is of."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

import devices
import profilers
from devices.errors import DeviceUnavailable, ProvenanceMismatch
from devices.events import Note, OnEvent, ignore
from devices.spec import runtime_of

if TYPE_CHECKING:
    from devices import Device, Graph, Profile
    from hwnas.space import SearchSpace

PROFILE = "device.profile.jsonl"
"""Name in a run's folder, where the configuration names no place."""
DRAWN = 80
DEFAULT_TIME_LIMIT_S = 300.0
SIBLING_TIME_LIMIT_S = 60.0


def make(
    device: Device,
    path: str | os.PathLike[str],
    *,
    space: SearchSpace | None = None,
    models: Sequence[Graph] = (),
    sibling: str | os.PathLike[str] | None = None,
    seed: int = 0,
    time_limit_s: float | None = None,
    target_error: float | None = None,
    on_event: OnEvent = ignore,
) -> Profile:
    """Profile a device; see :func:`profilers.profile`.

    With a space: networks that hold every piece of it and others drawn from it, and ``models``. Without one: ``models``, then
    random networks of all kinds until the time is over, or until nine of ten of those timed are predicted from the others within
    ``target_error``, a fraction. With ``sibling``, the profile of another device: ten random networks, and ``models``; the rest
    is taken from there.

    Raises:
        ValueError: a sibling together with a space, or one that itself rests on a sibling; ``target_error`` with either; torch,
            which runs no ONNX files, without a space.
    """
    from hwnas.costs import cover
    from hwnas.proposals import Proposer, UntilKnown, few

    if space is None and runtime_of(device.info.spec) == "torch":
        raise ValueError("torch runs search spaces' networks, not ONNX files: name the space that the profile is for")
    if target_error is not None and (space is not None or sibling is not None):
        raise ValueError("a target error is for profiles of networks of all kinds, not for a space or from a sibling")
    if sibling is not None:
        if space is not None:
            raise ValueError("a profile is made for a space or from a sibling, not both")
        return profilers.profile(
            device,
            timed=[*models, *few(seed)],
            sibling=_known(sibling),
            path=path,
            seed=seed,
            time_limit_s=time_limit_s or SIBLING_TIME_LIMIT_S,
            on_event=on_event,
        )
    rng = np.random.default_rng(seed)
    if space is not None:
        networks = (*cover(space, seed), space.largest(), *space.sample(rng, DRAWN))
        graphs = [*models, *(space.graph(g) for g in networks)]
        return profilers.profile(
            device, timed=graphs, path=path, seed=seed, time_limit_s=time_limit_s, on_event=on_event
        )
    propose = Proposer(seed)
    return profilers.profile(
        device,
        timed=models,
        propose=propose if target_error is None else UntilKnown(propose, target_error, on_event),
        path=path,
        seed=seed,
        time_limit_s=time_limit_s or DEFAULT_TIME_LIMIT_S,
        on_event=on_event,
    )


def _known(sibling: str | os.PathLike[str]) -> dict[str, Any]:
    """What the predictor of a profile knows of kernels."""
    from predictors import load_or_fit
    from predictors.kernel_model import KernelModel

    model = load_or_fit(sibling).kernel_model_
    if not isinstance(model, KernelModel):
        raise ValueError(f"{sibling} rests on a sibling itself; name that one's profile")
    return replace(model, measured={}).to_json()


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
