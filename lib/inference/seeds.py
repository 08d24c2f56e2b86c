"""From the user's prompts to the slices from which the object is carried on.

The prompts are taken in their order. One on a slice that an earlier prompt reaches is a correction
of the mask that was carried there (`lib.inference.correction`); any other starts anew and is a
root. Corrections are made on what the roots alone give, so one more correction never changes the
masks of slices that were prompted before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lib.errors import PromptError
from lib.inference.blend import blend
from lib.inference.correction import corrected, is_positive, nowhere, refuses
from lib.inference.decoder import LowRes
from lib.inference.neighbour import has_object
from lib.inference.volume_network import Step, VolumeNetwork
from lib.inference.walk import Brake, Path, Reason, Seed, follow
from lib.prompts.prompt import Prompt


@dataclass(frozen=True)
class Sower:
    """Turns prompts into seeds.

    Args:
        network: looking at the volume.
        threshold: of the confidence, for the walks from the roots to the corrections.
        brake: ends these walks.
    """

    network: VolumeNetwork
    threshold: float
    brake: Brake

    def seeds(self, prompts: Mapping[int, Prompt]) -> dict[int, Seed]:
        """A seed for each prompt, by slice in ascending order.

        Args:
            prompts: slice -> prompt, in the order in which they were given; those that only say
                where the object is not are taken last.

        Raises:
            PromptError: no prompt says where the object is, or one lies beyond the volume.
            Cancelled: see `Brake`.
        """
        positive = [k for k, prompt in prompts.items() if is_positive(prompt)]
        negative = [k for k, prompt in prompts.items() if not is_positive(prompt)]
        if not positive:
            raise PromptError(
                got="no prompt inside the object",
                allowed="at least one foreground point or a box",
                todo="click on the object first",
            )
        roots: dict[int, Seed] = {}
        seeds: dict[int, Seed] = {}
        for k in (*positive, *negative):
            self.brake.check()
            start = self._start(k, roots)
            seeds[k] = self._seed(k, prompts[k], start)
            if start is None and k in positive:
                seeds[k] = _of_one_object(seeds[k], roots)
                roots[k] = seeds[k]
        return dict(sorted(seeds.items()))

    def _seed(self, k: int, prompt: Prompt, start: LowRes | None) -> Seed:
        view = self.network.view(k)
        if refuses(prompt, start, view.height, view.width):
            prompt.validate_for(view.height, view.width)
            answer = nowhere()
            return Seed(k, answer, self.network.reference(k, answer), refused=start)
        if start is not None:
            prompt = corrected(prompt, start, view.height, view.width)
        answer = self.network.prompted(k, prompt)
        return Seed(k, answer, self.network.reference(k, answer))

    def _start(self, k: int, roots: Mapping[int, Seed]) -> LowRes | None:
        """The mask that was carried to slice k: by the first root that reaches it, or by two."""
        for root in roots.values():
            step = self._carried(k, root)
            if step is not None:
                return step.answer
        below = max((n for n in roots if n < k), default=None)
        above = min((n for n in roots if n > k), default=None)
        if below is None or above is None:
            return None
        up = self._carried(k, roots[below], roots[above])
        down = self._carried(k, roots[above], roots[below])
        blended = blend(up, down, below, above)
        return None if blended is None else blended.answer

    def _carried(self, k: int, root: Seed, goal: Seed | None = None) -> Step | None:
        """The step on slice k of a walk from a root, None where it does not come that far."""
        path = Path(root, steps_towards(root.k, k), Reason.LIMIT, goal)
        (walk,) = follow(self.network, [path], self.threshold, self.brake)
        return walk.steps.get(k)


def _of_one_object(root: Seed, earlier: Mapping[int, Seed]) -> Seed:
    """A further root is compared with the object that was found first, not with itself.

    It is often a click at the object's end, whose few pixels may hold more of what is around it:
    walks from there would take that for the object, and go on through the volume.
    """
    found = [seed for seed in earlier.values() if has_object(seed.answer)]
    if not found:
        return root
    return replace(root, reference=min(found, key=lambda seed: abs(seed.k - root.k)).reference)


def steps_towards(start: int, end: int) -> range:
    """All slices after ``start`` up to ``end``, in the order of a walk."""
    direction = 1 if end > start else -1
    return range(start + direction, end + direction, direction)
