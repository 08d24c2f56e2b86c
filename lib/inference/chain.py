"""A prompt with several parts, answered as if they had been given one after the other.

The networks are trained by corrections: each further click comes together with the mask of the
clicks before it (SAM-Med2D, section 3.3; its test script does the same). Viewers send all points
with every request and no mask, so the chain is replayed, and what was decoded before is looked up:
undo and redo of any depth by any number of users need no state and no decode. An answer depends on
image, network and prompt alone.

Clients keep foreground and background points in two lists, so the order in which they were
clicked is not known. The order of a chain is: box, first foreground point, background points, other
foreground points. One more foreground click costs one decode; a background click one, and one for
each foreground point behind it.

Where the first click got too much, the second was a background click, and a third on what is now
missing must not be replayed before it: two clicks in a row on what got too much confirm it, and one
background click is then not enough. docs/explanation/compact-network.md has figures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from lib.inference.cache import ByteBoundedCache
from lib.inference.decoder import LowRes, PromptDecoder
from lib.inference.embedder import Embedded
from lib.prompts.prompt import Prompt

SINGLY = 8
"""So many points are given one by one; those after them at 12, 16, 24, 32, 48, 64, ... points."""


def stage_counts(n_points: int, first: int) -> list[int]:
    """How many points the network is given at each stage of a chain.

    The stages of a list are those of its beginning and one more, whatever its length: so the
    answer to a prefix is always a step on the way, and a list of n points costs about
    8 + 2 log2(n / 8) decodes.

    Args:
        n_points: in all.
        first: at the first stage: 1, or 0 where a box says enough.
    """
    counts = list(range(min(first, n_points), min(n_points, SINGLY) + 1))
    step = SINGLY
    while (following := step + step // 2) <= n_points:
        counts.append(following)
        if (doubled := 2 * step) <= n_points:
            counts.append(doubled)
        step = doubled
    return counts if counts[-1] == n_points else [*counts, n_points]


def replay_order(labels: Sequence[int]) -> list[int]:
    """Indices of points with these labels in the order of a chain, see the module."""
    foreground = [n for n, label in enumerate(labels) if label == 1]
    background = [n for n, label in enumerate(labels) if label != 1]
    return [*foreground[:1], *background, *foreground[1:]]


def stages(prompt: Prompt) -> list[Prompt]:
    """The prompts of the chain: the box or the first point, then more points each time.

    A mask of the prompt is where the chain starts: the first stage has it, later ones have the
    answer of the stage before them instead.
    """
    first = 0 if prompt.box is not None else 1
    order = replay_order(prompt.labels)
    points = tuple(prompt.points[n] for n in order)
    labels = tuple(prompt.labels[n] for n in order)
    return [
        replace(
            prompt,
            points=points[:count],
            labels=labels[:count],
            mask=prompt.mask if number == 0 else None,
        )
        for number, count in enumerate(stage_counts(len(points), first))
    ]


class ChainDecoder:
    """Answers prompts stage by stage and remembers the stages.

    Args:
        decoder: of the network.
        answers: cache of stages; of this decoder alone, its keys name the encoder and the prompt.
    """

    def __init__(self, decoder: PromptDecoder, answers: ByteBoundedCache[LowRes]) -> None:
        self._decoder = decoder
        self._answers = answers

    def answer(self, image: Embedded, prompt: Prompt, multimask: bool = True) -> LowRes:
        """Answer the stages of a prompt in turn, each with the mask of the one before it.

        Args:
            image: that the prompt lies on.
            prompt: in pixels of the image, its points in any order.
            multimask: as for `PromptDecoder.decode`.

        Raises:
            PromptError: the prompt does not lie on the image.
        """
        chain = stages(prompt)
        names = [f"{image.key}/{multimask}/{name}" for name in _names(prompt, chain)]
        start, answer = self._longest_known(names)
        for stage, name in zip(chain[start:], names[start:], strict=True):
            given = stage if answer is None else replace(stage, mask=answer.logits)
            answer = self._decoder.decode(image.embedding, [given], multimask)[0]
            self._answers.put(name, answer, answer.nbytes)
        assert answer is not None
        return answer

    def _longest_known(self, names: list[str]) -> tuple[int, LowRes | None]:
        """How many stages need not be decoded, and the answer of the last of them."""
        for count in range(len(names), 0, -1):
            answer = self._answers.get(names[count - 1])
            if answer is not None:
                return count, answer
        return 0, None


def _names(prompt: Prompt, chain: list[Prompt]) -> list[str]:
    """A name for each stage; equal where all that led to it is equal."""
    start = hashlib.sha256(repr(prompt.box).encode())
    if prompt.mask is not None:
        start.update(f"{prompt.mask.dtype.str}{prompt.mask.shape}".encode())
        start.update(prompt.mask.tobytes())
    names = []
    for stage in chain:
        name = start.copy()
        name.update(repr((stage.points, stage.labels)).encode())
        names.append(name.hexdigest())
    return names
