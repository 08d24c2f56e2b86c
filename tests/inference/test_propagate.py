"""Seeds stay as they are, corrections stay local, and every walk says why it ended."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import PromptError
from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import ChainDecoder
from lib.inference.decoder import PromptDecoder
from lib.inference.embedder import SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.propagate import PropagateSettings, propagate
from lib.inference.segmenter import SliceSegmenter
from lib.inference.view import SliceView
from lib.inference.volume_network import VolumeNetwork, VolumeSlices
from lib.inference.walk import Cancelled, Reason
from lib.inference.worker import PriorityWorker
from lib.networks.backends import TorchEncoder
from lib.prompts import Prompt
from tests.support import golden
from tests.support.discs import DiscNetwork, click, summary


def run(network, prompts, cancelled=lambda: False, **settings):
    return propagate(network, prompts, PropagateSettings(**settings), cancelled)


def stops(result):
    return [(stop.seed, stop.last, str(stop.reason)) for stop in result.stops]


# --- where walks go, and why they end -----------------------------------------------------------


def test_one_click_fills_the_volume():
    result = run(DiscNetwork(7), {3: click()})
    assert list(result.masks) == list(range(7))
    assert result.seeds == (3,)
    assert stops(result) == [(3, 0, "end of volume"), (3, 6, "end of volume")]
    assert result.iou == pytest.approx(0.8)
    assert result.confidence[3] == pytest.approx(0.8)


def test_a_walk_ends_where_the_object_ends():
    result = run(DiscNetwork(9, empty=(7,), confidence={1: 0.19}), {4: click()})
    assert list(result.masks) == [2, 3, 4, 5, 6]
    assert stops(result) == [(4, 2, "confidence"), (4, 6, "object ended")]


def test_the_threshold_is_a_setting():
    network = DiscNetwork(5, confidence={0: 0.1, 4: 0.4})
    assert list(run(network, {2: click()}, threshold=0.5).masks) == [1, 2, 3]
    assert list(run(network, {2: click()}, threshold=0.0).masks) == [0, 1, 2, 3, 4]


def test_limits():
    limited = run(DiscNetwork(20), {10: click()}, first=8, last=11)
    assert list(limited.masks) == [8, 9, 10, 11]
    assert stops(limited) == [(10, 8, "limit"), (10, 11, "limit")]
    near = run(DiscNetwork(20), {1: click()}, max_slices=3)
    assert list(near.masks) == [0, 1, 2, 3, 4]
    assert stops(near) == [(1, 0, "end of volume"), (1, 4, "limit")]
    outside = run(DiscNetwork(20), {15: click()}, first=2, last=4)
    assert list(outside.masks) == list(range(2, 16))


@pytest.mark.parametrize("k", [0, 4])
def test_a_seed_at_the_end_of_the_volume(k):
    result = run(DiscNetwork(5), {k: click()})
    assert list(result.masks) == [0, 1, 2, 3, 4]
    assert (k, k, "end of volume") in stops(result)


def test_a_volume_of_one_slice():
    result = run(DiscNetwork(1), {0: click()})
    assert list(result.masks) == [0]
    assert stops(result) == [(0, 0, "end of volume")] * 2


def test_an_empty_answer_gives_an_empty_volume():
    # The click is cut away again by a background click on the same place.
    prompt = Prompt(
        points=((30, 30), *((x, y) for x in range(20, 42, 2) for y in range(20, 42, 2))),
        labels=(1, *(0,) * 121),
    )
    result = run(DiscNetwork(5), {2: prompt})
    assert not result.masks
    assert stops(result) == [(2, 2, "object ended")] * 2


def test_time_is_up():
    result = run(DiscNetwork(5), {2: click()}, seconds=0)
    assert list(result.masks) == [2]
    assert stops(result) == [(2, 2, "time budget")] * 2


def test_slices_beside_the_seed_come_first():
    network = DiscNetwork(9)
    run(network, {4: click()})
    assert network.stepped == [3, 5, 2, 6, 1, 7, 0, 8]


def test_time_that_is_up_on_the_way_leaves_what_was_done(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def second_passes(k):
        now[0] += 1

    result = run(DiscNetwork(99, at_step=second_passes), {50: click()}, seconds=4)
    assert list(result.masks) == [48, 49, 50, 51, 52]
    assert stops(result) == [(50, 48, "time budget"), (50, 52, "time budget")]


def test_cancelled_before_the_next_slice():
    network = DiscNetwork(99)
    with pytest.raises(Cancelled):
        run(network, {50: click()}, cancelled=lambda: len(network.stepped) == 3)
    assert len(network.stepped) == 3


# --- several prompts ----------------------------------------------------------------------------


def test_between_two_seeds_both_are_blended_and_doubt_ends_no_walk():
    doubts = dict.fromkeys(range(12), 0.01)
    result = run(DiscNetwork(12, confidence=doubts), {2: click(20), 9: click(44)})
    assert list(result.masks) == list(range(2, 10))
    masks = {k: mask.unpack() for k, mask in result.masks.items()}
    for k in (3, 4, 5):  # nearer to the seed below
        np.testing.assert_array_equal(masks[k], masks[2])
    for k in (6, 7, 8):
        np.testing.assert_array_equal(masks[k], masks[9])
    assert stops(result)[1:3] == [(2, 8, "prompted slice"), (9, 3, "prompted slice")]


def test_two_discs_that_differ_are_trusted_less_than_two_that_agree():
    agree = run(DiscNetwork(9, empty=(5,)), {2: click(20), 7: click(20)})
    assert agree.confidence[4] == 1.0
    network = DiscNetwork(9, confidence={4: 0.1})
    differ = run(network, {2: click(20), 7: click(26)}, threshold=0.2)
    assert differ.confidence[4] < 0.1


@given(
    st.lists(st.integers(0, 19), min_size=2, max_size=5, unique=True),
    st.integers(0, 19),
    st.data(),
)
def test_one_more_prompt_changes_nothing_beyond_its_neighbours(slices, added, data):
    places = st.integers(10, 50)
    prompts = {k: click(data.draw(places), data.draw(places)) for k in slices}
    label = data.draw(st.sampled_from([0, 1]))
    if added in prompts:
        return
    more = {**prompts, added: click(data.draw(places), data.draw(places), label)}
    before, after = summary(run(DiscNetwork(20), prompts)), summary(run(DiscNetwork(20), more))
    below = max((k for k in slices if k < added), default=-1)
    above = min((k for k in slices if k > added), default=20)
    for k in range(20):
        if not below < k < above:
            assert before.bits.get(k) == after.bits.get(k), k


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True), st.data())
def test_the_same_prompts_give_the_same_result(slices, data):
    places = st.integers(10, 50)
    prompts = {k: click(data.draw(places), data.draw(places)) for k in slices}
    assert summary(run(DiscNetwork(10), prompts)) == summary(run(DiscNetwork(10), prompts))


def test_background_clicks_are_taken_last_wherever_they_stand():
    prompts = {1: click(30, 24, label=0), 4: click(), 6: click(33)}
    turned = {k: prompts[k] for k in (4, 1, 6)}
    assert summary(run(DiscNetwork(9), prompts)) == summary(run(DiscNetwork(9), turned))


def test_a_refused_slice_ends_the_object():
    result = run(DiscNetwork(10), {4: click(), 7: click(label=0)})
    # The walk gives the seed's own mask everywhere, which is as much the refused one.
    assert list(result.masks) == list(range(7))
    assert (7, 7, "object ended") in stops(result)


def test_a_correction_cuts_something_off_and_is_carried_on():
    result = run(DiscNetwork(10), {4: click(30, 30), 7: click(36, 30, label=0)})
    masks = {k: mask.unpack() for k, mask in result.masks.items()}
    assert masks[4][30, 36]
    assert not masks[7][30, 36]
    assert masks[7][30, 28]
    assert not masks[9][30, 36]


def test_nothing_says_where_the_object_is():
    with pytest.raises(PromptError, match="inside the object"):
        run(DiscNetwork(5), {2: click(label=0)})


# --- with a network -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def segmenter():
    model = golden.tiny_model()
    embedder = SliceEmbedder(model, TorchEncoder(model), EmbeddingStore(1 << 24), "v1")
    decoder = PromptDecoder(model, torch.device("cpu"))
    chains = ChainDecoder(decoder, ByteBoundedCache(1 << 22))
    return SliceSegmenter(embedder, decoder, chains, PriorityWorker())


def network_on(segmenter, volume, steps=1 << 22):
    slices = VolumeSlices(len(volume), lambda k: SliceView(volume[k]))
    return VolumeNetwork(segmenter, slices, ByteBoundedCache(steps))


def moving_square(count=6, height=40, width=56):
    volume = np.random.default_rng(0).normal(0, 20, (count, height, width))
    for k in range(count):
        volume[k, 8 + k : 24 + k, 14 : 34 + k] += 400
    return volume.astype(np.int16)


def test_the_mask_of_a_seed_is_the_answer_of_a_click(segmenter):
    volume = moving_square()
    result = run(network_on(segmenter, volume), {2: click(20, 18)}, threshold=0)
    alone = segmenter.segment(SliceView(volume[2]), click(20, 18))
    assert alone.prediction.mask.any()
    np.testing.assert_array_equal(result.masks[2].unpack(), alone.prediction.mask)
    assert result.iou == pytest.approx(float(np.clip(alone.prediction.iou, 0, 1)))
    assert len(result.masks) > 1
    assert result.masks[2].unpack().shape == (40, 56)


def test_what_was_remembered_changes_nothing(segmenter):
    volume = moving_square()
    remembering = network_on(segmenter, volume)
    first = {2: click(20, 18)}
    more = {**first, 4: click(30, 20)}
    run(remembering, first, threshold=0)
    again = summary(run(remembering, more, threshold=0))
    fresh = summary(run(network_on(segmenter, volume, steps=0), more, threshold=0))
    assert again == fresh


def test_the_result_takes_bits_and_not_floats(segmenter):
    count, side = 24, 512
    volume = np.zeros((count, side, side), dtype=np.int16)
    volume[:, 100:300, 100:300] = 500
    network = network_on(segmenter, volume)
    run(network, {12: click(200, 200)}, threshold=0)  # encodes the one slice there is
    tracemalloc.start()
    result = run(network, {12: click(200, 200)}, threshold=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(result.masks) == count
    assert sum(mask.nbytes for mask in result.masks.values()) <= count * side * side / 8
    # One slice of float32 logits and some copies of it, but not as many as there are slices.
    assert peak < count * side * side * 4 / 2


def test_reasons_are_words_for_people():
    assert str(Reason.TIME) == "time budget"
