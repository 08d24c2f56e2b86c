"""The annotator's side: HTTP requests as viewers send them."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import requests
from numpy.typing import NDArray

from lib.imaging.volume import read_volume
from lib.prompts.simulate import FOREGROUND, IGNORED, Click, interior_click, next_click
from lib.training.metrics import dice
from scripts._benchmark.errors import BenchmarkError
from scripts._key import key_auth

Mask = NDArray[np.bool_]

GOOD = 0.9
"""The annotator is content with this Dice."""
MOST = 5
"""And gives up after so many clicks."""
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Columns to the left, rows to the back, as axial images lie."""
PATIENCE = 1800.0
"""Seconds for a training or for scores."""


@dataclass(frozen=True)
class Next:
    """What the server says is to be labelled next."""

    image: str
    score: float | None
    reason: str


class Annotator:
    """One person at a viewer.

    Args:
        url: of the server.
        name: sent as client id.
    """

    def __init__(self, url: str, name: str = "simulated") -> None:
        self._url, self._name = url, name
        self._session = requests.Session()
        self._session.auth = key_auth()

    def next(self, strategy: str) -> Next | None:
        """Ask for the next case; None where all are labelled."""
        found = self._post(f"/activelearning/{strategy}", {"client_id": self._name})
        return Next(found["id"], found["score"], found["reason"]) if found.get("id") else None

    def segment(self, image: str, target: Mask) -> tuple[Mask, int, float]:
        """Click until the Dice is good or patience ends.

        Args:
            image: id.
            target: (H, W), not empty.

        Returns:
            The last mask (H, W), the number of clicks, and the Dice after the first one.
        """
        clicks, first = [interior_click(target)], 0.0
        rng = np.random.default_rng(0)  # never drawn from
        while True:
            mask = self.infer(image, clicks)
            reached = dice(mask, target)
            first = reached if len(clicks) == 1 else first
            click = next_click(mask, target, rng)
            if reached >= GOOD or len(clicks) >= MOST or click.label == IGNORED:
                return mask, len(clicks), first
            clicks.append(click)

    def infer(self, image: str, clicks: Sequence[Click]) -> Mask:
        """The mask (H, W) for some clicks on slice 0."""
        points: dict[str, Any] = {"foreground": [], "background": []}
        for click in clicks:
            kind = "foreground" if click.label == FOREGROUND else "background"
            points[kind].append([click.x, click.y, 0])
        answer = self._session.post(
            f"{self._url}/infer/samed2d",
            params={"image": image, "output": "image"},
            files={"params": (None, json.dumps({**points, "client_id": self._name}))},
            timeout=300,
        )
        with tempfile.NamedTemporaryFile(suffix=".nrrd") as file:
            Path(file.name).write_bytes(_checked(answer).content)
            return np.asarray(read_volume(Path(file.name)).slice(0) != 0)

    def save(self, image: str, mask: Mask, label: str) -> None:
        """Save a mask (H, W) as the final label."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "label.nii.gz")
            labels = mask.T[..., None].astype(np.uint8)
            nibabel.save(nibabel.Nifti1Image(labels, AFFINE), path)
            info = {"label_info": [{"name": label, "idx": 1}], "client_id": self._name}
            answer = self._session.put(
                f"{self._url}/datastore/label",
                params={"image": image},
                data={"params": json.dumps(info)},
                files={"label": (path.name, path.read_bytes())},
                timeout=300,
            )
        _checked(answer)

    def train(self, settings: Mapping[str, Any]) -> str:
        """Train and wait; the last line of the log where nothing was published."""
        self._post("/train/samed2d", dict(settings))
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            status = self._get("/train/")
            if status["status"] not in ("SUBMITTED", "RUNNING"):
                return str((status.get("details") or [""])[-1])
            time.sleep(0.5)
        raise BenchmarkError("the training did not end")

    def wait_for_scores(self) -> None:
        """Wait until every image has a score of the version that answers."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            info = self._get("/info/")
            scoring = next(iter(info["strategies"].values()))["scoring"]
            if scoring.get("images_left", 1) == 0 and scoring.get("images_scored", 0) > 0:
                return
            time.sleep(0.3)
        raise BenchmarkError("the images were not scored")

    def wait_for_version(self, name: str) -> None:
        """Wait until a version answers; "" for the base weights."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            version = self._get("/info/")["models"]["samed2d"]["version"]
            if (version or {}).get("name", "") == name:
                return
            time.sleep(0.3)
        raise BenchmarkError(f"version {name} does not answer")

    def _get(self, path: str) -> dict[str, Any]:
        return dict(_checked(self._session.get(self._url + path, timeout=300)).json())

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._session.post(self._url + path, json=dict(body), timeout=300)
        return dict(_checked(answer).json())


def _checked(answer: requests.Response) -> requests.Response:
    if not answer.ok:
        raise BenchmarkError(f"{answer.request.url}: {answer.status_code} {answer.text[:300]}")
    return answer
