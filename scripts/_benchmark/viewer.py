"""Requests as OHIF and 3D Slicer send them, with what they cost."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
from requests_toolbelt import MultipartDecoder

from scripts._benchmark.errors import BenchmarkError
from scripts._benchmark.study import Points
from scripts._key import key_auth

OHIF_EXTRAS = {
    "result_extension": ".nrrd",
    "result_dtype": "uint8",
    "result_compress": False,
    "restore_label_idx": False,
}
"""What OHIF sends along with the points."""
TIMEOUT = 1800.0
SETTLE_PAUSE = 1.0


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        seconds: from sending until the last byte was there.
        nbytes: size of the body.
        facts: the answer's ``params``; empty where the label map alone was asked for.
        label: the label map's file; empty where it was not kept.
    """

    seconds: float
    nbytes: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    label: bytes = b""


@dataclass(frozen=True)
class Progress:
    """Of encoding ahead: slices done, of how many."""

    done: int
    total: int

    @property
    def complete(self) -> bool:
        """Nothing is left to do."""
        return self.done >= self.total


class Viewer:
    """One person at one viewer; keeps its connection as a browser does.

    Args:
        url: of the server.
        model: name.
        image: id in the datastore.
    """

    def __init__(self, url: str, model: str, image: str) -> None:
        self._url, self._model, self._image = url.rstrip("/"), model, image
        self._session = requests.Session()
        self._session.auth = key_auth()

    def info(self) -> Mapping[str, Any]:
        """What ``/info/`` says of the model; empty where the server does not have it.

        Raises:
            BenchmarkError: no answer.
        """
        try:
            answer = self._session.get(f"{self._url}/info/", timeout=TIMEOUT).json()
        except (requests.RequestException, ValueError) as error:
            raise BenchmarkError(f"no answer from {self._url}: {error}") from error
        return dict(answer.get("models", {}).get(self._model, {}))

    def click(self, points: Points, *, label_only: bool = False) -> Answer:
        """Send points and wait for the whole answer.

        Args:
            points: of one object.
            label_only: ask for the label map alone, as OHIF does; else for the facts too, as
                3D Slicer does.

        Raises:
            BenchmarkError: no answer, or a refusal.
        """
        body = json.dumps(
            {"foreground": points.foreground, "background": points.background, **OHIF_EXTRAS}
        )
        query = {"image": self._image} | ({"output": "image"} if label_only else {})
        started = time.perf_counter()
        try:
            response = self._session.post(
                f"{self._url}/infer/{self._model}",
                params=query,
                files={"params": (None, body)},
                timeout=TIMEOUT,
            )
        except requests.RequestException as error:
            raise BenchmarkError(f"no answer from {self._url}: {error}") from error
        seconds = time.perf_counter() - started
        if not response.ok:
            reason = response.text[:500]
            raise BenchmarkError(f"the server answered {response.status_code}: {reason}")
        if label_only:
            return Answer(seconds, len(response.content), label=response.content)
        return _with_facts(response, seconds)

    def settle(self, seconds: float) -> None:
        """Wait while the server says that a faster encoder is on its way, at most so long."""
        deadline = time.perf_counter() + seconds
        while self._preparing() and time.perf_counter() < deadline:
            time.sleep(SETTLE_PAUSE)

    def _preparing(self) -> bool:
        facts = self.info()
        return any("preparing" in str(facts.get(key, "")) for key in ("encoder", "backend"))

    def progress(self, answer: Answer | None = None) -> Progress | None:
        """How far the server has encoded ahead, from an answer or from ``/info/``.

        None where it does not say.
        """
        facts = answer.facts if answer is not None else {}
        said: Any = facts.get("encode_ahead") or self.info().get("encode_ahead")
        try:
            return Progress(int(said["done"]), int(said["total"]))
        except (KeyError, TypeError, ValueError):
            return None


def _with_facts(response: requests.Response, seconds: float) -> Answer:
    kind = response.headers.get("Content-Type", "nothing")
    if not kind.startswith("multipart/"):
        raise BenchmarkError(f"no label map in the answer, but {kind}")
    facts: dict[str, Any] = {}
    label = b""
    for part in MultipartDecoder.from_response(response).parts:
        if 'name="params"' in part.headers[b"Content-Disposition"].decode():
            facts = dict(json.loads(part.content))
        else:
            label = part.content
    return Answer(seconds, len(response.content), facts, label)
