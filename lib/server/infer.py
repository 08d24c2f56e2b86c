"""MONAI Label's InferTask for one click on one slice.

Way of a call: dict of the host -> `ClickRequest` -> volume -> `SlicePrompt` -> mask -> label file.

Concurrency contract. One task object serves all users at the same time and keeps no state of
any of them; all values of a call live on its stack. Shared are

* `VolumeStore` (its lock is held while a file is read),
* `ServedModel` (its lock is held while the network is loaded for the first time); a call takes the
  version that answers once and keeps it to the end, whatever is published meanwhile,
* the worker of all versions, which does the arithmetic of all calls, the urgent first,
* `Drafts` (its lock is held while an answer is noted down), and
* `EncodeAhead` (its lock is held for a look at its table).

A call takes these locks one after the other in this order and never holds two of them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.imaging.volume import Volume
from lib.inference.ahead import views_of
from lib.inference.segmenter import SegmentResult, SliceSegmenter
from lib.inference.uncertainty import ClickUncertainty, click_uncertainty
from lib.inference.view import SliceView, slab_of
from lib.inference.worker import Priority
from lib.networks.architectures import find_architecture
from lib.options import INTENSITIES, ZOOMS, AppOptions
from lib.prompts.prompt import Prompt
from lib.server.drafts import Drafts
from lib.server.label_file import write_planes
from lib.server.live_model import LiveModel
from lib.server.models import ModelSpec
from lib.server.requests import HOST_KEYS, ClickRequest
from lib.server.served_model import ServedModel
from lib.server.slice_prompt import slice_prompt
from lib.server.start_label import (
    FILE_KEY,
    NAMES_KEY,
    SLICE_SUFFIX,
    StartLabel,
    start_label,
    start_slice,
)
from lib.server.task import ModelTask, Stopwatch, rounded, write_masks
from lib.server.volumes import VolumeStore

UNCERTAINTY_FILE = "uncertainty_file"
"""Fact with the path of the map; `lib.server.dispatch` takes it out again."""

logger = logging.getLogger(__name__)


class Samed2dInferTask(ModelTask):
    """Segments the object under a click on one slice.

    Args:
        spec: name and description.
        options: label names and intensity.
        model: the network, loaded by the first call.
        volumes: images that were read.
        drafts: where answers are noted down until somebody saves them; None for nowhere.
    """

    def __init__(
        self,
        spec: ModelSpec,
        options: AppOptions,
        model: ServedModel,
        volumes: VolumeStore,
        drafts: Drafts | None = None,
    ) -> None:
        self.model = model
        self.intensity = options.intensity
        self.zoom = options.zoom
        config = {
            "intensity": _default_first(options.intensity, INTENSITIES),
            "zoom": _default_first(options.zoom, ZOOMS),
            "uncertainty": [False, True],
        }
        super().__init__(spec, options, model, volumes, drafts, config)

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment one object.

        Args:
            request: the host's dict: ``image`` is a path, the rest came from the client.

        Returns:
            Path of a label file in the system's temporary folder, which the caller removes, and
            facts that can be written as JSON.

        Raises:
            RequestError, PromptError, NotFoundError, ImageError, CheckpointError.
        """
        click = ClickRequest.parse({k: v for k, v in request.items() if k not in HOST_KEYS})
        clock = Stopwatch()
        volume = self.volumes.get(Path(request["image"]))
        clock.lap("read")
        target = slice_prompt(click, volume.shape)
        live = self.model.live()
        clock.lap("load")
        view = self.view(volume, target.k, click.intensity)
        start = self._start(request, click, volume, target.k)
        prompt = target.prompt if start is None else start.before(target.prompt)
        clock.lap("start")
        result = live.segmenter.segment(
            view, prompt, multimask=click.multimask, zoom=click.zoom or self.zoom
        )
        clock.lap("segment")
        mask = result.prediction.mask
        if start is not None and click.overlap == "keep":
            mask = start.keep_others(mask)
        doubt = self._doubt(live.segmenter, view, prompt, result) if click.uncertainty else None
        clock.lap("uncertainty")
        path = write_answer(mask, volume, target.k, click.result_extension)
        self._note(request, click, {target.k: mask}, live.model_version)
        clock.lap("write")
        ahead = self._encode_ahead(live, request, volume, target.k, click)
        latencies = {**clock.latencies(), **rounded(vars(result.timings))}
        logger.info("%s, slice %d: %s", self.name, target.k, latencies)
        return str(path), {
            **self._label_facts(click, volume),
            "slice": target.k,
            "latencies": latencies,
            "encode_ahead": ahead,
            **self._facts(live.segmenter, result),
            **({} if doubt is None else _doubt_facts(doubt, volume, target.k)),
        }

    def _doubt(
        self, segmenter: SliceSegmenter, view: SliceView, prompt: Prompt, result: SegmentResult
    ) -> ClickUncertainty:
        """How unsure the network is of its answer; one more batch of eight decodes."""
        if len(prompt.points) > 1 and result.crop is None:
            # As in a chain: what is asked now comes with the answer that was given before.
            prompt = replace(prompt, mask=result.prediction.low_res)
        # Always the same moves: the same click has the same answer.
        rng = np.random.default_rng(0)
        return segmenter.worker.run(
            Priority.CLICK,
            lambda: click_uncertainty(
                segmenter.decoder, segmenter.embedder.embed(view).embedding, prompt, rng
            ),
        )

    def _encode_ahead(
        self,
        live: LiveModel,
        request: Mapping[str, Any],
        volume: Volume,
        k: int,
        click: ClickRequest,
    ) -> dict[str, Any] | None:
        """Have the other slices encoded; how far that is, None where it is switched off."""
        ahead = live.ahead
        if ahead is None:
            return None
        # Whoever replaces the file gets another volume, and intensities make other images.
        intensity = click.intensity or self.intensity
        name = f"{Path(request['image']).name}, {intensity}, {id(volume):x}"
        views = views_of(volume, lambda held, n: self.view(held, n, intensity))
        progress = ahead.want(name, volume.n_slices, k, views)
        slices = list(progress.slices)
        return {"done": progress.done, "total": progress.total, "slices": slices}

    def _start(
        self, request: Mapping[str, Any], click: ClickRequest, volume: Volume, k: int
    ) -> StartLabel | None:
        """What the click starts from, or None."""
        file = request.get(FILE_KEY)
        if file is None:
            return None
        if Path(file).suffix == SLICE_SUFFIX:
            return start_slice(file, volume)
        names = request.get(NAMES_KEY, {})
        return start_label(self.volumes.get(file), names, volume, k, click.label)

    def view(self, volume: Volume, k: int, intensity: str | None = None) -> SliceView:
        """Slice k as the network is to see it.

        Args:
            volume: the image.
            k: slice.
            intensity: how grey values become 8 bit, None for the server's choice.
        """
        shown, depth = self.shown_intensity(intensity), self.model.choice.slab
        slab = slab_of(k, volume.n_slices, depth) if depth > 1 else range(k, k)
        return SliceView(
            volume.slice(k),
            shown,
            volume.modality,
            volume.body_part,
            slab=tuple(volume.slice(n) for n in slab),
            place=k - slab.start,
        )

    def shown_intensity(self, intensity: str | None = None) -> str:
        """How grey values become 8 bit; "auto" means: as the network was trained."""
        intensity = intensity or self.intensity
        if intensity == "auto":
            return find_architecture(self.model.choice.architecture).intensity
        return intensity

    def _facts(self, segmenter: SliceSegmenter, result: SegmentResult) -> dict[str, Any]:
        """What answered, and how sure it is of itself."""
        iou = result.prediction.iou
        return {
            **self._network_facts(segmenter.model_version, result.encoder),
            "encoded_before": result.cached,
            # The part of the slice [x0, y0, x1, y1] that was looked at again.
            "zoomed": None if result.crop is None else list(result.crop),
            # JSON has no NaN, which broken weights may give.
            "iou": round(iou, 4) if math.isfinite(iou) else None,
        }


def _doubt_facts(doubt: ClickUncertainty, volume: Volume, k: int) -> dict[str, Any]:
    """The number, and a file with the map of slice k: per cent of a bit, 0 to 100, as uint8."""
    percent = np.rint(doubt.map * 100).astype(np.uint8)
    return {
        "uncertainty": round(doubt.value, 4),
        UNCERTAINTY_FILE: str(write_planes({k: percent}, volume, ".nrrd")),
    }


def _default_first(default: str, allowed: tuple[str, ...]) -> list[str]:
    """The choices of an option as clients show them: the first one is taken."""
    return [default, *(name for name in allowed if name != default)]


def write_answer(mask: NDArray[np.bool_], volume: Volume, k: int, extension: str) -> Path:
    """Write the mask (H, W) of slice k as `write_masks` does."""
    return write_masks({k: mask}, volume, extension)
