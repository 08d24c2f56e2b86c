"""A random view of a labelled 8-bit image: part of it, turned, stretched, bent; masks follow.

Training from scratch wants every object at every size, so a view is chosen by the share of the
picture one of the objects is to fill. Pillow does the resampling, as it is compiled and fast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Image8 = NDArray[np.uint8]
Masks = NDArray[np.bool_]

MAX_MASKS = 8
"""Masks that one view carries along: one bit each of the image they are resampled as."""


@dataclass(frozen=True)
class Viewing:
    """How views are drawn.

    Attributes:
        whole_share: how often the whole image is shown, only mirrored or turned by right angles.
        smallest, largest: share of the picture that the object in focus is to fill, drawn
            log-uniformly between them.
        widest: the view covers at most so many times the side of the image.
        finest: it covers at least so many pixels of the image, so that not all is blur.
        turn: standard deviation of the angle, radians.
        stretch: standard deviation of the logarithm of the ratio of width to height.
        bend_share: how often the image is bent.
        bend: standard deviation of the bend, as a share of the distance of its knots.
    """

    whole_share: float = 0.4
    smallest: float = 0.005
    largest: float = 0.5
    widest: float = 1.4
    finest: int = 72
    turn: float = 0.35
    stretch: float = 0.2
    bend_share: float = 0.35
    bend: float = 0.13


@dataclass(frozen=True)
class View:
    """Where the picture's corners lie in the image.

    Attributes:
        centre: (x, y) as a share of width and height.
        matrix: (2, 2), from offsets in the picture (its side is 1) to offsets in the image.
    """

    centre: tuple[float, float]
    matrix: NDArray[np.float64]


def random_viewpoint(
    masks: Masks, size: int, rng: np.random.Generator, plan: Viewing
) -> tuple[View, NDArray[np.intp]]:
    """Draw a view and the masks (at most `MAX_MASKS`) it is for; the first is the one in focus.

    Args:
        masks: (N, H, W) bool, N >= 1.
        size: edge length of the picture.
        rng: source of all random choices.
        plan: how views are drawn.
    """
    chosen = rng.permutation(len(masks))[:MAX_MASKS]
    mirror = np.diag(rng.choice([-1.0, 1.0], 2, p=[0.4, 0.6]))
    if rng.random() < 0.3:
        mirror = mirror[::-1]
    focus = masks[chosen[0]]
    if rng.random() < plan.whole_share or not focus.any():
        return View((0.5, 0.5), mirror), chosen
    zoom, centre = _zoom_to(focus, rng, plan)
    angle, ratio = rng.normal(0, plan.turn), np.exp(rng.normal(0, plan.stretch) / 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return View(centre, np.diag([ratio, 1 / ratio]) @ turn @ mirror / zoom), chosen


def _zoom_to(
    focus: NDArray[np.bool_], rng: np.random.Generator, plan: Viewing
) -> tuple[float, tuple[float, float]]:
    """How much to enlarge, and the centre of the view, so that the object is in it."""
    height, width = focus.shape
    wanted = np.exp(rng.uniform(np.log(plan.smallest), np.log(plan.largest)))
    spans = []
    for axis, extent in ((0, width), (1, height)):
        places = np.flatnonzero(focus.any(axis=axis))
        spans.append((places[0] / extent, (places[-1] + 1) / extent))
    longest = max(last - first for first, last in spans)
    finest = max(1.0, min(height, width) / plan.finest)
    most = min(finest, rng.uniform(0.85, 1.3) / longest)
    zoom = float(np.clip(np.sqrt(wanted / focus.mean()), 1 / plan.widest, max(most, 0.75)))
    centre = []
    for first, last in spans:
        room = max(0.0, 1 / zoom - (last - first)) / 2
        place = (first + last) / 2 + rng.uniform(-0.9, 0.9) * room
        edge = min(0.5, 0.5 / zoom)
        centre.append(float(np.clip(place, edge, 1 - edge)))
    return zoom, (centre[0], centre[1])


def _quads(
    view: View, size: int, rng: np.random.Generator, plan: Viewing
) -> list[tuple[tuple[int, int, int, int], tuple[float, ...]]]:
    """Tiles of the picture and the corners of their sources, in shares of width and height."""
    count = int(rng.integers(3, 9)) if rng.random() < plan.bend_share else 1
    edges = np.linspace(0, size, count + 1).round().astype(int)
    places = np.stack(np.meshgrid(edges, edges), axis=-1) / size - 0.5
    if count > 1:
        places = places + rng.normal(0, plan.bend / count, places.shape)
    source = places @ view.matrix.T + np.asarray(view.centre)
    tiles = []
    for row in range(count):
        for column in range(count):
            corners = ((row, column), (row + 1, column), (row + 1, column + 1), (row, column + 1))
            quad = tuple(float(v) for corner in corners for v in source[corner])
            box = (int(edges[column]), int(edges[row]), int(edges[column + 1]), int(edges[row + 1]))
            tiles.append((box, quad))
    return tiles


def show(
    image: Image8,
    masks: Masks,
    view: View,
    size: int,
    rng: np.random.Generator,
    plan: Viewing,
) -> tuple[Image8, Masks]:
    """Resample an image and its masks to a view; beyond the image's edge it is dark.

    Args:
        image: (H, W) or (H, W, 3).
        masks: (N, H, W) bool, N at most `MAX_MASKS`.
        view: which part, and how it is turned.
        size: edge length of the picture.
        rng: source of the bend.
        plan: how strong the bend is.

    Returns:
        (size, size[, 3]) uint8 and (N, size, size) bool; masks may be empty or cut.
    """
    tiles = _quads(view, size, rng, plan)
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    coarse = float(np.sqrt(abs(np.linalg.det(view.matrix)) * height * width)) / size
    if coarse >= 1.5:
        picture = picture.reduce(round(coarse))
    packed = Image.fromarray(np.packbits(masks, axis=0, bitorder="little")[0])
    shown = _transform(picture, tiles, size, Image.Resampling.BILINEAR)
    marks = _transform(packed, tiles, size, Image.Resampling.NEAREST)
    unpacked = np.unpackbits(marks[None], axis=0, count=len(masks), bitorder="little")
    return shown, unpacked.view(np.bool_)


def _transform(
    picture: Image.Image,
    tiles: list[tuple[tuple[int, int, int, int], tuple[float, ...]]],
    size: int,
    how: Image.Resampling,
) -> Image8:
    scale = (picture.width, picture.height) * 4
    mesh = [(box, tuple(v * s for v, s in zip(quad, scale, strict=True))) for box, quad in tiles]
    return np.array(picture.transform((size, size), Image.Transform.MESH, mesh, how), np.uint8)
