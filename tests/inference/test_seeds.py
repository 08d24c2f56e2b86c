"""Which prompt starts anew, and which corrects what was carried to its slice."""

from __future__ import annotations

import time

import pytest

from lib.errors import PromptError
from lib.inference.neighbour import has_object
from lib.inference.seeds import Sower, steps_towards
from lib.inference.walk import Brake, Cancelled
from tests.support.discs import DiscNetwork, click, disc


def sow(network, prompts, cancelled=lambda: False):
    return Sower(network, 0.2, Brake(time.monotonic() + 60, cancelled)).seeds(prompts)


def test_the_first_prompt_stands_alone():
    network = DiscNetwork(9)
    seeds = sow(network, {4: click(30, 30)})
    assert list(seeds) == [4]
    assert network.prompts[4].points == ((30, 30),)
    assert network.prompts[4].mask is None


def test_a_prompt_where_the_object_was_carried_to_corrects_it():
    network = DiscNetwork(9)
    sow(network, {4: click(30, 30), 6: click(40, 30)})
    correction = network.prompts[6]
    assert correction.mask is not None
    assert correction.points == ((30, 30), (40, 30))


def test_a_prompt_beyond_starts_anew_and_may_be_corrected_itself():
    network = DiscNetwork(20, empty=(7,))
    sow(network, {4: click(30, 30), 10: click(40, 40), 12: click(45, 40)})
    assert network.prompts[10].mask is None
    assert network.prompts[12].points == ((40, 40), (45, 40))


def test_what_starts_anew_is_compared_with_the_object_that_was_found_before():
    network = DiscNetwork(30, empty=(7, 13))
    seeds = sow(network, {4: click(30, 30), 10: click(40, 40), 20: click(50, 40)})
    assert [float(seed.reference[0]) for seed in seeds.values()] == [4, 4, 4]


def test_where_nothing_was_found_it_is_compared_with_itself():
    network = DiscNetwork(20, empty=(7,))
    network.prompted = lambda k, prompt: disc(0, 0, 0) if k == 4 else disc(30, 30, 8)
    seeds = sow(network, {4: click(), 10: click(40, 40)})
    assert float(seeds[10].reference[0]) == 10


def test_a_correction_is_compared_with_its_own_slice():
    seeds = sow(DiscNetwork(9), {4: click(30, 30), 6: click(40, 30)})
    assert float(seeds[6].reference[0]) == 6


def test_a_slice_that_only_two_walks_together_reach():
    doubts = {6: 0.1, 8: 0.1}
    network = DiscNetwork(20, confidence=doubts)
    seeds = sow(network, {4: click(30, 30), 10: click(30, 30), 7: click(36, 30, label=0)})
    assert network.prompts[10].mask is None
    assert network.prompts[7].mask is not None
    assert has_object(seeds[7].answer)


def test_a_refused_slice_is_not_asked_of_the_network():
    network = DiscNetwork(9)
    seeds = sow(network, {4: click(30, 30), 6: click(30, 30, label=0)})
    assert 6 not in network.prompts
    assert not has_object(seeds[6].answer)
    assert seeds[6].refused is not None
    assert has_object(seeds[6].refused)


def test_background_where_nothing_was_carried_to():
    seeds = sow(DiscNetwork(9, empty=(6,)), {4: click(), 8: click(label=0)})
    assert not has_object(seeds[8].answer)
    assert seeds[8].refused is None


def test_corrections_do_not_see_each_other():
    alone, together = DiscNetwork(9), DiscNetwork(9)
    sow(alone, {4: click(), 6: click(40, 30)})
    sow(together, {4: click(), 5: click(36, 30), 6: click(40, 30)})
    assert (alone.prompts[6].mask == together.prompts[6].mask).all()
    assert alone.prompts[6].points == together.prompts[6].points


def test_seeds_come_in_order():
    assert list(sow(DiscNetwork(9), {6: click(), 1: click(label=0), 3: click()})) == [1, 3, 6]


@pytest.mark.parametrize("label", [0, 1])
def test_a_prompt_beyond_the_slice(label):
    with pytest.raises(PromptError, match="inside the image"):
        sow(DiscNetwork(9), {4: click(), 6: click(99, 3, label)})


def test_cancelled():
    network = DiscNetwork(9)
    with pytest.raises(Cancelled):
        sow(network, {4: click(), 6: click()}, cancelled=lambda: 4 in network.prompts)
    assert 6 not in network.prompts


def test_steps():
    assert list(steps_towards(3, 6)) == [4, 5, 6]
    assert list(steps_towards(6, 3)) == [5, 4, 3]
    assert list(steps_towards(3, 3)) == []
