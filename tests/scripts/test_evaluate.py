"""The command on images small enough for a test, with the shipped weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts import evaluate
from scripts._evaluation import run as run_module
from scripts._evaluation.journal import Journal


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A large and a small bright disc in a noisy image; a third one alone in another image."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:240, :300]
    large = np.hypot(rows - 80, columns - 90) < 40
    small = np.hypot(rows - 170, columns - 220) < 9
    for name, masks in (("two", [large, small]), ("one", [small])):
        values = np.where(np.any(masks, axis=0), 170, 60) + rng.normal(0, 6, large.shape)
        image, labels = values.astype(np.uint8), [f"disc {n}" for n in range(len(masks))]
        np.savez(folder / f"{name}.npz", image=image, mask=np.stack(masks), labels=labels)
    return folder


@pytest.fixture(autouse=True)
def same_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may edit the source while the tests run."""
    monkeypatch.setattr(run_module, "source_digest", lambda: "source")


def run(data: Path, out: Path, *more: str) -> dict[str, Any]:
    command = ["--data", str(data), "--out", str(out), "--device", "cpu", "--prompts", "box,1,2"]
    assert evaluate.main([*command, *more]) == 0
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def test_settings_are_compared(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    found = run(data, out, "--zoom", "off,auto", "--precision", "fp32,bf16")
    settings = [(s["zoom"], s["precision"]) for s in found["settings"]]
    assert settings == [("off", "fp32"), ("off", "bf16"), ("auto", "fp32"), ("auto", "bf16")]
    first, second, third, _ = found["settings"]
    assert found["n_masks"] == first["n_masks"] == 3
    assert found["dice"] == first["dice"]
    cases = [(case["case"], case["label"]) for case in first["per_case"]]
    assert cases == [("one", "disc 0"), ("two", "disc 0"), ("two", "disc 1")]
    for name in ("box", "1", "2"):
        mean = np.mean([case["dice"][name] for case in first["per_case"]])
        assert first["dice"][name] == pytest.approx(mean)
        assert second["agreement"][name] > 0.95
    assert first["dice"]["box"] > 0.7
    assert "agreement" not in first
    assert not any(case["zoomed"] for case in first["per_case"])
    assert third["per_case"][0]["zoomed"]
    assert third["sizes"]["16 to 32"]["n_masks"] == 2
    for low, high, mean in ((*first["dice_interval"][n], first["dice"][n]) for n in ("box", "1")):
        assert low <= mean <= high
    baseline = found["baseline"]
    assert baseline["n_masks"] == 3
    assert baseline["dice"]["box"] > 0.9, "discs are ellipses"
    assert 0 < baseline["dice"]["1"] < 1
    table = (out / "table.md").read_text()
    assert "| all | 3 | no network |" in table
    assert table in capsys.readouterr().out
    assert "| 64 to 128 | 1 | zoom off, fp32 |" in table


def test_two_runs_give_the_same(data: Path, tmp_path: Path) -> None:
    one, two = (run(data, tmp_path / name)["settings"][0] for name in ("a", "b"))
    assert one["per_case"] == two["per_case"]


def test_every_second_target(data: Path, tmp_path: Path) -> None:
    found = run(data, tmp_path, "--every", "2", "--zoom", "off")
    cases = [(case["case"], case["label"]) for case in found["settings"][0]["per_case"]]
    assert cases == [("one", "disc 0"), ("two", "disc 1")]


def test_nothing_to_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--data", str(tmp_path / "no"), "--out", str(tmp_path)]) == 1
    assert "no labelled image" in capsys.readouterr().err


def without_times(found: Any) -> Any:
    """The same without what no two runs share."""
    if isinstance(found, dict):
        times = ("seconds", "encode_seconds", "options")
        return {key: without_times(value) for key, value in found.items() if key not in times}
    return [without_times(item) for item in found] if isinstance(found, list) else found


FEW = ("--zoom", "off", "--max-clicks", "3")


def test_a_killed_run_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = run(data, tmp_path / "whole", *FEW)
    out, add = tmp_path / "killed", Journal.add_rows
    measured: list[str] = []

    def noted(self: Journal, rows: Any) -> None:
        add(self, rows)
        measured.append(rows[0].target.key)
        if len(measured) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "add_rows", noted)
    command = ["--data", str(data), "--out", str(out), "--device", "cpu", "--prompts", "box,1,2"]
    assert evaluate.main([*command, *FEW]) == 130
    assert "goes on" in capsys.readouterr().err
    assert not (out / "metrics.json").exists()
    with (out / "progress.jsonl").open("a") as file:
        file.write('{"rows": [{"target": {"file": "two.n')
    found = run(data, out, *FEW)
    assert measured == ["one.npz/one/0", "two.npz/two/0", "two.npz/two/1"]
    assert "going on: 2 targets were measured before" in capsys.readouterr().err
    assert without_times(found) == without_times(undisturbed)
    assert run(data, out, *FEW)["per_case"] == found["per_case"]
    assert len(measured) == 3, "nothing is measured twice"


def test_another_setting_starts_anew(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data, tmp_path, *FEW)
    found = run(data, tmp_path, "--zoom", "off", "--max-clicks", "0")
    assert "starting anew: not the same as before: max-clicks" in capsys.readouterr().err
    assert found["noc85"] is None
    np.savez(data / "one.npz", image=np.zeros((40, 50)), mask=np.ones((1, 40, 50), bool))
    run(data, tmp_path, "--zoom", "off", "--max-clicks", "0")
    assert "not the same as before: data" in capsys.readouterr().err


