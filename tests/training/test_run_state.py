"""The saved state of a run: whole, or the one before."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lib.errors import TrainingError
from lib.training.learner import LearnerState
from lib.training.run_state import FILE, RunState, load_state, save_state


def state(value: float = 1.0) -> RunState:
    parameter = torch.nn.Parameter(torch.full((3,), value))
    optimiser = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimiser.step()
    learner = LearnerState(
        {"a": parameter.detach()}, {"a": torch.ones(3)}, optimiser.state_dict(), 5, 2
    )
    return RunState("finger", 17, 3.5, learner, "data", {"a": torch.zeros(3)}, 2, [{"epoch": 1}])


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    save_state(tmp_path / "run", state())
    read = load_state(tmp_path / "run")
    assert read is not None
    plain = ("fingerprint", "iteration", "seconds", "data", "best_epoch", "history")
    assert all(getattr(read, name) == getattr(state(), name) for name in plain)
    assert torch.equal(read.learner.weights["a"], state().learner.weights["a"])
    assert read.learner.updates == 5 and read.learner.parts == 2
    step = read.learner.optimiser["state"][0]["step"]
    assert float(step) == 1.0
    assert [path.name for path in (tmp_path / "run").iterdir()] == [FILE]


def test_there_may_be_none(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None


@pytest.mark.parametrize("damage", [b"", b"not a state", None])
def test_a_damaged_state_counts_as_none(tmp_path: Path, damage: bytes | None) -> None:
    save_state(tmp_path, state())
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:200] if damage is None else damage)
    assert load_state(tmp_path) is None


def test_nothing_executable_is_read(tmp_path: Path) -> None:
    torch.save({"facts": "{}", "learner": {}, "best": print}, tmp_path / FILE)
    assert load_state(tmp_path) is None


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
sys.path.insert(0, {root!r})
import torch
from dataclasses import replace
from pathlib import Path
from lib.errors import TrainingError
from lib.training.run_state import load_state, save_state
folder = Path(sys.argv[1])
before = load_state(folder)
try:
    save_state(folder, replace(before, best={{"a": torch.zeros(100_000)}}, iteration=18))
except TrainingError as error:
    print(error.message)
"""


def test_a_full_disk_is_a_clear_error_and_the_last_state_stays(tmp_path: Path) -> None:
    """The system refuses to write more than 4 KiB, as a full disk would."""
    save_state(tmp_path, state())
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK.format(root=root), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "could not be written" in done.stdout and "make room" in done.stdout
    read = load_state(tmp_path)
    assert read is not None and read.iteration == 17
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_folder_that_cannot_be_written_to_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="could not be written"):
        save_state(tmp_path / "file", replace(state(), iteration=1))
