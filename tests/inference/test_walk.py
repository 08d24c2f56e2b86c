from __future__ import annotations

import time

import numpy as np
import pytest

from lib.inference.walk import Brake, Cancelled, Path, Reason, Seed, follow
from tests.support.discs import DiscNetwork, disc

DISC = disc(30, 30, 8)


def seed(k, answer=DISC, refused=None):
    return Seed(k, answer, np.zeros(1), refused)


def walk(path, network=None, seconds=60.0):
    network = network or DiscNetwork(20)
    (found,) = follow(network, [path], 0.2, Brake(time.monotonic() + seconds, lambda: False))
    return found


def test_a_path_to_its_end():
    found = walk(Path(seed(3), range(4, 7), Reason.LIMIT))
    assert list(found.steps) == [4, 5, 6]
    assert found.last == 6
    assert found.reason is Reason.LIMIT


def test_a_walk_that_does_not_leave_its_seed():
    assert walk(Path(seed(3), range(3, 3), Reason.EDGE)).last == 3
    nothing = walk(Path(seed(3, disc(0, 0, 0)), range(4, 7), Reason.EDGE))
    assert nothing.reason is Reason.ENDED
    assert not nothing.steps


def test_doubt_counts_unless_the_goal_holds_the_object():
    network = DiscNetwork(20, confidence={5: 0.1})
    assert walk(Path(seed(3), range(4, 7), Reason.EDGE), network).reason is Reason.UNSURE
    with_goal = Path(seed(3), range(4, 7), Reason.SEED, goal=seed(7))
    assert walk(with_goal, network).reason is Reason.SEED
    to_nothing = Path(seed(3), range(4, 7), Reason.SEED, goal=seed(7, disc(0, 0, 0)))
    assert walk(to_nothing, network).reason is Reason.UNSURE


def test_an_empty_answer_ends_every_walk():
    network = DiscNetwork(20, empty=(5,))
    found = walk(Path(seed(3), range(4, 7), Reason.SEED, goal=seed(7)), network)
    assert found.reason is Reason.ENDED
    assert list(found.steps) == [4]


class SlidingNetwork(DiscNetwork):
    """Its masks move to the right by four pixels a slice."""

    def step(self, k, neighbour, reference):
        step = super().step(k, neighbour, reference)
        step.answer.logits[:] = np.roll(step.answer.logits, 4, axis=2)
        return step


def test_a_walk_towards_a_refused_mask_ends_where_it_becomes_that_mask():
    refused = disc(30 + 4 * 6 + 1, 30, 8)
    goal = seed(9, disc(0, 0, 0), refused)
    own = seed(3, disc(30, 30, 8))
    found = walk(Path(own, range(4, 9), Reason.SEED, goal), SlidingNetwork(20))
    assert found.reason is Reason.REFUSED
    assert found.last == 6  # 12 pixels from the seed's, 13 from the refused one


def test_walks_take_turns_and_report_their_slices():
    seen = []
    paths = [Path(seed(5), range(6, 9), Reason.EDGE), Path(seed(5), range(4, 2, -1), Reason.EDGE)]
    network = DiscNetwork(20)
    follow(network, paths, 0.2, Brake(time.monotonic() + 60, lambda: False), seen.append)
    assert seen == network.stepped == [6, 4, 7, 3, 8]


def test_time_and_cancelling():
    assert walk(Path(seed(3), range(4, 7), Reason.EDGE), seconds=-1).reason is Reason.TIME
    brake = Brake(time.monotonic() + 60, lambda: True)
    with pytest.raises(Cancelled):
        follow(DiscNetwork(9), [Path(seed(3), range(4, 7), Reason.EDGE)], 0.2, brake)
