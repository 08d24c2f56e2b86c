"""A prompt with several parts, answered as if they had been given one after the other.

The networks are trained by corrections: each further click comes together with the mask of the
clicks before it (SAM-Med2D, section 3.3; its test script does the same). Viewers send all points
with every request and no mask, so the chain is replayed. The answer depends on image, network and
prompt alone; nothing is remembered between requests.
"""

from __future__ import annotations

from dataclasses import replace

from lib.inference.predictor import Prediction, Predictor
from lib.prompts.prompt import Prompt

MAX_STEPS = 8
"""Decodes for one request at most; of longer lists the first points are given together."""


def stages(prompt: Prompt) -> list[Prompt]:
    """The prompts of the chain: the box or the first points, then one point more each time.

    A prompt that brings a mask, or has one part only, is a chain of itself.
    """
    if prompt.mask is not None:
        return [prompt]
    count = len(prompt.points)
    # With a box the first stage needs no point.
    first = 0 if prompt.box is not None else 1
    first = max(first, count - MAX_STEPS + 1)
    return [
        replace(prompt, points=prompt.points[:n], labels=prompt.labels[:n])
        for n in range(min(first, count), count + 1)
    ]


def predict_chain(predictor: Predictor, prompt: Prompt, multimask: bool = True) -> Prediction:
    """Answer the stages of a prompt in turn, each with the mask of the one before it.

    Args:
        predictor: with its image set.
        prompt: points in the order of the clicks, foreground before background where a client
            keeps two lists.
        multimask: as for `Predictor.predict`.

    Raises:
        PromptError: the prompt does not lie on the image, or no image was set.
    """
    first, *others = stages(prompt)
    answer = predictor.predict(first, multimask)
    for stage in others:
        answer = predictor.predict(replace(stage, mask=answer.low_res), multimask)
    return answer
