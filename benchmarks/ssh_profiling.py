"""What profiling over SSH costs, and what breaking connections and dying workers cost, on this machine's loopback.

    python benchmarks/ssh_profiling.py [--networks 24] [--timed 6] [--kills 10] [--setup]

The same networks are profiled here and through SSH, twice each in turns; then while connections are killed at random moments,
then while workers are. Needs Debian's openssh-server. ``--setup`` sets the runtime up by pip in a virtual environment, as users
do; without it the Python of this script is used there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import devices
import profilers
from benchmarks.loopback import Loopback
from devices import Graph, Profile
from devices.profile import load
from devices.ssh import target
from devices.ssh.address import split
from hwnas import spaces

KILL_EVERY_S = 2.5  # at most; a third of it at least


@dataclass(frozen=True)
class Made:
    """A profile, and how it came about."""

    path: Path
    wall_s: float
    killed: int = 0

    @property
    def profile(self) -> Profile:
        """What is in the file."""
        return load(self.path)

    def measured_twice(self) -> int:
        """Units that stand in the file more often than they were asked for."""
        units = [json.loads(line) for line in self.path.read_text().splitlines()[1:]]
        lowered = Counter(unit["graph"] for unit in units if unit["unit"] == "lowering")
        visited = Counter(digest for unit in units if unit["unit"] == "timings" for digest in unit["timings"])
        return sum(n - 1 for n in lowered.values()) + sum(max(0, n - 4) for n in visited.values())


def make(
    spec: str,
    graphs: Sequence[Graph],
    timed: int,
    path: Path,
    meanwhile: AbstractContextManager[list[int]] | None = None,
) -> Made:
    """Open the device and profile; the time includes both."""
    start = time.perf_counter()
    with devices.open(spec) as device, meanwhile or nullcontext([]) as killed:
        profilers.profile(device, graphs, timed=graphs[:timed], path=path)
    return Made(path, time.perf_counter() - start, len(killed))


@contextmanager
def killing(victims: Callable[[], list[int]], kills: int, seed: int) -> Iterator[list[int]]:
    """Meanwhile, kill what ``victims`` names at so many random moments; yields the list that grows by each."""
    over, done, rng = threading.Event(), list[int](), random.Random(seed)

    def kill() -> None:
        while len(done) < kills and not over.wait(rng.uniform(KILL_EVERY_S / 3, KILL_EVERY_S)):
            for pid in victims()[:1]:
                os.kill(pid, signal.SIGKILL)
                done.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


def differences(one: Profile, other: Profile) -> tuple[bool, float, float]:
    """Whether both have the same kernels, and the median relative differences of kernels' and networks' times."""
    a, b = _seconds(one), _seconds(other)
    same = a.keys() == b.keys()
    kernels = [abs(np.log(a[key] / b[key])) for key in a.keys() & b.keys()]
    networks = [abs(np.log(one.timings[d].latency_ms / other.timings[d].latency_ms)) for d in one.timings]
    return same, float(np.median(kernels)), float(np.median(networks))


def _seconds(profile: Profile) -> dict[object, float]:
    """Of each kernel by network, kernel, nodes and which of such it is: what does not wait for each other runs in any order."""
    found: dict[object, float] = {}
    for digest, lowering in profile.lowerings.items():
        seen: Counter[object] = Counter()
        for k in lowering.kernels:
            key = (digest, k.kernel, k.nodes)
            seen[key] += 1
            found[key, seen[key]] = k.seconds or 0.0
    return {key: seconds for key, seconds in found.items() if seconds}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--timed", type=int, default=6)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--setup", action="store_true")
    options = parser.parse_args()
    space = spaces.open("mobile", (3, 32, 32), 10)
    graphs = [space.graph(g) for g in space.sample(np.random.default_rng(0), options.networks)]
    with tempfile.TemporaryDirectory(prefix="hwnas-") as temporary, Loopback(Path(temporary, "machine")) as machine:
        folder = Path(temporary)
        os.environ["PATH"] = f"{machine.bin}{os.pathsep}{os.environ['PATH']}"
        address, runtime = split(f"{machine.address}/onnxruntime")
        assert address is not None
        start = time.perf_counter()
        status = target.setup(address, runtime, python=None if options.setup else sys.executable)
        print(f"set up in {time.perf_counter() - start:.1f} s: {dict(status.versions)}")
        spec = f"{machine.address}/onnxruntime:threads=1"
        here, there = [], []
        for turn in range(2):
            here.append(make("onnxruntime", graphs, options.timed, folder / f"here{turn}.jsonl"))
            there.append(make(spec, graphs, options.timed, folder / f"there{turn}.jsonl"))
        report("here", here[1], here[0], here)
        report("over SSH", there[1], there[0], here)
        for name, victims in (
            ("connections killed", machine.connections),
            ("workers killed", lambda: machine.processes("devices.worker")),
        ):
            faults = killing(victims, options.kills, seed=1)
            made = make(spec, graphs, options.timed, folder / f"{name}.jsonl", faults)
            report(f"{made.killed} {name}", made, there[0], there)
        deadline = time.monotonic() + 5
        while machine.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        print(f"left running there: {len(machine.processes())}")


def report(name: str, made: Made, like: Made, undisturbed: Sequence[Made]) -> None:
    """One line: the profile against another of the same networks, its time against the mean of others."""
    profile = made.profile
    same, kernels, networks = differences(profile, like.profile)
    usual_s = sum(m.wall_s for m in undisturbed) / len(undisturbed)
    wall_s = made.wall_s if made.killed else (made.wall_s + like.wall_s) / 2
    lost = f"{(wall_s - usual_s) / made.killed:.2f} s a kill" if made.killed else f"{wall_s / usual_s - 1:+.1%}"
    print(
        f"{name:24} {wall_s:6.1f} s ({lost}), {sum(len(v.kernels) for v in profile.lowerings.values())} kernels, "
        f"{'the same' if same else 'OTHERS'}, their seconds differ by {kernels:.1%}, networks by {networks:.1%} (median), "
        f"failed {len(profile.failed)}, measured twice {made.measured_twice()}"
    )


if __name__ == "__main__":
    main()
