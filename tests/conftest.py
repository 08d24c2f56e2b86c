"""Fixtures for all tests that need weights, a study or a running server."""

import os
import sys

# The host forgets every module named lib when it loads an app; without this a test that has
# imported lib before would hold other classes than the app.
os.environ["MONAI_LABEL_RELOAD_APP_LIB"] = "false"

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.order import dear_first
from tests.support.server import RunningServer, start_server
from tests.support.studies import write_random_weights, write_small_study

# How long an example takes says something about the machine, nothing about the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from or left in the folders of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weight file of an untrained samed2d_t: right in form, its masks mean nothing."""
    return write_random_weights(tmp_path_factory.mktemp("weights") / "random.safetensors")


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of small images with awkward geometry; read only, tests that write use a copy."""
    return write_small_study(tmp_path_factory.mktemp("study with a space"))


@pytest.fixture(scope="session")
def server(
    random_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """One real server on a small study, shared by all tests that leave nothing behind."""
    study = write_small_study(tmp_path_factory.mktemp("served study"))
    conf = {
        "architecture": "samed2d_t",
        "checkpoint": str(random_weights),
        "labels": "liver,left kidney,spleen",
    }
    with start_server(study, conf=conf) as running:
        yield running


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A worker among several begins with what takes longest; all of them must sort alike."""
    if hasattr(config, "workerinput"):
        items[:] = dear_first(items)


_status = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Note how it ended, for `pytest_unconfigure`."""
    session.config.stash[_status] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End the process at once, when everything has been said.

    Half a dozen native libraries with threads of their own are loaded into this one process (torch,
    OpenVINO, ITK, ...), and Python's way of taking itself apart under them ends in a crash now and
    then, after all tests. The server, which loads fewer, ends by a signal and is tested for itself.
    """
    status = config.stash.get(_status, None)
    if status is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
