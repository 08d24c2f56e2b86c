"""A quick measure of a network during training: Dice of the first click and after corrections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.data.pool import LabelledImage, usable_masks
from lib.inference.predictor import Predictor
from lib.networks.sam import AdapterSam
from lib.prompts.prompt import Prompt
from lib.prompts.simulate import interior_click, next_click
from lib.training.metrics import dice


def click_dice(
    model: AdapterSam, images: Sequence[LabelledImage], clicks: int = 3
) -> tuple[float, ...]:
    """Mean Dice after 1, 2, ... clicks over all objects of the images.

    The first click is the innermost pixel of the object, each next one the innermost pixel of the
    largest error; points accumulate and the last low-resolution answer is the mask prompt.
    Objects below the training size (`lib.data.pool`) are left out.
    """
    predictor = Predictor(model)
    rng = np.random.default_rng(0)  # never drawn from: random_share is 0
    scores: list[list[float]] = []
    for image in images:
        targets = usable_masks(image.masks)
        if not len(targets):
            continue
        predictor.set_image(image.image)
        for target in targets:
            chain = [interior_click(target)]
            prediction = None
            row = []
            for _ in range(clicks):
                prompt = Prompt(
                    points=tuple((c.x, c.y) for c in chain),
                    labels=tuple(c.label for c in chain),
                    mask=None if prediction is None else prediction.low_res,
                )
                prediction = predictor.predict(prompt)
                row.append(dice(prediction.mask, target))
                click = next_click(prediction.mask, target, rng)
                if click.label >= 0:
                    chain.append(click)
            scores.append(row)
    return tuple(float(v) for v in np.mean(scores, axis=0)) if scores else ()