def test_another_program_starts_anew(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data, tmp_path, *FEW)
    monkeypatch.setattr(run_module, "source_digest", lambda: "other source")
    run(data, tmp_path, *FEW)
    assert "not the same as before: program" in capsys.readouterr().err


def test_what_metrics_hold(data: Path, tmp_path: Path) -> None:
    (data / "manifest.csv").write_text("case,modality,patient\none,X-ray,p1\ntwo,CT,p1\n")
    found = run(data, tmp_path, *FEW)
    for measure in ("dice", "iou", "nsd"):
        assert list(found[measure]) == ["box", "1", "2"]
        for name, mean in found[measure].items():
            values = [case[measure][name] for case in found["per_case"]]
            assert mean == pytest.approx(np.mean(values))
            low, high = found[f"{measure}_interval"][name]
            assert low <= mean <= high
    assert 1 <= found["noc85"] <= found["noc90"] <= 3
    assert [case["patient"] for case in found["per_case"]] == ["p1"] * 3
    assert found["n_patients"] == 1
    parts = found["per_modality"]
    assert {name: part["n_masks"] for name, part in parts.items()} == {"CT": 2, "X-ray": 1}
    assert sum(part["n_masks"] for part in found["per_size"].values()) == 3
    assert found["dice_by_click"][:2] == pytest.approx([found["dice"]["1"], found["dice"]["2"]])
    shares = found["reached"]["85"]
    assert shares == sorted(shares) and len(shares) == 3
    assert (found["protocol"], len(found["weights_sha256"])) == ("noc", 64)


def test_what_cannot_be_used_is_left_out_and_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "broken.npz").write_bytes(b"PK no archive")
    np.savez(data / "shape.npz", image=np.zeros((4, 5)), mask=np.ones((1, 5, 4), bool))
    np.savez(data / "channels.npz", image=np.zeros((4, 5, 2)), mask=np.ones((1, 4, 5), bool))
    found = run(data, tmp_path, *FEW)
    names = [item["name"] for item in found["left_out"]]
    assert names == ["broken.npz", "channels", "shape.npz"]
    assert found["n_masks"] == 3
    assert "left out: broken.npz" in capsys.readouterr().err
    assert "(1, 5, 4)" in (tmp_path / "report.html").read_text()


def test_nothing_but_broken_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK no archive")
    assert evaluate.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "no target could be used" in capsys.readouterr().err


def test_the_report_needs_nothing_else(data: Path, tmp_path: Path) -> None:
    hostile = np.array(["<script>x</script>", "$b_1$"])
    with np.load(data / "two.npz") as arrays:
        np.savez(data / "two.npz", image=arrays["image"], mask=arrays["mask"], labels=hostile)
    run(data, tmp_path, *FEW)
    page = (tmp_path / "report.html").read_text()
    text = re.sub(r'src="data:image/png;base64,[^"]*"', "", page)
    assert "://" not in text and "src=" not in text and "href" not in text
    assert "<script" not in text and "url(" not in text
    assert "default-src 'none'" in text
    assert page.count("data:image/png;base64,") == 5, "two curves, and best, middle, worst"
    for expected in ("By modality", "By size", "no network", "n = 3", "unknown"):
        assert expected in text


def test_the_same_report_twice(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path, *FEW)
    first = (tmp_path / "report.html").read_bytes()
    run(data, tmp_path, *FEW)
    assert (tmp_path / "report.html").read_bytes() == first


@pytest.mark.parametrize("more", [(), ("--points-at-once",)])
def test_the_papers_protocol(data: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    one, two = (
        run(data, tmp_path / name, "--protocol", "paper", "--prompts", "box,1,3", *more)
        for name in ("a", "b")
    )
    assert one["per_case"] == two["per_case"], "random points, but always the same"
    assert (one["protocol"], one["settings"][0]["zoom"]) == ("paper", "off")
    assert list(one["dice"]) == ["box", "1", "3"]
    assert one["dice"]["box"] > 0.5
    assert one["noc85"] is None and one["dice_by_click"] == []
    assert one["baseline"]["dice"]["box"] > 0.85, "discs are ellipses"
    for case in one["per_case"]:
        assert all(dice == round(dice, 4) for dice in case["dice"].values())
    page = (tmp_path / "a" / "report.html").read_text()
    assert "the authors&#x27; figures" in page and "0.7930" in page


def test_the_papers_protocol_knows_no_zoom(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in (("--protocol", "paper", "--zoom", "auto"), ("--points-at-once",)):
        with pytest.raises(SystemExit) as ended:
            evaluate.main(["--data", str(tmp_path), "--out", str(tmp_path), *wrong])
        assert ended.value.code == 2
    assert "knows no zoom" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ("--prompts", "box,zero"),
        ("--zoom", "maybe"),
        ("--precision", "fp32,fp64"),
        ("--every", "0"),
        ("--max-clicks", "101"),
        ("--protocol", "guess"),
    ],
)
def test_wrong_arguments(
    wrong: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        evaluate.main(["--data", str(tmp_path), "--out", str(tmp_path), *wrong])
    assert ended.value.code == 2
    assert repr(wrong[1]) in capsys.readouterr().err
