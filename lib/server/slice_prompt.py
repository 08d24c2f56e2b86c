"""Which slice a request means, and its prompt in pixels of that slice.

Clients speak of voxels (i, j, k) of the whole volume, everything below the server of pixels
(x, y) of one image. `pixel_of` is the only place where one becomes the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from lib.errors import PromptError
from lib.prompts import Prompt
from lib.server.requests import ClickRequest, Roi, Voxel

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class SlicePrompt:
    """A prompt on slice ``k``, in pixels of `lib.imaging.volume.Volume.slice`."""

    k: int
    prompt: Prompt


def pixel_of(i: float, j: float) -> tuple[float, float]:
    """Pixel (x, y) of voxel (i, j, k) on its slice: column i runs along x, row j along y."""
    return i, j


def slice_prompt(click: ClickRequest, shape: Shape) -> SlicePrompt:
    """Choose the slice and express the prompt on it.

    Points on other slices are left out: Slicer sends the points of all slices when the current
    one is slice 0. A roi counts on the slices it spans.

    Args:
        click: what the client sent, in voxels.
        shape: (I, J, K) of the volume.

    Raises:
        PromptError: a point, slice or roi outside of the volume, or nothing on the slice.
    """
    for point in (*click.foreground, *click.background):
        check_point(point, shape)
    roi = None if click.roi is None else inside(click.roi, shape)
    k = _choose_slice(click, roi, shape)
    foreground = [p for p in click.foreground if p[2] == k]
    background = [p for p in click.background if p[2] == k]
    box = None
    if roi is not None and roi[4] <= k <= roi[5]:
        box = (*pixel_of(roi[0], roi[2]), *pixel_of(roi[1], roi[3]))
    prompt = Prompt(
        points=tuple(pixel_of(i, j) for i, j, _ in (*foreground, *background)),
        labels=(1,) * len(foreground) + (0,) * len(background),
        box=box,
    )
    return SlicePrompt(k, prompt)


def _choose_slice(click: ClickRequest, roi: Roi | None, shape: Shape) -> int:
    """The slice asked for; else that of the last click; else the middle of the roi.

    Slicer names a slice for a roi without click by rounding millimetres, so a named slice
    without a click counts only where the roi spans it.
    """
    clicked = [p[2] for p in (*click.background, *click.foreground)]
    if click.slice is not None:
        if click.slice in clicked or (roi is not None and roi[4] <= click.slice <= roi[5]):
            return click.slice
        if roi is None:
            raise _nothing_on(click.slice, clicked, shape)
    elif clicked:
        return clicked[-1]
    if roi is None:
        raise PromptError(
            got="no point and no roi",
            allowed="at least one foreground point or a roi",
            todo="click on the object or draw a box around it",
        )
    return (roi[4] + roi[5]) // 2


def _nothing_on(k: int, clicked: list[int], shape: Shape) -> PromptError:
    if not 0 <= k < shape[2]:
        return PromptError(
            got=f"slice {k}",
            allowed=f"0 <= slice <= {shape[2] - 1}",
            todo="choose a slice of this image",
        )
    others = ", ".join(str(n) for n in sorted(set(clicked))[:8])
    return PromptError(
        got=f"slice {k} with no point on it" + (f"; the points are on {others}" if others else ""),
        allowed="at least one point on the slice, or a roi",
        todo="click on the object on that slice",
    )


def check_point(point: Voxel, shape: Shape) -> None:
    """Refuse a point outside of a volume of this shape (PromptError)."""
    if not all(0 <= value <= size - 1 for value, size in zip(point, shape, strict=True)):
        ranges = [f"0 <= {axis} <= {n - 1}" for axis, n in zip("ijk", shape, strict=True)]
        raise PromptError(
            got=f"point ({point[0]:g}, {point[1]:g}, {point[2]})",
            allowed=", ".join(ranges),
            todo="click inside the image",
        )


def inside(roi: Roi, shape: Shape) -> Roi:
    """The part of a roi that lies in the volume; a hand-drawn one often reaches beyond.

    Raises:
        PromptError: no part of it does.
    """
    i0, i1, j0, j1, k0, k1 = roi
    lows, highs = (i0, j0, k0), (i1, j1, k1)
    if any(h < 0 or low > n - 1 for low, h, n in zip(lows, highs, shape, strict=True)):
        ranges = [f"0 <= {axis} <= {n - 1}" for axis, n in zip("ijk", shape, strict=True)]
        raise PromptError(
            got=f"roi i {i0:g}..{i1:g}, j {j0:g}..{j1:g}, k {k0}..{k1}",
            allowed="a box that meets " + ", ".join(ranges),
            todo="draw the roi on the image",
        )
    i0, j0, k0 = max(i0, 0), max(j0, 0), max(k0, 0)
    return i0, min(i1, shape[0] - 1), j0, min(j1, shape[1] - 1), k0, min(k1, shape[2] - 1)
