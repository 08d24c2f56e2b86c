import json
import os
import time
from pathlib import Path

import pytest

from lib.server.caller import CALLER, Caller
from lib.server.roles import Role
from lib.server.sessions import SafeSessions


@pytest.fixture
def sessions(tmp_path):
    return SafeSessions(str(tmp_path / "store"))


@pytest.fixture
def session_id(sessions, tmp_path):
    image = tmp_path / "ct.nii.gz"
    image.write_bytes(b"image")
    return sessions.add_session(str(image))[0]


def test_an_own_session_is_found(sessions, session_id):
    assert Path(sessions.get_session(session_id).image).read_bytes() == b"image"


def test_a_folder_that_is_no_session_is_not(sessions, session_id, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    image = tmp_path / "secret.nii.gz"
    image.touch()
    (other / "meta.info").write_text(json.dumps({"image": str(image)}))
    assert sessions.get_session("../other") is None


def test_expired_sessions_go_others_stay(sessions, session_id, tmp_path):
    second = tmp_path / "mr.nii.gz"
    second.touch()
    old, info = sessions.add_session(str(second))
    info.last_access_ts = int(time.time()) - info.expiry - 10
    sessions._write_meta_info(old, info)
    assert sessions.remove_expired() == 1
    assert sessions.get_session(old) is None
    assert sessions.get_session(session_id) is not None


def test_an_interrupted_upload_does_not_stop_the_clean_up(sessions, session_id):
    # The host's version raises AttributeError here, and the server does not start.
    (Path(sessions.store_path) / "8d3c0b66-aaaa-11ef-8000-0242ac120002").mkdir()
    (Path(sessions.store_path) / "something else").mkdir()
    assert sessions.remove_expired() == 0


def test_an_interrupted_upload_goes_after_a_day_and_nothing_that_is_not_ours(sessions, session_id):
    folder = Path(sessions.store_path)
    interrupted, foreign = (
        folder / "8d3c0b66-aaaa-11ef-8000-0242ac120002",
        folder / "something else",
    )
    yesterday = time.time() - 25 * 3600
    for path in (interrupted, foreign):
        path.mkdir()
        (path / "image.nii.gz").touch()
        os.utime(path, (yesterday, yesterday))
    assert sessions.remove_expired() == 1
    assert not interrupted.exists()
    assert foreign.exists()
    assert sessions.get_session(session_id) is not None


def test_a_damaged_session_does_not_exist(sessions, session_id):
    sessions.clear()
    Path(sessions.store_path, session_id, "meta.info").write_text('{"image": ')
    assert sessions.get_session(session_id) is None
    assert sessions.remove_expired() == 0


def test_a_session_is_its_owners(sessions, tmp_path):
    image = tmp_path / "ct.nii.gz"
    image.touch()

    def seen_by(caller):
        token = CALLER.set(caller)
        try:
            return sessions.get_session(session) is not None
        finally:
            CALLER.reset(token)

    anna = Caller("anna", Role.ANNOTATOR)
    token = CALLER.set(anna)
    session, _ = sessions.add_session(str(image))
    CALLER.reset(token)
    assert seen_by(anna)
    assert seen_by(Caller("the admin", Role.ADMIN))
    assert not seen_by(Caller("ben", Role.TRAINER))
    sessions.clear()  # what is in memory; the owner is on disk as well
    assert not seen_by(Caller("ben", Role.ANNOTATOR))
    assert seen_by(anna)


def test_ids_cannot_be_guessed(session_id):
    assert session_id[14] == "4"  # a random UUID
