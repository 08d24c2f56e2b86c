"""One network shared by many requests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from lib.errors import PromptError
from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import ChainDecoder
from lib.inference.decoder import PromptDecoder
from lib.inference.embedder import SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.segmenter import SliceSegmenter
from lib.inference.view import SliceView
from lib.inference.worker import PriorityWorker
from lib.networks.backends import TorchEncoder
from lib.prompts import Prompt
from tests.support import golden


def make_segmenter(cache: EmbeddingStore | None = None, version: str = "v1") -> SliceSegmenter:
    cache = EmbeddingStore(1 << 20) if cache is None else cache
    model = golden.tiny_model()
    embedder = SliceEmbedder(model, TorchEncoder(model), cache, version)
    decoder = PromptDecoder(model, torch.device("cpu"))
    chains = ChainDecoder(decoder, ByteBoundedCache(1 << 20))
    return SliceSegmenter(embedder, decoder, chains, PriorityWorker())


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 1000, (40 + i, 50), dtype=np.int16) for i in range(count)]


CLICK = Prompt(points=((20, 30),), labels=(1,))


def test_the_second_click_on_an_image_is_not_encoded_again() -> None:
    segmenter, image = make_segmenter(), images(1)[0]
    first, second = (
        segmenter.segment(SliceView(image), CLICK),
        segmenter.segment(SliceView(image.copy()), CLICK),
    )
    assert (first.cached, second.cached) == (False, True)
    np.testing.assert_array_equal(first.prediction.logits, second.prediction.logits)


def test_intensity_and_version_tell_embeddings_apart() -> None:
    cache = EmbeddingStore(1 << 20)
    image = images(1)[0]
    assert not make_segmenter(cache).segment(SliceView(image), CLICK).cached
    assert not make_segmenter(cache).segment(SliceView(image, "bone"), CLICK).cached
    assert not make_segmenter(cache, "v2").segment(SliceView(image), CLICK).cached
    assert make_segmenter(cache).segment(SliceView(image), CLICK).cached


def test_interleaved_users_get_their_own_answers() -> None:
    segmenter = make_segmenter()
    pictures = images(4)
    alone = [make_segmenter().segment(SliceView(p), CLICK).prediction.logits for p in pictures]
    with ThreadPoolExecutor(4) as pool:
        order = [i % 4 for i in range(24)]
        answers = list(pool.map(lambda i: segmenter.segment(SliceView(pictures[i]), CLICK), order))
    for index, answer in zip(order, answers, strict=True):
        np.testing.assert_array_equal(answer.prediction.logits, alone[index])


def test_a_bad_prompt_is_refused_before_the_image_is_encoded() -> None:
    cache = EmbeddingStore(1 << 20)
    with pytest.raises(PromptError):
        make_segmenter(cache).segment(
            SliceView(images(1)[0]), Prompt(points=((99, 1),), labels=(1,))
        )
    assert len(cache) == 0


def test_timings_are_reported() -> None:
    timings = make_segmenter().segment(SliceView(images(1)[0]), CLICK).timings
    assert min(timings.prepare, timings.encode, timings.decode) > 0
