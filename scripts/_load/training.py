"""A training in the background of a server, again and again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

from scripts._key import KeyAuth
from scripts._load.background import Background

SETTINGS: Mapping[str, Any] = {
    "train": "decoder",
    "publish": "force",
    "max_epochs": 1,
    "epoch_steps": 2,
    "train_batch_size": 2,
}
PAUSE = 2.0
TIMEOUT = 120


class Trainings(Background):
    """Begins a training when the last one has ended; a context.

    Args:
        url: of the server.
        key: of a trainer.

    Attributes:
        done: trainings that ended by themselves.
        problems: sentences on those that failed.
    """

    def __init__(self, url: str, key: str) -> None:
        super().__init__()
        self._url, self._auth = url, KeyAuth(key)
        self.done = 0
        self.problems: list[str] = []

    def seen(self) -> bool:
        """Whether a training has ended, or one has failed."""
        return bool(self.done or self.problems)

    def run(self) -> None:
        """Train."""
        try:
            while not self.end.is_set():
                self._train()
        except (requests.RequestException, ValueError, KeyError) as error:
            self.problems.append(f"training: {error!r}")

    def _train(self) -> None:
        begun = self._ask("POST", "/train/samed2d", json=dict(SETTINGS))
        if begun.status_code != requests.codes.ok:
            self.problems.append(f"training: {begun.status_code} {begun.text[:300]}")
            self.end.set()
            return
        while not self.end.wait(PAUSE):
            if self._ask("GET", "/train/?check_if_running=true").status_code == 404:
                state = self._ask("GET", "/train/").json()
                self.done += state["status"] == "DONE"
                if state["status"] not in ("DONE", "STOPPED"):
                    self.problems.append(f"training: {state['status']} {state['details'][-3:]}")
                return
        self._ask("DELETE", "/train/")

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(
            method, self._url + path, auth=self._auth, timeout=TIMEOUT, **options
        )
