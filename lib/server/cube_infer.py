"""MONAI Label's InferTask for clicks in a volume that a network of volumes answers.

Way of a call: dict of the host -> `ClickRequest` -> volume -> `VoxelPrompt` -> mask -> label file.
Clients replace the whole label by the answer, so it holds all of it.

Concurrency contract: as `lib.server.infer` says.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.inference.cube_segmenter import CubeResult
from lib.options import AppOptions
from lib.prompts.voxel_prompt import VoxelPrompt
from lib.server.drafts import Drafts
from lib.server.models import ModelSpec
from lib.server.requests import HOST_KEYS, ClickRequest
from lib.server.served_model import ServedCubes
from lib.server.slice_prompt import Shape, check_point, inside
from lib.server.start_label import FILE_KEY, no_start
from lib.server.task import ModelTask, Stopwatch, rounded, write_masks
from lib.server.volumes import VolumeStore

logger = logging.getLogger(__name__)


class CubeInferTask(ModelTask):
    """Segments the object under clicks anywhere in a volume.

    Args:
        spec: name and description.
        options: label names.
        model: the network, loaded by the first call.
        volumes: images that were read.
        drafts: where answers are noted down until somebody saves them; None for nowhere.
    """

    def __init__(
        self,
        spec: ModelSpec,
        options: AppOptions,
        model: ServedCubes,
        volumes: VolumeStore,
        drafts: Drafts | None = None,
    ) -> None:
        self.model = model
        super().__init__(spec, options, model, volumes, drafts, {})

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment one object in a volume.

        Args:
            request: the host's dict: ``image`` is a path, the rest came from the client.

        Returns:
            Path of a label file in the system's temporary folder, which the caller removes, and
            facts that can be written as JSON.

        Raises:
            RequestError, PromptError, NotFoundError, ImageError, CheckpointError.
        """
        click = ClickRequest.parse({k: v for k, v in request.items() if k not in HOST_KEYS})
        if FILE_KEY in request:
            raise no_start(self.name)
        clock = Stopwatch()
        volume = self.volumes.get(Path(request["image"]))
        clock.lap("read")
        prompt = voxel_prompt(click, volume.shape)
        live = self.model.live()
        clock.lap("load")
        result = live.segmenter.segment(volume, prompt)
        clock.lap("segment")
        masks = planes(result.mask)
        path = write_masks(masks, volume, click.result_extension)
        self._note(request, click, masks, live.model_version, whole=True)
        clock.lap("write")
        latencies = {**clock.latencies(), **rounded(vars(result.timings))}
        logger.info("%s, %d cubes: %s", self.name, result.cubes, latencies)
        return str(path), {
            **self._label_facts(click, volume),
            "latencies": latencies,
            **self._network_facts(live.model_version, result.encoder),
            **_cube_facts(result, masks),
        }


def voxel_prompt(click: ClickRequest, shape: Shape) -> VoxelPrompt:
    """The prompt of a request, in voxels of the volume.

    Args:
        click: what the client sent.
        shape: (I, J, K) of the volume.

    Raises:
        PromptError: a point or roi outside of the volume, or nothing that says where the object is.
    """
    points = (*click.foreground, *click.background)
    for point in points:
        check_point(point, shape)
    labels = (1,) * len(click.foreground) + (0,) * len(click.background)
    box = None if click.roi is None else inside(click.roi, shape)
    return VoxelPrompt(points, labels, box)


def planes(mask: NDArray[np.bool_]) -> dict[int, NDArray[np.bool_]]:
    """The slices (J, I) of a mask (I, J, K) that hold something."""
    return {int(k): mask[:, :, k].T for k in np.flatnonzero(mask.any(axis=(0, 1)))}


def _cube_facts(result: CubeResult, masks: Mapping[int, Any]) -> dict[str, Any]:
    """Where the object is, how it was found, and how sure the network is of itself."""
    return {
        "slices": {"first": min(masks), "last": max(masks)} if masks else None,
        "cubes": result.cubes,
        "encoded_before": result.cached,
        # JSON has no NaN, which broken weights may give.
        "iou": round(result.iou, 4) if math.isfinite(result.iou) else None,
    }
