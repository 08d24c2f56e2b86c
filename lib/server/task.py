"""What the InferTasks of all models share: how they are listed, and facts of every answer.

Concurrency contract: a task keeps no state of any user; what it holds takes care of itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from numpy.typing import NDArray

from lib.imaging.volume import Volume
from lib.options import AppOptions
from lib.server.card_endpoint import card_address
from lib.server.drafts import Drafts
from lib.server.label_file import write_planes
from lib.server.models import ModelSpec
from lib.server.requests import OF_VIEWER, ClickRequest
from lib.server.served_model import ServedNetwork
from lib.server.volumes import VolumeStore

OBJECT_VALUE = 1
"""The one value of an answer; both clients give it the label the annotator selected."""
UNNAMED = "object"
"""Name of that value where the client sent no label (OHIF never does)."""


class Stopwatch:
    """Seconds since the last look, collected under names."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._started = self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the time since the last lap."""
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now

    def latencies(self) -> dict[str, float]:
        """All laps and their total, in seconds, rounded for people."""
        return rounded({**self.laps, "total": time.perf_counter() - self._started})


class ModelTask(InferTask):  # type: ignore[misc]  # the host has no types
    """One model of the server's API.

    Derived from the host's plain InferTask: its BasicInferTask reads the image for every click,
    lets the request overwrite the task's settings, and answers every error with a bare 500.

    Args:
        spec: name and description.
        options: label names.
        model: the network, loaded by the first call; may be that of other tasks too.
        volumes: images that were read.
        drafts: where answers are noted down until somebody saves them; None for nowhere.
        config: what else clients may choose, see `lib.server.requests.ClickRequest`; of a list the
            first is the default.
    """

    def __init__(
        self,
        spec: ModelSpec,
        options: AppOptions,
        model: ServedNetwork[Any],
        volumes: VolumeStore,
        drafts: Drafts | None,
        config: Mapping[str, Any],
    ) -> None:
        self.name = spec.name
        self.drafts = drafts or Drafts()
        self.volumes = volumes
        self._served = model
        super().__init__(
            type=InferType.DEEPGROW,
            # A dict: Slicer asks label_names for .keys().
            labels={name: index for index, name in enumerate(options.labels, start=1)},
            dimension=spec.dimension,
            description=f"{spec.description} ({model.summary})",
            # Slicer sends this whole dict along (of a list its first item), OHIF shows it as a
            # form. So every key must be one that `ClickRequest` knows, with the default in front.
            config={
                "device": [model.device.type],
                "as_label": [OF_VIEWER, *options.labels],
                **config,
            },
        )

    def info(self) -> dict[str, Any]:
        """What ``/info`` says of this model; clients ignore the keys they do not know."""
        weights = self._served.choice.weights
        live = self._served.loaded
        ahead = () if live is None else live.ahead_progress()
        facts = {
            "architecture": self._served.choice.architecture,
            "weights": None if weights is None else weights.name,
            "model_card": card_address(self.name, weights),
            "model_version": self._served.version if live is None else live.model_version,
            # What was published and answers; null for the weight file itself.
            "version": None if live is None else live.version_facts(),
            "version_problem": self._served.problem,
            "device": self._served.device.type,
            "encoder": self._served.encoder_status,
            "encode_ahead": [vars(progress) for progress in ahead],
        }
        return {**super().info(), **facts}

    def is_valid(self) -> bool:
        """Always: the weights are looked at when they are needed."""
        return True

    def _note(
        self,
        request: Mapping[str, Any],
        click: ClickRequest,
        masks: Mapping[int, NDArray[np.bool_]],
        model_version: str,
        whole: bool = False,
    ) -> None:
        """Remember an answer for the model ``submit``."""
        clicks = len(click.foreground) + len(click.background) + (click.roi is not None)
        self.drafts.draw(
            str(request["image"]),
            name_of(click),
            masks,
            clicks=clicks,
            model_version=model_version,
            whole=whole,
        )

    def _network_facts(self, model_version: str, backend: str) -> dict[str, Any]:
        """What answered; ``backend`` is what encoded the image."""
        return {
            "model": self.name,
            "model_version": model_version,
            "backend": backend,
            "device": self._served.device_name,
        }

    def _label_facts(self, click: ClickRequest, volume: Volume) -> dict[str, Any]:
        """What the clients read of an answer, and what was repaired in its image."""
        label = name_of(click)
        return {
            "label_names": {label: OBJECT_VALUE},
            "label": label,
            "result_extension": click.result_extension,
            "warnings": list(volume.warnings),
        }


def name_of(click: ClickRequest) -> str:
    """The label of an answer: the viewer's, or the one chosen in the model's options."""
    return click.label or click.as_label or UNNAMED


def rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds as people want to read them."""
    return {name: round(value, 4) for name, value in seconds.items()}


def write_masks(masks: Mapping[int, NDArray[np.bool_]], volume: Volume, extension: str) -> Path:
    """Write masks as a label map of the whole volume into a new temporary file.

    The file holds the value 1 where a mask is set and 0 elsewhere, on the image's own grid.

    Args:
        masks: slice -> mask (H, W).
        volume: the image.
        extension: of the file, see `lib.server.requests.RESULT_EXTENSIONS`.
    """
    value = np.uint8(OBJECT_VALUE)
    planes = {k: mask.astype(np.uint8) * value for k, mask in masks.items()}
    return write_planes(planes, volume, extension)
