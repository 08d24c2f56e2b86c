"""From the answer on one slice to the prompt on the next one.

The prompt is the answer itself as mask prompt, and a click deep inside of it. That is the form in
which SAM-Med2D's networks were trained to correct (section 3.3: a click together with the mask
before it). Boxes were tried and left out: with a margin the mask grows from slice to slice, without
one it can only shrink, and a box is answered with something also where the object has ended.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lib.imaging.geometry import Frame
from lib.inference.decoder import LowRes
from lib.prompts.components import largest_component
from lib.prompts.prompt import Point, Prompt
from lib.prompts.simulate import interior_click


def has_object(answer: LowRes) -> bool:
    """Whether anything is inside; without that there is no next prompt."""
    return bool((answer.logits > 0).any())


def prompt_from(answer: LowRes, height: int, width: int) -> Prompt:
    """The prompt for the slice beside the one that was answered.

    Args:
        answer: of the neighbouring slice, not empty.
        height: rows of the next slice.
        width: columns of it.

    Raises:
        PromptError: the answer is empty.
    """
    click = inner_click(answer.logits[0] > 0, height, width)
    return Prompt(points=(click,), labels=(1,), mask=answer.logits)


def inner_click(inside: NDArray[np.bool_], height: int, width: int) -> Point:
    """The pixel (x, y) of a slice that lies deepest in the largest part of a mask.

    Args:
        inside: on the grid of the network's masks, not empty.
        height: rows of the slice.
        width: columns of it.

    Raises:
        PromptError: the mask is empty.
    """
    click = interior_click(largest_component(inside)[0])
    # Pixel centres: half a pixel of the coarse grid is more than half a pixel of the slice.
    x, y = Frame(height, width, inside.shape[1]).to_image((click.x + 0.5, click.y + 0.5)) - 0.5
    return float(x), float(y)
