"""Sessions (images a client uploads for itself) whose ids can be trusted as folder names."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from monailabel.utils.sessions import SessionInfo, Sessions

from lib.server.requests import SESSION_ID

logger = logging.getLogger(__name__)


class SafeSessions(Sessions):  # type: ignore[misc]  # the host has no types
    """The host's sessions; an id that is no UUID is a session that does not exist.

    The host joins the id of a request to its folder and, on DELETE, removes that folder.
    """

    def get_session(
        self, session_id: str, update_ts: bool = True, fetch_cache: bool = True
    ) -> SessionInfo | None:
        """The session of that id, or None."""
        if not SESSION_ID.fullmatch(session_id):
            return None
        return super().get_session(session_id, update_ts, fetch_cache)

    def remove_expired(self) -> int:
        """Remove sessions that nobody used for longer than they may live; returns how many.

        The host's version (0.8.5, sessions.py) fails on a folder without ``meta.info``, as an
        interrupted upload leaves it, and with it the start of the server.
        """
        now, count = int(time.time()), 0
        folder = Path(self.store_path)
        for path in folder.iterdir() if folder.is_dir() else ():
            session = self.get_session(path.name, update_ts=False, fetch_cache=False)
            if session is not None and 0 < session.expiry < now - session.last_access_ts:
                logger.info("session %s has expired", path.name)
                self.remove_session(path.name)
                count += 1
        return count
