"""The stages of a training, read from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.errors import OptionError
from lib.training.stages3d import read_training

GOOD = """
architecture = "sammed3d_t"
[[stage]]
name = "general"
size = 64
minutes = 30
real_share = 0
clicks = 3
[[stage]]
name = "fine"
minutes = 10
learning_rate = 4e-4
real_share = 0.5
recipe = "paper"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


def test_stages_are_what_the_file_says(tmp_path: Path) -> None:
    training = read_training(write(tmp_path, GOOD))
    general, fine = training.stages
    assert (general.name, general.size, general.plan.minutes) == ("general", 64, 30.0)
    assert (general.plan.mixture.real_share, general.plan.interaction.clicks) == (0.0, 3)
    assert (fine.size, fine.plan.learning_rate, fine.plan.recipe) == (128, 4e-4, "paper")
    assert fine.plan.mixture.real_share == 0.5 and fine.plan.interaction.clicks == 4


def test_another_length_is_shared_out(tmp_path: Path) -> None:
    training = read_training(write(tmp_path, GOOD), minutes=4)
    assert [stage.plan.minutes for stage in training.stages] == [3.0, 1.0]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("real_share = 0.5", "reel_share = 0.5", "reel_share"),
        ("minutes = 10", "minutes = 'ten'", "minutes"),
        ("size = 64", "size = 60", "multiple of 32"),
        ('name = "fine"', "size = 64", "last stage"),
        ('recipe = "paper"', 'recipe = "fast"', "recipe"),
        ('architecture = "sammed3d_t"', 'architecture = "sammed3d_x"', "sammed3d_x"),
        ('architecture = "sammed3d_t"', "other = 1", "other"),
        ("[[stage]]", "[[step]]", "step"),
        ("minutes = 30", "minutes = ", "run.toml"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        read_training(write(tmp_path, GOOD.replace(old, new)))


def test_no_file_and_no_stage_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError):
        read_training(tmp_path / "none.toml")
    with pytest.raises(OptionError, match="without a stage"):
        read_training(write(tmp_path, 'architecture = "sammed3d_t"\n'))
