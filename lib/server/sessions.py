"""Sessions: images that a client uploads for itself, and that nobody else gets.

Concurrency contract: the host's, one dictionary whose entries are replaced as a whole. A session's
file is written beside its place and renamed.
"""

from __future__ import annotations

import logging
import time
import uuid
from pathlib import Path

from monailabel.utils.sessions import SessionInfo, Sessions

from lib.server.caller import CALLER
from lib.server.requests import SESSION_ID
from lib.server.roles import Role
from lib.training.durable import write_whole

OWNER = "owner"
"""Key of a session's ``meta`` under which its owner stands."""

LEFT_OVER = 24 * 3600.0
"""Seconds after which a folder without a readable session is removed."""

logger = logging.getLogger(__name__)


class SafeSessions(Sessions):  # type: ignore[misc]  # the host has no types
    """The host's sessions; an id that is no UUID is a session that does not exist.

    The host joins the id of a request to its folder and, on DELETE, removes that folder. Where
    people sign in, a session of somebody else does not exist either; administrators see all.
    """

    def add_session(
        self,
        data_file: str,
        expiry: int = 0,
        uncompress: bool = False,
        session_id: str | None = None,
    ) -> tuple[str, SessionInfo]:
        """Keep a file, or a folder of files, for the caller.

        The ids of 0.8.5 are made of the time and the computer's address; ours cannot be guessed.
        """
        name, session = super().add_session(
            data_file, expiry, uncompress=False, session_id=session_id or str(uuid.uuid4())
        )
        caller = CALLER.get()
        if caller.signed_in:
            session.meta = {OWNER: caller.name}
            self._write_meta_info(name, session)
        return str(name), session

    def get_session(
        self, session_id: str, update_ts: bool = True, fetch_cache: bool = True
    ) -> SessionInfo | None:
        """The caller's session of that id, or None."""
        if not SESSION_ID.fullmatch(session_id):
            return None
        try:
            session = super().get_session(session_id, False, fetch_cache)
        except ValueError:  # its file is damaged
            logger.warning("session %s is damaged", session_id)
            return None
        if session is None or not _may_see(session):
            return None
        if update_ts:
            session.last_access_ts = int(time.time())
            self._write_meta_info(session_id, session)
        return session

    def remove_expired(self) -> int:
        """Remove sessions that nobody used for longer than they may live; returns how many.

        The host's version (0.8.5, sessions.py) fails on a folder without ``meta.info``, as an
        interrupted upload leaves it, and with it the start of the server. Such folders, which are
        nobody's, go when they are a day old.
        """
        now, count = time.time(), 0
        folder = Path(self.store_path)
        for path in folder.iterdir() if folder.is_dir() else ():
            session = self.get_session(path.name, update_ts=False, fetch_cache=False)
            if session is not None:
                gone = 0 < session.expiry < int(now) - session.last_access_ts
            else:
                gone = _is_left_over(path, now)
            if gone:
                logger.info("session %s has expired", path.name)
                self.remove_session(path.name)
                count += 1
        return count

    def _write_meta_info(self, session_id: str, session_info: SessionInfo) -> None:
        folder = Path(self.store_path, session_id)
        part = folder / f"meta.{uuid.uuid4().hex}.part"
        write_whole(folder / "meta.info", session_info.to_str().encode(), part)


def _is_left_over(path: Path, now: float) -> bool:
    """Whether a folder of ours holds a session that was never finished, or was damaged."""
    try:
        return bool(SESSION_ID.fullmatch(path.name)) and path.stat().st_mtime < now - LEFT_OVER
    except OSError:  # gone meanwhile
        return False


def _may_see(session: SessionInfo) -> bool:
    caller, owner = CALLER.get(), dict(session.meta or {}).get(OWNER)
    return not caller.signed_in or caller.role is Role.ADMIN or owner in (None, caller.name)
