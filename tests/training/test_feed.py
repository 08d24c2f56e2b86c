"""Batches as a function of seed, epoch and step, whole or divided among processes."""

from __future__ import annotations

import numpy as np
import torch

from lib.training.examples import Example
from lib.training.feed import Feed


class Numbered:
    """Examples whose image and masks follow from what is drawn for them."""

    encoded = False

    def draw(self, rng: np.random.Generator) -> Example:
        count = int(rng.integers(1, 4))
        value = float(rng.random())
        masks = np.zeros((count, 8, 8), dtype=bool)
        masks[:, 2:4, 2:4] = True
        return Example(torch.full((3, 8, 8), value), masks)


def test_the_same_step_gives_the_same_batch() -> None:
    feed = Feed(Numbered(), 4, seed=5)
    first, again, other = feed.batch(2, 7), feed.batch(2, 7), feed.batch(2, 8)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert first.normalised and not first.encoded and first.share == 1.0
    assert len(first.targets) == len(first.image_of) == len(first.rows)
    assert first.image_of.tolist() == sorted(first.image_of.tolist())


def test_processes_divide_a_batch_without_changing_it() -> None:
    whole = Feed(Numbered(), 5, seed=1).batch(1, 3)
    parts = []
    for rank in range(2):
        feed = Feed(Numbered(), 5, seed=1, rank=rank, world=2)
        object.__setattr__(feed, "_share", lambda rows: 1.0)
        parts.append(feed.batch(1, 3))
    assert [len(part.images) for part in parts] == [3, 2]
    assert torch.equal(whole.images[0::2], parts[0].images)
    assert torch.equal(whole.images[1::2], parts[1].images)
    assert sorted(whole.rows) == sorted(parts[0].rows + parts[1].rows)
    assert len(set(whole.rows)) == len(whole.rows)


def test_what_all_rows_share_is_the_same_in_every_process() -> None:
    draws = {
        Feed(Numbered(), 4, seed=9, rank=rank, world=2).rng(1, 2).random() for rank in range(2)
    }
    assert len(draws) == 1
    assert draws != {Feed(Numbered(), 4, seed=9).rng(1, 3).random()}
