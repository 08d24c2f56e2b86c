"""The command that looks for flaws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.build_dataset import main as build
from scripts.check_dataset import main
from tests.support.archives import write_archive


def test_what_is_built_here_is_good_until_it_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    description = write_archive(tmp_path / "in")
    folder, out = tmp_path / "set", tmp_path / "f.json"
    assert build(["--in", str(description), "--out", str(folder), "--quiet"]) == 0
    assert main([str(folder), "--out", str(out), "--quiet"]) == 0
    kinds = {finding["kind"] for finding in json.loads(out.read_text())["findings"]}
    assert kinds <= {"overlap"}
    victim = sorted((folder / "masks").iterdir())[0]
    victim.write_bytes(b"")
    assert main([str(folder), "--out", str(out), "--quiet"]) == 1
    content = json.loads(out.read_text())
    assert content["counts"]["broken"] == 1
    assert {"kind": "broken", "file": f"masks/{victim.name}", "detail": ""} in content["findings"]
    assert "1 broken" in capsys.readouterr().out


def test_no_such_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "no"), "--quiet"]) == 3
    assert "images/ and masks/" in capsys.readouterr().err


def test_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["--kinds"])
    assert done.value.code == 0 and "look_alike" in capsys.readouterr().out
