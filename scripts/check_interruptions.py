#!/usr/bin/env python3
"""Kill a training again and again, at random moments, and see that nothing breaks.

Trains the compact network on phantoms, publishes whatever comes out, and ends the process with
SIGKILL after a random time, which MONAI Label's stop button does as well. After every kill:

* the registry names a version that loads, and every version in it is whole;
* what serves is what served before, or the version that was being published;
* the saved state, if there is one, can be read, and the next run goes on from it.

Example:
    python scripts/check_interruptions.py --kills 50

Exit codes: 0 nothing broke, 1 something did, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from lib.data.labelled_slices import LabelledSlices
from lib.data.phantoms import make_phantom
from lib.data.pool import LabelledImage
from lib.networks import build_model, installed_weights
from lib.networks.checkpoint import save_weights
from lib.networks.weights import build_model as build
from lib.training.progress import RunStats
from lib.training.registry import Registry, apply_version
from lib.training.run import TrainJob, train
from lib.training.run_state import load_state
from lib.training.settings import TrainSettings

ARCHITECTURE = "samed2d_t"
SETTINGS = {
    "publish": "force",
    "train": "decoder",
    "device": "cpu",
    "max_epochs": 2,
    "epoch_steps": 3,
    "train_batch_size": 2,
}


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50, help="how often (default 50)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    parser.add_argument("--folder", type=Path, help="work here, and keep it (default: temporary)")
    return parser.parse_args()


class Journal:
    """Writes what a run says to a file, a line at a time, so that it outlives a kill."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def say(self, sentence: str) -> None:
        """Append a line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{time.monotonic():.3f} {sentence}\n")

    def show(self, stats: RunStats) -> None:
        """Note the phase."""
        self.say(f"phase {stats.phase}")


@dataclass
class Tally:
    """What happened.

    Attributes:
        kills: processes that were killed at work.
        finished: runs that were done before the moment came.
        resumed: runs that went on from a saved state.
        published: versions at the end.
        phases: kills by the last phase the run had told.
    """

    kills: int = 0
    finished: int = 0
    resumed: int = 0
    published: int = 0
    phases: dict[str, int] = field(default_factory=dict)


def phantoms(count: int) -> LabelledSlices:
    """Labelled slices, one patient each."""
    rng = np.random.default_rng(1)
    images = []
    while len(images) < count:
        phantom = make_phantom(rng)
        share = phantom.masks.mean(axis=(1, 2))
        kept = np.flatnonzero((share > 0.01) & (share < 0.5))[:2]
        if len(kept):
            names = tuple(phantom.names[n] for n in kept)
            name = f"phantom{len(images)}"
            images.append(LabelledImage(name, name, phantom.image, phantom.masks[kept], names))
    return LabelledSlices(tuple(images))


def run_in_child(job: TrainJob, journal: Path) -> int:
    """Start a run in a process of its own; its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        train(job, Journal(journal))
        status = 0
    finally:
        os._exit(status)


def end_after(child: int, seconds: float) -> bool:
    """Kill a process after a time; False where it had ended by itself.

    Raises:
        AssertionError: it had ended with an error.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, f"the run ended with status {status}"
            return False
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def check(job: TrainJob, before: str | None) -> str | None:
    """Look at everything a killed run may have left; name of what serves now.

    Raises:
        AssertionError: something is broken.
    """
    registry = Registry(job.registry, job.architecture, job.weights)
    serving = registry.serving()
    versions = registry.versions()
    assert before is None or serving is not None, "the serving version is gone"
    for version in versions:
        apply_version(build(job.architecture, job.weights), version)
    name = None if serving is None else serving.name
    assert name == before or name == versions[-1].name, f"{name} serves, {before} did"
    state = registry.folder / "runs" / job.settings.name
    if (state / "state.pt").is_file():
        assert load_state(state) is not None, "the saved state cannot be read"
    return name


def torture(job: TrainJob, kills: int, seed: int, folder: Path) -> Tally:
    """Kill so many runs.

    Raises:
        AssertionError: something broke.
    """
    rng = np.random.default_rng(seed)
    tally = Tally()
    serving: str | None = None
    began = time.monotonic()
    end_after(run_in_child(job, folder / "whole.txt"), 600)
    length = time.monotonic() - began
    serving = check(job, serving)
    number = 0
    while tally.kills < kills:
        number += 1
        journal = folder / f"run{number}.txt"
        killed = end_after(run_in_child(job, journal), float(rng.uniform(0.0, 1.05 * length)))
        said = journal.read_text(encoding="utf-8") if journal.is_file() else ""
        tally.resumed += "going on after" in said
        tally.kills += killed
        tally.finished += not killed
        if killed:
            phase = said.rsplit("phase ", 1)[-1].split("\n")[0] if "phase " in said else "starting"
            tally.phases[phase] = tally.phases.get(phase, 0) + 1
        serving = check(job, serving)
        print(f"\r{tally.kills} of {kills} kills, {serving} serves", end="", flush=True)
    tally.published = len(Registry(job.registry, job.architecture, job.weights).versions())
    print()
    return tally


def main() -> int:
    """Run the command line."""
    arguments = parse_arguments()
    # Forked processes must not inherit threads.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="samed2d-") as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        weights = installed_weights(ARCHITECTURE)
        if weights is None:
            weights = folder / f"{ARCHITECTURE}.safetensors"
            save_weights(build_model(ARCHITECTURE), weights)
        job = TrainJob(
            architecture=ARCHITECTURE,
            weights=weights,
            registry=folder / "registry",
            data=phantoms(4),
            settings=TrainSettings.parse(SETTINGS),
        )
        try:
            tally = torture(job, arguments.kills, arguments.seed, folder)
        except AssertionError as error:
            print(f"\nBROKEN: {error}", file=sys.stderr)
            return 1
    print(
        f"{tally.kills} kills ({', '.join(f'{n} {p}' for p, n in tally.phases.items())}), "
        f"{tally.finished} runs ended by themselves, {tally.resumed} went on from a saved state, "
        f"{tally.published} versions published; every one is whole, and one always served"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
