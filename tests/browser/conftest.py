"""What tests in a browser open: a PACS with the sample CT, and the OHIF build under /samed2d/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import get_viewer
from tests.browser.annotate import AnnotateViewer, Series
from tests.support.browser import open_page
from tests.support.organs import CT_SERIES
from tests.support.orthanc import RunningOrthanc, start_orthanc
from tests.support.server import RunningServer


@pytest.fixture(scope="session")
def viewer_build() -> None:
    """Install it where it is missing, as a user would."""
    assert get_viewer.main([]) == 0


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrthanc]:
    """A PACS that holds the sample CT."""
    with start_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        running.stow(CT_SERIES)
        yield running


@pytest.fixture
def viewer(pacs: RunningOrthanc, server: RunningServer, tmp_path: Path) -> Iterator[AnnotateViewer]:
    """The sample CT in the mode Annotate, on the server of the test's module."""
    with open_page(tmp_path / "browser") as page:
        opened = AnnotateViewer(page, server.url, Series.of(CT_SERIES))
        opened.open_study(pacs.study_uids()[0])
        yield opened
        assert not opened.errors
