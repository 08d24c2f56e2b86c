"""What the documentation says is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lib.networks.architectures import ARCHITECTURES
from lib.options import describe_options
from lib.training.settings import describe_settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "sample-data/README.md"]


def rows(heading: str) -> list[list[str]]:
    """Cells of the table rows of one section of the README, without `code` marks."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_the_readme_lists_every_option_with_its_default() -> None:
    expected = [[n, d.replace(",", ", "), h] for n, d, h in describe_options()]
    assert rows("Options")[1:] == expected


def test_the_page_on_training_lists_every_setting_with_its_default() -> None:
    page = (ROOT / "docs" / "how-to" / "train.md").read_text()
    table = page.split("<!-- settings:")[1].split("\n\n")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    assert cells == [list(row) for row in describe_settings()]


def test_the_readme_lists_every_network() -> None:
    named = {name.strip(" `") for row in rows("Models") for name in row[0].split(",")}
    assert set(ARCHITECTURES) <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_of_the_repository_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    local = [target for target in targets if "://" not in target]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_scripts_that_exist(page: Path) -> None:
    scripts = set(re.findall(r"scripts/\w+\.(?:py|sh)", page.read_text()))
    assert not [name for name in scripts if not (ROOT / name).exists()]


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(example, "docs/reference/python.md", "exec"), {})
    assert "(512, 512)" in capsys.readouterr().out
