"""MONAI Label's InferTask ``submit``: stores what was drawn as the final label of the image.

OHIF's MONAI Label panel has no button that saves. This task stands in its list of automatic
segmentations; Run stores the draft of the open image (`lib.server.drafts`) and answers with the
same label map, because OHIF replaces all it shows by the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from lib.errors import RequestError
from lib.server.drafts import Draft, Drafts
from lib.server.label_file import planes_of, write_planes
from lib.server.requests import HOST_KEYS, ClickRequest
from lib.server.task import UNNAMED
from lib.server.volumes import VolumeStore

NAME = "submit"


class SubmitTask(InferTask):  # type: ignore[misc]  # the host has no types
    """Answers with the draft of an image; `lib.server.dispatch` stores it as final.

    Args:
        labels: names of the server's option ``labels``; their order gives the values.
        drafts: of all images.
        volumes: images that were read.
    """

    saves = True
    """What it answers is stored as the final label, whatever the request says."""

    def __init__(self, labels: Sequence[str], drafts: Drafts, volumes: VolumeStore) -> None:
        self._drafts, self._volumes = drafts, volumes
        names = [*labels, *(() if UNNAMED in labels else (UNNAMED,))]
        super().__init__(
            type=InferType.SEGMENTATION,
            labels={name: value for value, name in enumerate(names, start=1)},
            dimension=3,
            description="Saves what was drawn by clicks in this image as its final label",
            config={},
        )

    def is_valid(self) -> bool:
        """Always."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Write the draft of an image into a label file.

        Args:
            request: the host's dict: ``image`` is a path, the rest came from the client.

        Returns:
            Path of a label file in the system's temporary folder, which the caller removes, and
            facts that can be written as JSON. The values are those of ``labels``; other labels
            follow in the order in which they were first drawn.

        Raises:
            RequestError: nothing was drawn in this image.
        """
        click = ClickRequest.parse({k: v for k, v in request.items() if k not in HOST_KEYS})
        draft = self._drafts.of(str(request["image"]))
        if draft is None:
            raise RequestError(
                got="an image in which nothing was drawn since the server started",
                allowed="an image with at least one answer to a click",
                todo="click on a structure first; what the viewer shows stays as it is",
            )
        values = self._values(draft)
        volume = self._volumes.get(Path(request["image"]))
        path = write_planes(planes_of(draft.masks, values), volume, click.result_extension)
        # All up to the last one drawn: clients and the datastore count names from 1.
        last = max(values[name] for name in draft.masks)
        return str(path), {
            "label_names": {name: value for name, value in values.items() if value <= last},
            "result_extension": click.result_extension,
            "reviewed": list(draft.slices),
            "prompts": draft.clicks,
            "model_version": draft.model_version,
            "model": NAME,
        }

    def _values(self, draft: Draft) -> dict[str, int]:
        values = dict(self.labels)
        for name in draft.masks:
            values.setdefault(name, len(values) + 1)
        return values
