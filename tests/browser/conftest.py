"""The OHIF build under /samed2d/ that the tests of the mode Annotate open."""

import pytest

from scripts import get_viewer


@pytest.fixture(scope="session")
def viewer_build() -> None:
    """Install it where it is missing, as a user would."""
    assert get_viewer.main([]) == 0
