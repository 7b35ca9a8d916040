"""Latency of networks on one device, from its profile."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from devices import Device, Graph, Lowering, Profile
from devices.atomic import write_text
from devices.kernels import has_bodies
from devices.profile import load as load_profile
from predictors.attribution import attributed
from predictors.calibration import GUARANTEE, LEVEL, Calibration, conformal_quantile, difficulty, spread_of, widened
from predictors.correction import Correction, held_out
from predictors.errors import NotFitted
from predictors.estimates import Estimates, KernelCosts, KernelEstimate
from predictors.kernel_model import BOUNDS, SHORTEST, Executions, KernelModel, executions
from predictors.lowering import LearnedLowering
from predictors.memory import memory_rules
from predictors.provenance import provenance, sealed, unsealed
from predictors.transfer import TransferredModel
from predictors.whole import added_up

Floats = NDArray[np.float64]

_FOLDS = 4
_NOT_LOWERED = 5  # one network of so many is left out, to see how far the learned lowering is off
_CALM = 1.2  # times the slowness of calm moments
_FEWEST_TIMED = 8
_UNPROFILED = 3.0  # physics alone: a kernel may take so many times as long, or as short
_PER_SIZE = 0.5  # a kernel twice as large as any profiled may take 2**0.5 times as long as the law says


@final
class LatencyPredictor:
    """Predicts latency, its interval and its parts by kernels; memory follows the device's rules.

    Args:
        seed: for the trees' subsampling and for the folds of the calibration.

    Attributes:
        memory_rules_: the device's; see :func:`predictors.memory_rules`.
        held_out_ms_: by digest, ``latency_ms`` of the profile's timed networks as predicted without them.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, profile: Profile) -> Self:
        """Learn from a profile.

        Kernels of all its networks train the kernel model, networks timed as a whole the correction. Where the runtime gives
        kernels no times, those come from the networks' (:mod:`predictors.attribution`). The intervals come from
        networks held out, in folds, from both.

        Networks of one space consist of kernels that the profile has; those of other families do not. So where the profile is of
        networks of all kinds, the correction is learnt from the times that models predict which have not seen the network, and
        from networks whose kernels alone were timed as well (:mod:`predictors.whole`).

        Raises:
            NotFitted: the profile has fewer than eight timed networks.
        """
        from threadpoolctl import threadpool_limits

        timed = [d for d in profile.timings if d in profile.lowerings]
        if len(timed) < _FEWEST_TIMED:
            raise NotFitted(
                f"The profile has {len(timed)} networks timed as a whole, at least {_FEWEST_TIMED} are needed.",
                hint="Repeat the command that made the profile, with more time: it goes on where it ended.",
            )
        self.memory_rules_ = memory_rules(profile.info.spec)
        self.lowerings_ = dict(profile.lowerings)
        self.learned_ = LearnedLowering.fit(profile)
        calm = _calm(profile)
        whole_s = {d: profile.timings[d].latency_ms / 1e3 for d in timed}
        with threadpool_limits(1):  # matrices are small, and idle threads that spin cost most where the machine is busy
            self.kernel_model_ = _kernel_model(profile, calm, timed, self.seed)
            new = isinstance(self.kernel_model_, KernelModel) and self.kernel_model_.contextual
            if new:
                whole_s |= added_up(profile.lowerings, whole_s)
            latency = np.array(list(whole_s.values()))
            data = executions([profile.lowerings[d] for d in whole_s])
            fold = np.random.default_rng(self.seed).permutation(len(whole_s)) % _FOLDS
            apart, known = np.empty(len(data.kernel)), []
            for f in range(_FOLDS):
                out = {d for d, of in zip(whole_s, fold, strict=True) if of == f}
                kept = [d for d in timed if d not in out]
                model = _kernel_model(profile, [d for d in calm if d not in out], kept, self.seed)
                known.append(model.seconds(data))
                apart = np.where(fold[data.network] == f, known[f], apart)
            costs, held_out_s = held_out(data, latency, fold, apart, _FOLDS * [apart] if new else known)
            self.correction_ = Correction.fit(data, apart if new else self.kernel_model_.seconds(data), latency)
        self.spread_ = spread_of(
            data.table.family[data.kernel], np.abs(np.log(np.maximum(data.seconds, SHORTEST) / apart))
        )
        self.held_out_ms_ = dict(zip(timed, (1e3 * held_out_s).tolist(), strict=False))
        p50_ms = np.array([profile.timings[d].p50_ms for d in timed])
        self.calibration_ = Calibration.fit(1e3 * held_out_s, 1e3 * latency, p50_ms, self._difficulty(data, costs))
        self.lowering_errors_ = self._errors_of_lowering(profile, whole_s)
        return self

    def _errors_of_lowering(self, profile: Profile, whole: Collection[str]) -> Floats:
        """How far latencies by learned kernels are from those by the kernels executed, as the logarithms of factors, of networks
        among the ``whole`` that the lowering was not learnt from."""
        turn = np.random.default_rng(self.seed).permutation(len(profile.graphs)) % _NOT_LOWERED
        out = {d: graph for (d, graph), of in zip(profile.graphs.items(), turn, strict=True) if not of and d in whole}
        if not out:
            return np.array([np.log(_UNPROFILED)])
        kept = {d: graph for d, graph in profile.graphs.items() if d not in out}
        learned = LearnedLowering.fit(replace(profile, graphs=kept))
        exact_s = self._total_seconds([profile.lowerings[d] for d in out])
        written = [Lowering(learned.kernels(graph)) for graph in out.values()]
        return np.abs(np.log(self._total_seconds(written) / exact_s))

    def _total_seconds(self, lowerings: Sequence[Lowering]) -> Floats:
        return np.maximum(_predict(self.kernel_model_, self.correction_, executions(lowerings))[1], SHORTEST)

    def _difficulty(self, data: Executions, costs: Floats) -> Floats:
        """``(n,)`` how well each network can be predicted at best; ``costs`` are of its ``(m,)`` executions."""
        _, family = np.unique(data.table.family, return_inverse=True)
        worst = max(self.spread_.values(), default=1.0)
        spread = np.array([self.spread_.get(str(f), worst) for f in data.table.family]).reshape(-1)
        return difficulty(costs, spread[data.kernel], family[data.kernel], data.network)

    def difficulty(self, lowerings: Sequence[Lowering]) -> Floats:
        """``(n,)`` see :func:`predictors.calibration.difficulty`."""
        data = executions(lowerings)
        return self._difficulty(data, _predict(self.kernel_model_, self.correction_, data)[0])

    @property
    def run_overhead_ms(self) -> float:
        """What a run costs beside its kernels."""
        return self.correction_.run * 1e3

    def kernel_costs(self, lowerings: Sequence[Lowering]) -> list[KernelCosts]:
        """What each kernel of each network adds; with :attr:`run_overhead_ms`, a network's ``latency_ms`` is their sum."""
        if not lowerings:
            return []
        data = executions(lowerings)
        costs = _predict(self.kernel_model_, self.correction_, data)[0] * 1e3
        doubt = _doubt(self.kernel_model_, data)[data.kernel]
        over, under = np.maximum(costs, 1e-30) * (doubt - 1), costs * (1 - 1 / doubt)
        ends = np.cumsum([len(low.kernels) for low in lowerings])[:-1]
        return [
            KernelCosts(*parts)
            for parts in zip(np.split(costs, ends), np.split(over, ends), np.split(under, ends), strict=True)
        ]

    def predict_lowerings(self, lowerings: Sequence[Lowering], *, guarantee: float = GUARANTEE) -> Estimates:
        """Predict networks whose kernels are known. ``guarantee`` is the probability with which ``p50_upper_ms`` holds."""
        data = executions(lowerings)
        costs = self.kernel_costs(lowerings)
        own = np.array([c.latency_ms.sum() for c in costs])
        shortest = SHORTEST * 1e3 * np.array([max(1, len(c.latency_ms)) for c in costs])
        # the overhead of a run can come out below zero; a network much shorter than all that were timed still takes time
        latency = np.maximum.reduce([own + self.run_overhead_ms, own / 2, shortest])
        over = np.array([c.over_ms.sum() for c in costs])
        under = np.array([c.under_ms.sum() for c in costs])
        bounds, profiled = self.kernel_model_.bounds(data)[data.kernel], self.kernel_model_.profiled(data)[data.kernel]
        rows = iter(zip(bounds.tolist(), profiled.tolist(), strict=True))
        kernels = tuple(
            tuple(
                KernelEstimate(k.kernel.kind, k.nodes, float(ms), BOUNDS[bound], known, k.reads)
                for k, ms, (bound, known) in zip(low.kernels, c.latency_ms, rows, strict=False)
            )
            for low, c in zip(lowerings, costs, strict=True)
        )
        each = np.concatenate([np.empty(0), *(c.latency_ms for c in costs)])
        expected = self.calibration_.expected_error(self._difficulty(data, each), own + self.run_overhead_ms)
        low, high = self.calibration_.interval(expected)
        upper = self.calibration_.p50_upper(expected, guarantee)
        learned = np.array([low.learned for low in lowerings], bool)
        off, off_at_most = (
            np.where(learned, conformal_quantile(self.lowering_errors_, level), 0.0) for level in (LEVEL, guarantee)
        )
        return Estimates(
            latency,
            latency * self.calibration_.p50,
            np.maximum((latency - under) / widened(1 / low, off), 0.0),
            (latency + over) * widened(high, off),
            (latency + over) * widened(upper, off_at_most),
            tuple(self.memory_rules_.peak(low.kernels) for low in lowerings),
            kernels,
            tuple("learned" if low.learned else "exact" for low in lowerings),
        )

    def predict(self, graphs: Sequence[Graph], device: Device | None = None, *, learned: bool = False) -> Estimates:
        """Predict graphs, from the kernels of :meth:`lower`."""
        return self.predict_lowerings(self.lower(graphs, device, learned=learned))

    def lower(self, graphs: Sequence[Graph], device: Device | None = None, *, learned: bool = False) -> list[Lowering]:
        """The kernels of graphs: those in the profile as it has them, the others as the device makes them; without a device as
        it would, by what it did in the profile. With ``learned`` all of them so.

        Raises:
            DeviceError: the device cannot run one.
        """
        return [self._learned(g) if learned else self._exact(g, device) or self._learned(g) for g in graphs]

    def _exact(self, graph: Graph, device: Device | None) -> Lowering | None:
        known = self.lowerings_.get(graph.digest())
        if known is not None or device is None:
            return known
        return Lowering(tuple(device.kernels(graph)))

    def _learned(self, graph: Graph) -> Lowering:
        return Lowering(self.learned_.kernels(graph), learned=True)

    def save(self, path: str | os.PathLike[str], profile_path: str | os.PathLike[str]) -> None:
        """Write what was learnt, with the hash of the profile that it was learnt from, as JSON.

        Raises:
            HwnasError: the folder cannot be written.
        """
        value = {
            **provenance(profile_path),
            "seed": self.seed,
            "kernel_model": self.kernel_model_.to_json(),
            "correction": self.correction_.to_json(),
            "calibration": self.calibration_.to_json(),
            "spread": self.spread_,
            "held_out_ms": self.held_out_ms_,
            "lowering": self.learned_.to_json(),
            "lowering_errors": self.lowering_errors_.tolist(),
        }
        write_text(path, sealed(value))

    @classmethod
    def load(cls, path: str | os.PathLike[str], profile_path: str | os.PathLike[str]) -> Self:
        """Read a predictor and the profile that it was learnt from.

        Raises:
            NotFitted: the file is damaged, of another profile, or of another version; :func:`load_or_fit` makes a new one.
        """
        try:
            value = unsealed(Path(path).read_text())
            stale = [k for k, v in provenance(profile_path).items() if value.get(k) != v]
            if stale:
                raise NotFitted(f"{path} was not learnt from {profile_path} as it is now: {', '.join(stale)} differ.")
            return cls(seed=value["seed"])._restore(value, load_profile(profile_path))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotFitted(
                f"{path} is damaged: {error}", hint="Delete it; it is made again from the profile."
            ) from error

    def _restore(self, value: Mapping[str, Any], profile: Profile) -> Self:
        self.memory_rules_ = memory_rules(profile.info.spec)
        self.lowerings_ = dict(profile.lowerings)
        kind = KernelModel if profile.sibling is None else TransferredModel
        self.kernel_model_ = kind.from_json(value["kernel_model"])
        self.correction_ = Correction.from_json(value["correction"])
        self.calibration_ = Calibration.from_json(value["calibration"])
        self.lowering_errors_ = np.array(value["lowering_errors"], np.float64)
        self.spread_ = dict(value["spread"])
        self.held_out_ms_ = dict(value["held_out_ms"])
        self.learned_ = LearnedLowering.from_json(value["lowering"])
        return self


