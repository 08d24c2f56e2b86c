"""Two answers for one slice, from the prompted slices on either side of it, made into one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lib.inference.confidence import Judgement, overlap
from lib.inference.decoder import LowRes
from lib.inference.volume_network import Step


def blend(below: Step | None, above: Step | None, low: int, high: int) -> Step | None:
    """Weigh two steps of one slice by their nearness to the seeds they come from.

    Args:
        below: of the walk from slice ``low``, None where it did not come that far.
        above: of the walk from slice ``high``, likewise.
        low: a seed below the slice.
        high: a seed above it.

    Returns:
        A step whose logits are the weighted mean, and whose agreement is lowered where the two
        masks differ; the only step where there is one; None where there is none.
    """
    if below is None or above is None:
        return below or above
    share = (high - below.k) / (high - low)
    logits = share * below.answer.logits + (1 - share) * above.answer.logits
    mine, other = below.judgement, above.judgement
    judgement = Judgement(
        iou=_mix(share, mine.iou, other.iou),
        agreement=_mix(share, mine.agreement, other.agreement)
        * overlap(below.answer, above.answer),
        similarity=_mix(share, mine.similarity, other.similarity),
    )
    answer = LowRes(logits.astype(np.float32), judgement.iou)
    return replace(below, answer=answer, judgement=judgement)


def _mix(share: float, first: float, second: float) -> float:
    return share * first + (1 - share) * second
