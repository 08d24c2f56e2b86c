"""Several clicks in one request are answered as if they had come one by one."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import ChainDecoder, replay_order, stage_counts, stages
from lib.inference.decoder import LowRes, PromptDecoder
from lib.inference.embedder import Embedded, SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.view import SliceView
from lib.networks.backends import TorchEncoder
from lib.prompts import Prompt
from tests.support import golden

POINTS = ((20, 30), (60, 50), (70, 20))
LABELS = (1, 0, 1)
LIST = Prompt(points=POINTS, labels=LABELS)
START = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)


class CountingDecoder(PromptDecoder):
    """Counts the decodes."""

    count = 0

    def decode(self, *args: object, **kwargs: object) -> list[LowRes]:
        self.count += 1
        return super().decode(*args, **kwargs)


@pytest.fixture(scope="module")
def image() -> Embedded:
    model = golden.tiny_model()
    embedder = SliceEmbedder(model, TorchEncoder(model), EmbeddingStore(1 << 20), "v1")
    return embedder.embed(SliceView(golden.load("samed2d_tiny_io.npz")["image"]))


@pytest.fixture
def decoder() -> CountingDecoder:
    return CountingDecoder(golden.tiny_model(), torch.device("cpu"))


def chain_of(decoder: PromptDecoder, nbytes: int = 1 << 20) -> ChainDecoder:
    return ChainDecoder(decoder, ByteBoundedCache(nbytes))


def first(prompt: Prompt, count: int) -> Prompt:
    return replace(prompt, points=prompt.points[:count], labels=prompt.labels[:count])


def test_a_list_of_points_equals_click_by_click(image: Embedded, decoder: CountingDecoder) -> None:
    answer = decoder.decode(image.embedding, [first(LIST, 1)])[0]
    for n in (2, 3):
        given = replace(first(LIST, n), mask=answer.logits)
        answer = decoder.decode(image.embedding, [given])[0]
    chain = chain_of(decoder).answer(image, LIST)
    np.testing.assert_array_equal(chain.logits, answer.logits)
    at_once = decoder.decode(image.embedding, [LIST])[0]
    assert not np.array_equal(chain.logits, at_once.logits)


def test_one_more_click_costs_one_decode_and_one_less_none(
    image: Embedded, decoder: CountingDecoder
) -> None:
    chain = chain_of(decoder)
    answers = []
    for count in (1, 2, 3):
        answers.append(chain.answer(image, first(LIST, count)))
        assert decoder.count == count
    for count in (2, 1, 3, 1, 2):  # undo and redo
        again = chain.answer(image, first(LIST, count))
        np.testing.assert_array_equal(again.logits, answers[count - 1].logits)
    assert decoder.count == 3


def test_nothing_depends_on_what_was_remembered(image: Embedded, decoder: CountingDecoder) -> None:
    remembering, forgetting = chain_of(decoder), chain_of(decoder, nbytes=0)
    for points in itertools.permutations(POINTS):
        prompt = Prompt(points=points, labels=(1, 1, 0))
        for count in (1, 3, 2):
            np.testing.assert_array_equal(
                remembering.answer(image, first(prompt, count)).logits,
                forgetting.answer(image, first(prompt, count)).logits,
            )


def test_whatever_differs_is_told_apart(image: Embedded, decoder: CountingDecoder) -> None:
    chain = chain_of(decoder)
    one = first(LIST, 1)
    other_image = replace(image, key="another")
    for asked in (
        (image, one),
        (other_image, one),
        (image, replace(one, labels=(0,))),
        (image, replace(one, points=((20, 31),))),
        (image, replace(one, box=(1, 2, 30, 40), points=(), labels=())),
        (image, replace(one, box=(1, 2, 30, 41), points=(), labels=())),
        (image, replace(one, mask=START)),
        (image, replace(one, mask=1 - START)),
        (image, one, False),
    ):
        before = decoder.count
        chain.answer(*asked)
        assert decoder.count == before + 1


def test_background_is_replayed_behind_the_first_foreground_point() -> None:
    assert replay_order((1, 1, 1, 0, 0)) == [0, 3, 4, 1, 2]
    assert replay_order((0, 1, 0, 1)) == [1, 0, 2, 3]
    assert replay_order((0, 0)) == [0, 1]
    assert replay_order(()) == []
    asked = Prompt(points=((1, 1), (2, 2), (3, 3)), labels=(1, 1, 0))
    last = stages(asked)[-1]
    assert last.points == ((1, 1), (3, 3), (2, 2)) and last.labels == (1, 0, 1)
    assert asked.points[1] == (2, 2)


def test_a_click_costs_one_decode_and_one_for_each_foreground_point_behind_it(
    image: Embedded, decoder: CountingDecoder
) -> None:
    chain = chain_of(decoder)
    clicked = ((20, 30, 1), (60, 50, 1), (70, 20, 1), (10, 10, 0))
    costs = []
    for count in (1, 2, 3, 4):
        *points, labels = zip(*clicked[:count], strict=True)
        before = decoder.count
        chain.answer(image, Prompt(points=tuple(zip(*points, strict=True)), labels=labels))
        costs.append(decoder.count - before)
    assert costs == [1, 1, 1, 3]


def test_a_mask_is_where_the_chain_starts() -> None:
    chain = stages(replace(LIST, mask=START))
    assert [len(stage.points) for stage in chain] == [1, 2, 3]
    assert [stage.mask is None for stage in chain] == [False, True, True]
    assert len(stages(Prompt(mask=START))) == 1


def test_the_box_comes_before_the_points() -> None:
    chain = stages(replace(LIST, box=(1, 2, 30, 40)))
    assert [len(stage.points) for stage in chain] == [0, 1, 2, 3]
    assert all(stage.box == (1, 2, 30, 40) for stage in chain)


def test_the_stages_of_a_list_are_those_of_its_beginning_and_one_more() -> None:
    assert stage_counts(3, 1) == [1, 2, 3]
    assert stage_counts(13, 1) == [1, 2, 3, 4, 5, 6, 7, 8, 12, 13]
    assert stage_counts(64, 0)[-6:] == [12, 16, 24, 32, 48, 64]
    for count in range(1, 1001):
        shorter, counts = stage_counts(count - 1, 0), stage_counts(count, 0)
        assert counts[-1] == count
        assert set(counts[:-1]) <= set(range(9)) | {12 << n for n in range(8)} | {
            16 << n for n in range(8)
        }
        # Every fixed stage of the shorter list stays one.
        assert counts[: len(shorter) - 1] == shorter[:-1]
        assert len(counts) <= 24
