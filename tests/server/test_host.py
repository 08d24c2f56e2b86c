import json
import os
import sys
import sysconfig
from pathlib import Path

import monailabel.endpoints.infer
import monailabel.interfaces.app
import pytest
from monailabel.config import Settings

from lib.errors import OptionError
from lib.server import host, running
from lib.server.datastore import PacsDatastore
from lib.server.sessions import SafeSessions
from lib.server.threaded_infer import answer_in_thread


@pytest.fixture(autouse=True)
def clean_host(monkeypatch):
    """A host as it is before anything was changed, and afterwards again."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name in host.SETTINGS:
        os.environ.pop(name, None)
    monkeypatch.setattr(host, "settings", Settings(_env_file=None))
    for module, name in (
        (monailabel.interfaces.app, "DICOMWebDatastore"),
        (monailabel.interfaces.app, "Sessions"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))


def test_our_settings_replace_the_defaults_here_and_in_children():
    host.apply_settings()
    assert host.settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER == {}
    assert host.settings.MONAI_LABEL_TRACKING_ENABLED is False
    child = Settings(_env_file=None)
    for name, value in host.SETTINGS.items():
        assert getattr(child, name) == value
    assert os.environ["MONAI_LABEL_RELOAD_APP_LIB"] == "false"


def test_a_choice_of_the_person_who_starts_the_server_stays(monkeypatch):
    os.environ["MONAI_LABEL_DICOMWEB_SEARCH_FILTER"] = json.dumps({"Modality": "MR"})
    os.environ["MONAI_LABEL_TRACKING_ENABLED"] = "true"
    monkeypatch.setattr(host, "settings", Settings(_env_file=None))
    # What the host does at its start: it writes all of its settings into the environment.
    os.environ["MONAI_LABEL_AUTO_UPDATE_SCORING"] = "True"
    host.apply_settings()
    assert host.settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER == {"Modality": "MR"}
    assert host.settings.MONAI_LABEL_TRACKING_ENABLED is True
    assert host.settings.MONAI_LABEL_AUTO_UPDATE_SCORING is False


def test_itkimage2segimage_is_found_without_an_activated_environment():
    os.environ["PATH"] = "/usr/bin"
    host.find_dcmqi()
    assert os.environ["PATH"].split(os.pathsep) == ["/usr/bin", sysconfig.get_path("scripts")]
    assert (Path(sysconfig.get_path("scripts")) / "itkimage2segimage").exists()


def test_prepare_host_may_be_called_again():
    for _ in range(2):
        host.prepare_host()
    routes = monailabel.endpoints.infer.router.routes
    assert [route.endpoint for route in routes] == [answer_in_thread]
    assert monailabel.interfaces.app.DICOMWebDatastore is PacsDatastore
    assert monailabel.interfaces.app.Sessions is SafeSessions


def test_options_of_the_host_are_none_of_ours():
    conf = {"server_mode": "true", "labels": "liver"}
    assert host.without_host_options(conf) == {"labels": "liver"}


def test_the_last_word_of_a_failed_start_is_the_sentence():
    error = OptionError(got="unknown option 'x'", allowed="labels", todo="remove it")
    with pytest.raises(SystemExit, match=r"unknown option 'x'.*Allowed: labels") as info:
        host.end_start(error)
    assert info.value.code not in (0, None)
    assert not hasattr(sys, "tracebacklimit")


def test_a_task_of_its_own_process_ends_with_a_sentence(monkeypatch):
    error = OptionError(got="x", allowed="y")
    monkeypatch.setattr(running, "running_server", lambda: None)
    with pytest.raises(SystemExit, match="Got: x"), running.sentence_last():
        raise error
    monkeypatch.setattr(running, "running_server", lambda: object())
    with pytest.raises(OptionError), running.sentence_last():
        raise error