def _kernel_model(
    profile: Profile, lowered: Sequence[str], timed: Sequence[str], seed: int
) -> KernelModel | TransferredModel:
    """From the kernels of the networks ``lowered``; where those have no times, from the latencies of the networks ``timed``."""
    kernels = executions([profile.lowerings[d] for d in lowered])
    if not np.isfinite(kernels.seconds).any():
        latency = np.array([profile.timings[d].latency_ms for d in timed]) / 1e3
        kernels = attributed(kernels, executions([profile.lowerings[d] for d in timed]), latency)
    if profile.sibling is None:
        return KernelModel.fit(kernels, seed=seed)
    return TransferredModel.fit(KernelModel.from_json(profile.sibling), kernels, seed=seed)


def _calm(profile: Profile) -> list[str]:
    """Networks whose kernels were measured while the machine was hardly disturbed: what slows the sentinels by more slows kernels
    unevenly. The calmer half at least."""
    slowness = {d: low.slowness for d, low in profile.lowerings.items()}
    calmest, usual = np.quantile(list(slowness.values()), (0.1, 0.5))
    limit = max(_CALM * calmest, usual)
    return [d for d, slow in slowness.items() if slow <= limit]


def _predict(model: KernelModel | TransferredModel, correction: Correction, data: Executions) -> tuple[Floats, Floats]:
    """Seconds of each execution, and of each network."""
    costs = correction.seconds(data, model.seconds(data))
    networks = int(data.network.max(initial=-1)) + 1
    totals: Floats = np.bincount(data.network, costs, networks).astype(np.float64)
    return costs, totals + correction.run


def _doubt(model: KernelModel | TransferredModel, data: Executions) -> Floats:
    """``(K,)`` factor by which each distinct kernel may be off because the profile has nothing like it; 1 where it has. What the
    bodies of branches and loops take is not known at all."""
    doubt = np.where(model.profiled(data), np.exp(_PER_SIZE * model.beyond(data)), _UNPROFILED)
    return np.where([has_bodies(kernel.kind) for kernel in data.kernels], np.inf, doubt)
