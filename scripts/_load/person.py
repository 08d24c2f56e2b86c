"""A user of a server: clicks, saves, looks, asks for the next case."""

from __future__ import annotations

import gzip
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import nibabel
import numpy as np
import requests
from requests_toolbelt import MultipartDecoder

from scripts._key import KeyAuth
from scripts._load.cases import Case, Labels, drawing
from scripts._load.ledger import Ledger

NAMES = [{"name": "liver", "idx": 1}, {"name": "spleen", "idx": 2}]
BUSY, CONFLICT = 503, 409
TIMEOUT = 120


@dataclass
class Tally:
    """What users have done.

    Attributes:
        seconds: of all answers, by kind of request.
        conflicts: saves that were refused because of another one.
        busy: answers with 503 and ``Retry-After``.
        lost: requests without an answer.
        masks: digest of the answer to each click, by image, click and version of the network.
        problems: sentences on what went wrong.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    conflicts: int = 0
    busy: int = 0
    lost: int = 0
    masks: dict[tuple[str, Any, str], str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Answers."""
        return sum(len(times) for times in list(self.seconds.values()))

    def note(self, kind: str, seconds: float) -> None:
        """Count an answer."""
        self.seconds.setdefault(kind, []).append(seconds)


class Person:
    """One user; to be used by one thread.

    Args:
        url: of the server.
        name: of the user.
        key: shown to the server; "" for none.
        cases: images to work on.
        ledger: of all users.
        tally: of all users.
        seed: of what they do.
    """

    def __init__(
        self,
        url: str,
        name: str,
        key: str,
        cases: tuple[Case, ...],
        ledger: Ledger,
        tally: Tally,
        seed: int,
    ) -> None:
        self.name, self._url, self._cases = name, url, cases
        self._ledger, self._tally = ledger, tally
        self._rng = np.random.default_rng(seed)
        self._session = requests.Session()
        self._session.auth = KeyAuth(key) if key else None
        self._kinds: tuple[tuple[float, Callable[[Case], None]], ...] = (
            (0.72, self.click),
            (0.84, self.save),
            (0.90, self.look),
            (0.95, self.next),
            (1.00, self.info),
        )

    def act(self) -> None:
        """Do one thing, chosen at random; what goes wrong is in the tally."""
        share = self._rng.random()
        case = self._cases[int(self._rng.integers(len(self._cases)))]
        act = next(act for most, act in self._kinds if share <= most)
        try:
            act(case)
        except requests.RequestException:
            self._tally.lost += 1

    def click(self, case: Case) -> None:
        """Segment; the same click has the same answer, whoever else is there."""
        voxel = case.clicks[int(self._rng.integers(len(case.clicks)))]
        params = {"foreground": [list(voxel)], "background": [], "client_id": self.name}
        form = {"params": (None, json.dumps(params))}
        path = f"/infer/samed2d?image={case.image}"
        answer = self._ask("click", "POST", path, files=form)
        if answer is None:
            return
        facts, mask = _parts(answer)
        values = np.frombuffer(mask, np.uint8)
        if values.size != np.prod(case.shape):
            self._tally.problems.append(f"a mask of {values.size} voxels for {case}")
            return
        elsewhere = values.reshape(case.shape, order="F").astype(bool)
        elsewhere[:, :, voxel[2]] = False
        key, digest = (case.image, voxel, facts["model_version"]), hashlib.sha256(mask).hexdigest()
        if elsewhere.any() or self._tally.masks.setdefault(key, digest) != digest:
            self._tally.problems.append(f"another answer to the same click: {key}")

    def save(self, case: Case) -> None:
        """Save a new label on top of the one that stands."""
        base = self._revision(case)
        if base is None:
            return
        labels = drawing(self._rng, case.shape)
        params = {"label_info": NAMES, "reviewed": [0], "based_on": base}
        form = {
            "params": (None, json.dumps(params)),
            "label": ("label.bin", labels.tobytes(order="F")),
        }
        path = f"/datastore/label?image={case.image}&tag=final"
        try:
            answer = self._ask("save", "PUT", path, files=form)
        except requests.RequestException:
            self._ledger.doubt(case.image, labels)
            raise
        if answer is not None:
            self._ledger.acknowledge(case.image, base, answer.json()["revision"], labels)

    def look(self, case: Case) -> None:
        """Fetch the label that stands, and compare."""
        found = self.standing(case)
        if found is not None and found[0]:
            self._ledger.compare(case.image, *found)

    def standing(self, case: Case) -> tuple[str, Labels | None] | None:
        """What stands, with its revision; None where it was replaced while it was fetched."""
        before = self._revision(case)
        if not before:
            return None if before is None else ("", None)
        path = f"/datastore/label?label={case.image}&tag=final"
        answer = self._ask("look", "GET", path)
        if answer is None or self._revision(case) != before:
            return None
        image = nibabel.Nifti1Image.from_bytes(gzip.decompress(answer.content))
        return before, np.asarray(image.dataobj).astype(np.uint8)

    def next(self, case: Case) -> None:
        """Ask for the case to label next."""
        body = {"client_id": self.name}
        self._ask("next sample", "POST", "/activelearning/random", json=body)

    def info(self, case: Case) -> None:
        """Ask what the server has."""
        self._ask("info", "GET", "/info/")

    def _revision(self, case: Case) -> str | None:
        path = f"/datastore/label/info?label={case.image}&tag=final"
        answer = self._ask("label info", "GET", path)
        return None if answer is None else str(answer.json().get("revision", ""))

    def _ask(self, kind: str, method: str, path: str, **options: Any) -> requests.Response | None:
        """An answer that says yes; None for a conflict, or where the server is too busy."""
        began = time.perf_counter()
        answer = self._session.request(method, self._url + path, timeout=TIMEOUT, **options)
        self._tally.note(kind, time.perf_counter() - began)
        if answer.status_code == requests.codes.ok:
            return answer
        if answer.status_code == CONFLICT and kind == "save":
            self._tally.conflicts += 1
        elif answer.status_code == BUSY:
            self._tally.busy += 1
            time.sleep(float(answer.headers.get("Retry-After", 0.2)))
        else:
            self._tally.problems.append(f"{kind}: {answer.status_code} {answer.text[:300]}")
        return None


def _parts(answer: requests.Response) -> tuple[dict[str, Any], bytes]:
    """The facts of an answer, and the values of its NRRD file."""
    content = {}
    for part in MultipartDecoder.from_response(answer).parts:
        disposition = part.headers[b"Content-Disposition"].decode()
        content["image" if 'name="image"' in disposition else "params"] = part.content
    header, _, values = content["image"].partition(b"\n\n")
    if b"encoding: gz" in header:
        values = gzip.decompress(values)
    return dict(json.loads(content["params"])), values
