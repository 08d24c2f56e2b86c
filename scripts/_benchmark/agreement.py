"""How far the numbers of two encoders are apart, and what of it reaches the masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lib.data.phantoms import make_phantom
from lib.imaging.geometry import Frame
from lib.inference.decoder import Embedding, PromptDecoder, prompt_tensors
from lib.networks import AdapterSam, PromptTensors
from lib.prompts.prompt import Prompt


@dataclass(frozen=True)
class Case:
    """An image with prompts on it.

    Attributes:
        image: (1, 3, S, S) float32, normalised.
        prompts: in its pixels.
    """

    image: torch.Tensor
    prompts: tuple[Prompt, ...]


@dataclass(frozen=True)
class Agreement:
    """An encoder against the baseline, over all cases.

    Attributes:
        embedding_max_abs: largest difference of an embedding's value.
        embedding_relative: length of the difference by length of the baseline's embedding
            (Euclidean), the worst image.
        logits_max_abs: largest difference of a mask logit, all four masks of each prompt.
        logits_largest: largest of these logits, for comparison.
        dice_mean: overlap of the masks that a user would see, 1 where they are equal.
        dice_minimum: of the worst prompt.
    """

    embedding_max_abs: float
    embedding_relative: float
    logits_max_abs: float
    logits_largest: float
    dice_mean: float
    dice_minimum: float

    @classmethod
    def of(
        cls,
        values: Sequence[float],
        lengths: Sequence[float],
        logits: Sequence[float],
        sizes: Sequence[float],
        overlaps: Sequence[float],
    ) -> Agreement:
        """The worst cases of all.

        Args:
            values: largest difference of each case's embedding.
            lengths: relative length of each case's difference.
            logits: largest difference of each prompt's logits.
            sizes: largest of each prompt's logits.
            overlaps: Dice of each prompt's masks.
        """
        return cls(
            embedding_max_abs=max(values),
            embedding_relative=max(lengths),
            logits_max_abs=max(logits),
            logits_largest=max(sizes),
            dice_mean=float(np.mean(overlaps)),
            dice_minimum=min(overlaps),
        )


def make_cases(model: AdapterSam, count: int, seed: int) -> list[Case]:
    """Seeded phantoms of the network's image size: a click, a box and three points on each."""
    rng = np.random.default_rng([seed, 2])
    device, size = model.pixel_mean.device, model.config.image_size
    cases = []
    for _ in range(count):
        phantom = make_phantom(rng, size)
        pixels = phantom.image if phantom.image.ndim == 3 else np.stack([phantom.image] * 3, -1)
        tensor = torch.from_numpy(pixels.copy()).to(device).permute(2, 0, 1)[None].float()
        cases.append(Case(model.normalise(tensor), _prompts(rng, phantom.masks[0])))
    return cases


def _prompts(rng: np.random.Generator, mask: NDArray[np.bool_]) -> tuple[Prompt, ...]:
    rows, columns = np.nonzero(mask)
    inside = [(float(columns[n]), float(rows[n])) for n in rng.integers(0, len(rows), 2)]
    others_rows, others_columns = np.nonzero(~mask)
    n = rng.integers(0, len(others_rows))
    outside = (float(others_columns[n]), float(others_rows[n]))
    return (
        Prompt(points=(inside[0],), labels=(1,)),
        Prompt(box=_box(columns, rows)),
        Prompt(points=(*inside, outside), labels=(1, 1, 0)),
    )


def _box(columns: NDArray[np.intp], rows: NDArray[np.intp]) -> tuple[float, float, float, float]:
    low_x, low_y = float(columns.min()), float(rows.min())
    return low_x, low_y, float(columns.max()), float(rows.max())


def compare(
    model: AdapterSam,
    cases: Sequence[Case],
    baseline: Sequence[torch.Tensor],
    other: Sequence[torch.Tensor],
) -> Agreement:
    """Compare embeddings of the same cases, and what the network's decoder makes of them.

    Args:
        model: decodes both.
        cases: the images.
        baseline: of each case, (1, C, h, w).
        other: of each case, from another encoder.
    """
    values, lengths, logits, sizes, overlaps = [], [], [], [], []
    for case, expected, found in zip(cases, baseline, other, strict=True):
        difference = found - expected
        values.append(float(difference.abs().max()))
        lengths.append(float(difference.norm() / expected.norm()))
        for prompt in case.prompts:
            left, right = (_logits(model, prompt, one) for one in (expected, found))
            logits.append(float((left - right).abs().max()))
            sizes.append(float(left.abs().max()))
            overlaps.append(dice(_mask(model, prompt, expected), _mask(model, prompt, found)))
    return Agreement.of(values, lengths, logits, sizes, overlaps)


@torch.inference_mode()
def _logits(model: AdapterSam, prompt: Prompt, embedding: torch.Tensor) -> torch.Tensor:
    size = model.config.image_size
    tensors = prompt_tensors([prompt], Frame(size, size, size))
    device = embedding.device
    moved = (t if t is None else t.to(device) for t in vars(tensors).values())
    return model.decode_all(embedding, PromptTensors(*moved))[0]


def _mask(model: AdapterSam, prompt: Prompt, embedding: torch.Tensor) -> NDArray[np.bool_]:
    """What a user sees: the mask the network rates best, at the image's size."""
    size = model.config.image_size
    decoder = PromptDecoder(model, embedding.device)
    answer = decoder.decode(Embedding(embedding, size, size), [prompt])[0]
    return decoder.enlarge(answer, size, size) > 0


def dice(left: NDArray[np.bool_], right: NDArray[np.bool_]) -> float:
    """Overlap of two masks; 1 where both are empty."""
    total = int(left.sum() + right.sum())
    return 2 * int((left & right).sum()) / total if total else 1.0
