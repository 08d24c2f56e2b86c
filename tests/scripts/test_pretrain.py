"""scripts/pretrain.py: its settings from a file, and a run of two processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lib.errors import OptionError
from lib.networks import build_model
from scripts.pretrain import main, parse_arguments, plan_of, read_material
from tests.support.datasets import build_small, pack_small

SCRIPT = Path(__file__).parents[2] / "scripts" / "pretrain.py"


def config(folder: Path, text: str) -> list[str]:
    file = folder / "run.toml"
    file.write_text(text)
    return ["--config", str(file), "--out", str(folder / "out")]


def test_settings_come_from_the_file_unless_the_command_line_says_otherwise(tmp_path: Path) -> None:
    text = 'minutes = 3\nlearning_rate = 1e-4\nfp32 = true\ndata = ["a", "b"]\nreal_share = 0.1\n'
    options = parse_arguments([*config(tmp_path, text), "--real-share", "0.7", "--data", "c"])
    assert (options.minutes, options.learning_rate, options.fp32) == (3.0, 1e-4, True)
    assert options.real_share == 0.7
    assert options.data == ["a", "b", "c"]
    assert not parse_arguments(config(tmp_path, "fp32 = false\n")).fp32


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("minuets = 3\n", "minuets; allowed are"),
        ("minutes = 'long'\n", "invalid float value"),
        ("minutes = \n", "run.toml"),
        ('kinds = "xray,cartoon"\n', "cartoon: no kind"),
        ("resume = true\n", "resume; allowed are"),
        ("name = 'mine'\n", "name; allowed are"),
        ("optimiser = 'sgd'\n", "invalid choice: 'sgd'"),
        ("stage = 3\n", "[[stage]]"),
        ("[[stage]]\nminuets = 3\n", "stage 1: minuets; allowed are"),
        ("[[stage]]\nprocesses = 2\n", "stage 1: processes; allowed are"),
        ("[[stage]]\nname = '../up'\n", "a name is made of letters"),
        ("[[stage]]\nname = '2'\n[[stage]]\n", "stages 2, 2: each has a name of its own"),
    ],
)
def test_a_wrong_file_is_refused(
    tmp_path: Path, text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(config(tmp_path, text))
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


STAGES = """
learning_rate = 1e-3
batch_size = 3
[[stage]]
name = "first"
minutes = 30
optimiser = "muon"
[[stage]]
minutes = 10
learning_rate = 2e-3
learns = "rating"
"""


def test_a_stage_has_settings_of_its_own_and_those_of_the_whole(tmp_path: Path) -> None:
    first, second = parse_arguments(config(tmp_path, STAGES)).stages
    assert (first.name, second.name) == ("first", "2")
    assert (first.minutes, first.learning_rate, first.optimiser) == (30, 1e-3, "muon")
    assert (second.minutes, second.learning_rate, second.optimiser) == (10, 2e-3, "adamw")
    assert (first.batch_size, second.batch_size, second.learns) == (3, 3, "rating")
    plan = plan_of(second)
    assert (plan.minutes, plan.batch_size, plan.learns) == (10, 3, "rating")


def test_the_command_line_wins_over_stages_and_its_minutes_are_those_of_all(
    tmp_path: Path,
) -> None:
    words = [*config(tmp_path, STAGES), "--learning-rate", "3e-3", "--minutes", "4"]
    stages = parse_arguments(words).stages
    assert [stage.learning_rate for stage in stages] == [3e-3, 3e-3]
    assert [stage.minutes for stage in stages] == pytest.approx([3.0, 1.0])


def test_a_run_without_stages_is_one(tmp_path: Path) -> None:
    for options in (parse_arguments(["--out", "x"]), parse_arguments(config(tmp_path, ""))):
        assert options.stages == [options] and options.name == ""


def test_stages_follow_each_other_and_finished_ones_are_not_repeated(tmp_path: Path) -> None:
    text = """
        batch_size = 1
        validation_phantoms = 1
        kinds = "microscopy"
        fp32 = true
        steps = 2
        [[stage]]
        name = "first"
        [[stage]]
        name = "rating"
        learns = "rating"
    """
    assert main(config(tmp_path, text)) == 0
    out = tmp_path / "out"
    first, second = (
        load_file(out / name / "samed2d_t.safetensors") for name in ("first", "rating")
    )
    result = out / "samed2d_t.safetensors"
    assert result.read_bytes() == (out / "rating" / result.name).read_bytes()
    changed = {name for name, value in first.items() if not torch.equal(value, second[name])}
    assert changed and all("rating" in name or "iou_prediction" in name for name in changed)
    # Go on after the first stage: it is not run again, the second begins with what it learned.
    shutil.rmtree(out / "rating")
    saved = (out / "first" / "log.jsonl").read_text()
    assert main([*config(tmp_path, text), "--resume"]) == 0
    assert (out / "first" / "log.jsonl").read_text() == saved
    again = load_file(out / "rating" / "samed2d_t.safetensors")
    assert all(torch.equal(again[name], value) for name, value in second.items())


@pytest.mark.timeout(600)
def test_two_processes_train_one_network_and_go_on(tmp_path: Path) -> None:
    text = "minutes = 0.1\nprocesses = 2\nbatch_size = 1\nvalidation_phantoms = 1\n"
    command = [sys.executable, str(SCRIPT), *config(tmp_path, text), "--kinds", "microscopy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    build_model("samed2d_t", tmp_path / "out" / "samed2d_t.safetensors")
    (line,) = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    step = json.loads(line)["step"]
    assert step > 0
    longer = str(json.loads(line)["minutes"] + 0.1)
    again = subprocess.run(
        [*command, "--resume", "--minutes", longer], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout.count(f"resumed at step {step}") == 1
    *_, line = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["step"] > step


def test_one_data_set_is_streamed_and_one_is_measured(tmp_path: Path) -> None:
    folder = str(build_small(tmp_path))
    shards = str(pack_small(tmp_path / "set", tmp_path / "shards"))
    more = ["--validation-data", folder, "--validation-images", "1", "--out", str(tmp_path)]
    material = read_material(parse_arguments(["--data", shards, *more]))
    data_set = material.data_set
    assert material.training == [] and data_set is not None and data_set.total() > 100
    test = json.loads((tmp_path / "set" / "label2image_test.json").read_text())
    assert [f"images/{image.name}.png" in test.values() for image in material.held_out] == [True]
    assert f"a stream of {data_set.total()} to train on, 1 held out" in material.summary()
    with pytest.raises(OptionError, match="2 data sets"):
        read_material(parse_arguments(["--data", shards, "--data", folder, *more]))
