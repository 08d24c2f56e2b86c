"""MONAI Label's InferTask that carries an object from one click through its volume.

Way of a call: dict of the host -> `ClickRequest` -> volume -> `VolumePrompt` -> masks of all
slices -> label file. Clients replace the whole label by the answer, so it holds all of it.

Concurrency contract: as `lib.server.infer` says; shared are also the cache of steps, keyed by
content, `NewestOnly` and `VolumeJobs`. All have locks of their own, which are held for look-ups
only. The work for the network goes to its worker slice by slice, behind everybody's clicks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

from lib.errors import SupersededError
from lib.imaging.volume import Volume
from lib.inference.cache import ByteBoundedCache
from lib.inference.propagate import PropagateSettings, VolumeResult, propagate
from lib.inference.volume_network import Step, VolumeNetwork, VolumeSlices
from lib.inference.walk import Cancelled
from lib.options import AppOptions
from lib.server.drafts import Drafts
from lib.server.infer import Samed2dInferTask
from lib.server.models import ModelSpec
from lib.server.newest import NewestOnly
from lib.server.requests import HOST_KEYS, ClickRequest
from lib.server.served_model import MIB, ServedModel
from lib.server.start_label import FILE_KEY, no_start
from lib.server.task import Stopwatch, write_masks
from lib.server.volume_jobs import VolumeJob, VolumeJobs
from lib.server.volume_prompt import VolumePrompt, volume_prompt
from lib.server.volumes import VolumeStore

STEP_CACHE_BYTES = 64 * MIB
"""For the answers on single slices: 16 KiB each, so the last 4096 of all users."""

logger = logging.getLogger(__name__)


class Samed2dVolumeTask(Samed2dInferTask):
    """Segments the object under a click on all slices.

    Args:
        spec: name and description.
        options: label names, intensity and time budget.
        model: the network, loaded by the first call; may be that of other tasks too.
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
        super().__init__(spec, options, model, volumes, drafts)
        self._defaults = PropagateSettings(seconds=options.volume_seconds)
        for key in ("zoom", "uncertainty"):  # a walk looks at whole slices, and rates each itself
            del self._config[key]
        self._config["time_budget"] = self._defaults.seconds
        self._config["threshold"] = self._defaults.threshold
        self._steps: ByteBoundedCache[Step] = ByteBoundedCache(STEP_CACHE_BYTES)
        self._newest = NewestOnly()
        self.jobs = VolumeJobs()

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment one object in a volume.

        Args:
            request: the host's dict: ``image`` is a path, the rest came from the client.

        Returns:
            Path of a label file in the system's temporary folder, which the caller removes, and
            facts that can be written as JSON.

        Raises:
            RequestError, PromptError, NotFoundError, ImageError, CheckpointError.
            SupersededError: a newer request of the same user for the same label.
        """
        click = ClickRequest.parse({k: v for k, v in request.items() if k not in HOST_KEYS})
        if FILE_KEY in request:
            raise no_start(self.name)
        clock = Stopwatch()
        with self._newest.request(_rivals(request, click)) as superseded:
            volume = self.volumes.get(Path(request["image"]))
            clock.lap("read")
            target = volume_prompt(click, volume.shape)
            network = self._network(volume, click)
            clock.lap("load")
            with self.jobs.job(click.client_id, volume.n_slices) as job:
                result = self._propagate(network, target, click, superseded, job)
            clock.lap("segment")
        masks = {k: mask.unpack() for k, mask in result.masks.items()}
        path = write_masks(masks, volume, click.result_extension)
        self._note(request, click, masks, network.segmenter.model_version, whole=True)
        clock.lap("write")
        latencies = {
            **clock.latencies(),
            "encode": round(result.spent.encode, 4),
            "decode": round(result.spent.decode, 4),
        }
        logger.info("%s, slices %s: %s", self.name, _extent(result), latencies)
        segmenter = network.segmenter
        return str(path), {
            **self._label_facts(click, volume),
            "latencies": latencies,
            **self._network_facts(segmenter.model_version, segmenter.embedder.encoder.backend_name),
            **_volume_facts(result),
        }

    def _network(self, volume: Volume, click: ClickRequest) -> VolumeNetwork:
        slices = VolumeSlices(volume.n_slices, lambda k: self.view(volume, k, click.intensity))
        return VolumeNetwork(self.model.segmenter(), slices, self._steps)

    def _propagate(
        self,
        network: VolumeNetwork,
        target: VolumePrompt,
        click: ClickRequest,
        superseded: Callable[[], bool],
        job: VolumeJob,
    ) -> VolumeResult:
        settings = PropagateSettings(
            threshold=self._defaults.threshold if click.threshold is None else click.threshold,
            seconds=self._defaults.seconds if click.time_budget is None else click.time_budget,
            max_slices=click.max_slices,
            first=target.first,
            last=target.last,
        )
        try:
            return propagate(
                network,
                target.prompts,
                settings,
                lambda: superseded() or job.cancelled.is_set(),
                job.answered,
            )
        except Cancelled as reason:
            if job.cancelled.is_set():
                raise SupersededError(
                    got="a request that its client took back",
                    todo="send it again if it is wanted after all",
                ) from reason
            raise SupersededError(
                got="a newer request for the same label of the same image",
                allowed="one at a time; the newest is answered",
                todo="wait for the answer to the newer one",
            ) from reason


def _rivals(request: Mapping[str, Any], click: ClickRequest) -> Hashable | None:
    """What two requests must share so that the newer one ends the older one.

    Only clients that say who they are (Slicer does) can take back what they asked for: two users
    of OHIF look alike, and neither may stop the other.
    """
    if click.client_id is None:
        return None
    return click.client_id, str(request["image"]), click.label


def _extent(result: VolumeResult) -> dict[str, int] | None:
    """First and last slice that hold the object."""
    return {"first": min(result.masks), "last": max(result.masks)} if result.masks else None


def _volume_facts(result: VolumeResult) -> dict[str, Any]:
    """Where the object is, how sure that is slice by slice, and why it is nowhere else."""
    extent = _extent(result)
    every = range(extent["first"], extent["last"] + 1) if extent else range(0)
    return {
        "slices": extent,
        # A slice without the object between others has 0.
        "confidence": [round(result.confidence.get(k, 0.0), 3) for k in every],
        "prompted": list(result.seeds),
        "stopped": [
            {"from": stop.seed, "to": stop.last, "reason": str(stop.reason)}
            for stop in result.stops
        ],
        "slices_encoded": result.spent.encoded,
        "iou": round(result.iou, 4),
    }
