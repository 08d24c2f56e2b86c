"""What an annotator shows of one object in a volume."""

from __future__ import annotations

from dataclasses import dataclass

from lib.errors import PromptError
from lib.prompts.prompt import MAX_POINTS

Voxel = tuple[float, float, float]
VoxelBox = tuple[float, float, float, float, float, float]

_BEYOND = 0.05
"""Share of a box's edge by which its corners are moved outwards to be clicks beside the object."""


@dataclass(frozen=True)
class VoxelPrompt:
    """The prompts of one object in a volume.

    Attributes:
        points: voxels (i, j, k) of the file.
        labels: one for each point, 1 inside the object, 0 outside.
        box: (i0, i1, j0, j1, k0, k1) around the object, lower ends first, or None.

    Raises:
        PromptError: nothing that says where the object is, or too many points.
    """

    points: tuple[Voxel, ...] = ()
    labels: tuple[int, ...] = ()
    box: VoxelBox | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be answered."""
        if len(self.points) > MAX_POINTS:
            raise PromptError(
                got=f"{len(self.points)} points",
                allowed=f"at most {MAX_POINTS}",
                todo="remove points that say the same",
            )
        if 1 not in self.labels and self.box is None:
            raise PromptError(
                got="no foreground point and no roi",
                allowed="at least one of them, anywhere on the object",
                todo="click on the object, or draw a box around it",
            )

    def clicks(self) -> VoxelPrompt:
        """The same prompt in clicks alone, the first one on the object.

        Foreground comes first, as clients keep two lists and no order between them. Where there is
        no foreground, the box is approximated: a click on the object in its middle, and one beside
        the object at each corner, a little outside. Of a hollow or curved object the middle may
        be wrong; beside clicks a box is not used.
        """
        order = sorted(range(len(self.points)), key=lambda n: -self.labels[n])
        points = tuple(self.points[n] for n in order)
        labels = tuple(self.labels[n] for n in order)
        if 1 in labels or self.box is None:
            return VoxelPrompt(points, labels)
        ends = [self.box[:2], self.box[2:4], self.box[4:]]
        i, j, k = ((low + high) / 2 for low, high in ends)
        outside = [
            (low - _BEYOND * (high - low), high + _BEYOND * (high - low)) for low, high in ends
        ]
        corners = tuple((a, b, c) for a in outside[0] for b in outside[1] for c in outside[2])
        return VoxelPrompt(((i, j, k), *corners, *points), (1, *8 * (0,), *labels))
