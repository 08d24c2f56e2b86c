"""An object in a volume out of as many cubes as it takes.

The first cube has its first click in the middle, as SAM-Med3D was used by its authors, who cut off
what lies beyond (issue 123 of their repository). Here the cube moves on by half its edge wherever
the object touches a face, and to clicks that lie elsewhere. A moved cube starts from what is known
of the object in it; where nobody clicked in it, the voxel deepest inside of that counts as a click.
All cubes share one lattice of cells, on which their logits are blended, each the less the nearer to
a face of its cube.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lib.imaging.cube import CubeGrid, Triple
from lib.inference.cube_network import Cells, CubeAnswer, CubeNetwork, EmbeddedCube

MAX_CUBES = 12
"""So many cubes are looked at for one answer."""
TOUCHES = 4
"""Cells of the object in a face of its cube from which on it goes on beyond it."""
NOWHERE = -10.0
"""Logit of what no cube has seen."""


@dataclass(frozen=True)
class Clicks:
    """Clicks in voxels of a `CubeGrid`: places (N, 3), and labels, the first of them 1."""

    places: NDArray[np.float64]
    labels: tuple[int, ...]


@dataclass
class Patchwork:
    """The cubes of one answer.

    Attributes:
        origin: first voxel of the first cube.
        half: voxels by which cubes move.
        answers: by how often the cube moved along each axis.
        cached: whether the first cube had been encoded before.
        encoder: what encoded it.
    """

    origin: NDArray[np.int64]
    half: int
    answers: dict[Triple, CubeAnswer] = field(default_factory=dict)
    cached: bool = False
    encoder: str = ""

    def start(self, move: Triple) -> NDArray[np.int64]:
        """First voxel of a cube."""
        return self.origin + self.half * np.asarray(move)

    def blended(self) -> tuple[Cells, Triple]:
        """Logits on the cells of the cuboid around all cubes, and its first cell."""
        cells = len(next(iter(self.answers.values())).logits)
        moves = np.asarray(list(self.answers))
        low = moves.min(axis=0)
        shape = (moves.max(axis=0) - low) * (cells // 2) + cells
        total, weights = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        weight = _towards_the_middle(cells)
        for move, answer in self.answers.items():
            first = (np.asarray(move) - low) * (cells // 2)
            part = tuple(slice(n, n + cells) for n in first)
            total[part] += weight * answer.logits
            weights[part] += weight
        seen = weights > 0
        total[seen] /= weights[seen]
        total[~seen] = NOWHERE
        a, b, c = (int(n) for n in low * (cells // 2))
        return total, (a, b, c)

    def known(self, move: Triple, cells: int) -> Cells:
        """What other cubes say of the cells of one; 0 where they say nothing."""
        logits, low = self.blended()
        logits[logits == NOWHERE] = 0
        first = np.asarray(move) * (cells // 2) - low
        margin = [
            (max(0, -n), max(0, n + cells - size))
            for n, size in zip(first, logits.shape, strict=True)
        ]
        padded = np.pad(logits, margin)
        part = tuple(slice(n + m[0], n + m[0] + cells) for n, m in zip(first, margin, strict=True))
        return np.ascontiguousarray(padded[part])


def look(
    network: CubeNetwork,
    grid: CubeGrid,
    clicks: Clicks,
    embed: Callable[[NDArray[np.int64]], EmbeddedCube],
) -> Patchwork:
    """Find an object from clicks.

    Args:
        network: answers.
        grid: of the volume.
        clicks: on the object and beside it.
        embed: encodes the cube that starts at a voxel; dear.
    """
    half, cells = network.size // 2, network.cells
    patchwork = Patchwork(np.rint(clicks.places[0]).astype(np.int64) - half, half)
    away = np.rint((clicks.places - patchwork.origin - half) / half).astype(int)
    waiting = deque([(0, 0, 0)])
    for move, place in zip(away, clicks.places, strict=True):
        if not _inside(place, patchwork.origin, network.size):
            waiting.append((int(move[0]), int(move[1]), int(move[2])))
    while waiting and len(patchwork.answers) < MAX_CUBES:
        move = waiting.popleft()
        start = patchwork.start(move)
        if move in patchwork.answers or not _overlaps(start, network.size, grid.shape):
            continue
        known = patchwork.known(move, cells) if patchwork.answers else None
        own = _own_clicks(clicks, start, network.size, known)
        if own is None:
            continue
        image = embed(start)
        answer = network.answer(image, own.places, own.labels, known)
        if not patchwork.answers:
            patchwork.cached, patchwork.encoder = image.cached, image.encoder
        patchwork.answers[move] = answer
        waiting.extend(_beyond(move, answer.logits))
    return patchwork


def _own_clicks(
    clicks: Clicks, start: NDArray[np.int64], size: int, known: Cells | None
) -> Clicks | None:
    """Clicks in a cube, in its voxels; None where nothing says that the object is there."""
    inside = [n for n, place in enumerate(clicks.places) if _inside(place, start, size)]
    labels = tuple(clicks.labels[n] for n in inside)
    places = np.clip(clicks.places[inside] - start, 0, size - 1)
    if 1 in labels:
        return Clicks(places, labels)
    if known is None or not (known > 0).any():
        return None
    # A face of the cube counts as the end of what is known, so that the click is well inside.
    depth = ndimage.distance_transform_edt(np.pad(known > 0, 1))[1:-1, 1:-1, 1:-1]
    deepest = np.asarray(np.unravel_index(depth.argmax(), depth.shape))
    voxel = (deepest + 0.5) * (size / len(known)) - 0.5
    return Clicks(np.concatenate([voxel[None], places]), (1, *labels))


def _beyond(move: Triple, logits: Cells) -> list[Triple]:
    """Where to go from a cube: through each face that the object touches."""
    found = []
    for axis, side in product(range(3), (0, -1)):
        if (logits.take(side, axis) > 0).sum() >= TOUCHES:
            following = list(move)
            following[axis] += -1 if side == 0 else 1
            found.append((following[0], following[1], following[2]))
    return found


def _inside(place: NDArray[np.float64], start: NDArray[np.int64], size: int) -> bool:
    return bool(((place >= start - 0.5) & (place < start + size - 0.5)).all())


def _overlaps(start: NDArray[np.int64], size: int, shape: Triple) -> bool:
    return bool(((start < shape) & (start + size > 0)).all())


def _towards_the_middle(cells: int) -> Cells:
    """Weights of a cube's cells: 1 in the middle, falling to next to nothing at each face."""
    line = np.arange(cells)
    ramp = np.minimum(line + 1, cells - line) / (cells // 2)
    weight: Cells = np.einsum("i,j,k->ijk", ramp, ramp, ramp).astype(np.float32)
    return weight
