"""The ablation of the pretraining as a command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lib.training.validation import Summary
from scripts import ablate_pretraining
from scripts._ablation import table_of


def write_cases(folder: Path) -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((1, 64, 64), bool)
    masks[0, 20:40, 10:30] = True
    for name in "abcdef":
        image = rng.integers(0, 255, (64, 64), dtype=np.uint8)
        np.savez(folder / f"{name}.npz", image=image, mask=masks, labels=np.array(["x"]))


def test_the_table_has_means_of_each_group_and_no_empty_ones() -> None:
    row = {"box": 0.5, "1": 0.25, "3": 0.5, "5": 1.0}
    other = {**row, "box": 0.75}
    lines = table_of({"one": [row, other], "none": []}).splitlines()
    assert lines[0] == "| variant | n | Dice box | Dice 1 | Dice 3 | Dice 5 |"
    assert lines[2:] == ["| one | 2 | 0.625 | 0.250 | 0.500 | 1.000 |"]


def test_what_was_measured_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cases(tmp_path)
    tried: list[str] = []

    def fake(
        variant: object, training: object, tests: dict[str, object], out: Path, report: object
    ):
        tried.append(out.name)
        return {
            name: Summary({"box": 1.0, "1": 0.5, "3": 0.5, "5": 0.5}, 1, 1, 1) for name in tests
        }

    monkeypatch.setattr(ablate_pretraining, "try_variant", fake)
    arguments = ["--data", str(tmp_path), "--steps", "3", "--out", str(tmp_path / "out")]
    assert ablate_pretraining.main([*arguments, "--only", "all of it; phantoms alone"]) == 0
    assert tried == ["all_of_it-3-0", "phantoms_alone-3-0"]
    found = json.loads((tmp_path / "out" / "found.json").read_text())
    assert set(found) == {"all of it / 3 / 0", "phantoms alone / 3 / 0"}
    assert ablate_pretraining.main([*arguments, "--only", "all of it"]) == 0
    assert len(tried) == 2
    assert capsys.readouterr().out.count("| all of it | 1 | 1.000 |") == 4


def test_an_unknown_variant_is_refused_with_those_that_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        ablate_pretraining.main(["--data", ".", "--out", str(tmp_path), "--only", "nonsense"])
    assert end.value.code == 2
    assert "phantoms alone" in capsys.readouterr().err


def test_a_folder_without_images_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablate_pretraining.main(["--data", str(tmp_path), "--out", str(tmp_path / "o")]) == 1
    assert "no labelled image" in capsys.readouterr().err
