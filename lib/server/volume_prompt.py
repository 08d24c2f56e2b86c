"""What a request means for a whole volume: a prompt for each slice with points.

Clients send the points of all slices in the order in which they were clicked, foreground and
background in two lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lib.errors import PromptError
from lib.prompts import Prompt
from lib.server.requests import ClickRequest, Roi
from lib.server.slice_prompt import Shape, check_point, inside, pixel_of


@dataclass(frozen=True)
class VolumePrompt:
    """Prompts of one object in a volume.

    Attributes:
        prompts: slice -> prompt in pixels of that slice, in the order of the first clicks.
        first: lowest slice that may hold the object, None where nothing was said.
        last: highest one, likewise.
    """

    prompts: Mapping[int, Prompt]
    first: int | None = None
    last: int | None = None


def volume_prompt(click: ClickRequest, shape: Shape) -> VolumePrompt:
    """Group the points of a request by slice.

    A roi limits the slices. Where there is no foreground point, its rectangle is the prompt of its
    middle slice; beside clicks it is not used as a box, because it surrounds the object on all
    slices and on most of them loosely.

    Args:
        click: what the client sent, in voxels.
        shape: (I, J, K) of the volume.

    Raises:
        PromptError: a point or roi outside of the volume, or nothing that says where the object is.
    """
    for point in (*click.foreground, *click.background):
        check_point(point, shape)
    roi = None if click.roi is None else inside(click.roi, shape)
    boxes = {}
    if not click.foreground:
        if roi is None:
            raise PromptError(
                got="no foreground point and no roi",
                allowed="at least one of them, on any slice of the object",
                todo="click on the object, or draw a box around it",
            )
        boxes[(roi[4] + roi[5]) // 2] = _rectangle(roi)
    slices = dict.fromkeys([*boxes, *(p[2] for p in (*click.foreground, *click.background))])
    prompts = {k: _prompt(click, k, boxes.get(k)) for k in slices}
    return VolumePrompt(prompts) if roi is None else VolumePrompt(prompts, roi[4], roi[5])


def _prompt(click: ClickRequest, k: int, box: tuple[float, float, float, float] | None) -> Prompt:
    foreground = [pixel_of(i, j) for i, j, own in click.foreground if own == k]
    background = [pixel_of(i, j) for i, j, own in click.background if own == k]
    return Prompt(
        points=(*foreground, *background),
        labels=(1,) * len(foreground) + (0,) * len(background),
        box=box,
    )


def _rectangle(roi: Roi) -> tuple[float, float, float, float]:
    return (*pixel_of(roi[0], roi[2]), *pixel_of(roi[1], roi[3]))
