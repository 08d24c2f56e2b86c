"""A SAM-Med3D behind many users: clicks in a volume of any grid in, a mask on that grid out.

Concurrency contract: as `lib.inference.cube_network` says; the arithmetic of all calls goes to one
worker, one call after the other.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib.imaging.cube import cube_grid, standardised
from lib.imaging.grid import Volume
from lib.inference.cube_network import CubeNetwork, EmbeddedCube
from lib.inference.cube_windows import Clicks, look
from lib.inference.worker import Priority, PriorityWorker
from lib.prompts.voxel_prompt import VoxelPrompt


@dataclass(frozen=True)
class CubeTimings:
    """Seconds spent on cutting cubes out of the volume, encoding, and all the rest."""

    cut: float
    encode: float
    decode: float


@dataclass(frozen=True)
class CubeResult:
    """The answer to one request.

    Attributes:
        mask: (I, J, K) of the file.
        iou: as the network predicts it for the first cube.
        cubes: that were looked at.
        cached: the first cube had been encoded before.
        encoder: what encodes cubes: "openvino bf16".
        timings: where the time went.
    """

    mask: NDArray[np.bool_]
    iou: float
    cubes: int
    cached: bool
    encoder: str
    timings: CubeTimings


class CubeSegmenter:
    """Answers prompts in any volume, from any thread.

    Args:
        network: encodes and decodes cubes.
        worker: does the arithmetic.
        model_version: architecture and weights in one word.
    """

    def __init__(self, network: CubeNetwork, worker: PriorityWorker, model_version: str) -> None:
        self.network = network
        self.worker = worker
        self.model_version = model_version

    def segment(self, volume: Volume, prompt: VoxelPrompt) -> CubeResult:
        """Segment one object. Dear for a place never seen, cheap afterwards.

        Args:
            volume: the image; of a coloured one the mean of its colours counts.
            prompt: in voxels of the volume.
        """
        network, config = self.network, self.network.model.config
        array = volume.array.mean(axis=3) if volume.is_colour else volume.array
        grid = cube_grid(volume.shape, volume.affine, config.spacing)
        clicks = prompt.clicks()
        spent = {"cut": 0.0, "encode": 0.0}

        def embed(start: NDArray[np.int64]) -> EmbeddedCube:
            begun = time.perf_counter()
            cube = standardised(grid.cut(array, start.tolist(), network.size))
            cut = time.perf_counter()
            image = network.embedder.embed(cube)
            spent["cut"] += cut - begun
            spent["encode"] += time.perf_counter() - cut
            return image

        started = time.perf_counter()
        places = grid.of_file(clicks.points)
        patchwork = self.worker.run(
            Priority.CLICK, lambda: look(network, grid, Clicks(places, clicks.labels), embed)
        )
        logits, low = patchwork.blended()
        stride = network.size // network.cells
        start = patchwork.origin + stride * np.asarray(low)
        shape = (logits.shape[0], logits.shape[1], logits.shape[2])
        values, part = grid.cells(start.tolist(), stride, shape).back(logits, volume.shape)
        mask = np.zeros(volume.shape, np.bool_)
        mask[part] = values > 0
        rest = time.perf_counter() - started - sum(spent.values())
        return CubeResult(
            _within(mask, prompt.box),
            patchwork.answers[0, 0, 0].iou,
            len(patchwork.answers),
            patchwork.cached,
            patchwork.encoder,
            CubeTimings(decode=rest, **spent),
        )


def _within(mask: NDArray[np.bool_], box: tuple[float, ...] | None) -> NDArray[np.bool_]:
    """Nothing of an object lies outside of the box around it."""
    if box is None:
        return mask
    part = tuple(
        slice(int(np.floor(low)), int(np.ceil(high)) + 1)
        for low, high in (box[:2], box[2:4], box[4:])
    )
    kept = np.zeros_like(mask)
    kept[part] = mask[part]
    return kept
