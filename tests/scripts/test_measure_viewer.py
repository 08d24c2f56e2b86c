"""scripts/measure_viewer.py; what it does in a browser is what tests/browser does."""

from __future__ import annotations

import pytest

from scripts import measure_viewer


def test_the_table_has_both_times() -> None:
    times = [(100.0 + n, 10.0 + n) for n in range(101)]
    first, drawn, server = measure_viewer.report(times).splitlines()
    assert "101 clicks" in first
    assert drawn.split()[-2:] == ["150", "195"]
    assert server.split()[-2:] == ["60", "105"]


def test_without_the_package_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(measure_viewer.importlib, "import_module", missing)
    assert measure_viewer.main(["--study", "1.2"]) == measure_viewer.UNREACHABLE
    assert "playwright" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [[], ["--study", "1.2", "--clicks", "0"]])
def test_wrong_use(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        measure_viewer.main(wrong)
    assert ended.value.code == 2
