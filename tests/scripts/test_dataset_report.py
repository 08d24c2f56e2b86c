"""The report of what a data set holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from scripts.build_dataset import main as build
from scripts.dataset_report import main
from tests.support.archives import write_archive


def test_counts(tmp_path: Path) -> None:
    description = write_archive(tmp_path / "in")
    assert build(["--in", str(description), "--out", str(tmp_path / "set"), "--quiet"]) == 0
    assert main([str(tmp_path / "set"), "--out", str(tmp_path / "r"), "--quiet"]) == 0
    found = json.loads((tmp_path / "r" / "report.json").read_text())
    assert sum(found["images"].values()) == len(list((tmp_path / "set" / "images").iterdir()))
    assert sum(found["classes"].values()) == len(list((tmp_path / "set" / "masks").iterdir()))
    assert set(found["classes"]) == {"liver", "spleen", "mole", "hair"}
    assert set(found["regions"]) == {"abdomen", "skin"}
    assert sum(found["regions"].values()) == sum(found["classes"].values())
    assert (found["cases"], found["patients"]) == (5, 3)
    assert set(found["axes"]) == {"x", "y", "z", "2d"}
    assert found["mask_share_deciles"][0] >= 0.00153 and found["unreadable"] == 0
    assert Image.open(tmp_path / "r" / "report.png").width > 500
    page = (tmp_path / "r" / "report.html").read_text()
    assert "5 cases" in page and "<td>liver</td><td>abdomen</td>" in page


def test_a_damaged_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "SAMed2D_v1.json").write_text("[")
    assert main([str(tmp_path), "--out", str(tmp_path / "r"), "--quiet"]) == 1
    assert "SAMed2D_v1.json" in capsys.readouterr().err
