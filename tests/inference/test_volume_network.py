"""One step on one slice, with a small network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.errors import PromptError
from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import ChainDecoder
from lib.inference.confidence import grey_values, judge
from lib.inference.decoder import PromptDecoder
from lib.inference.embedder import SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.neighbour import prompt_from
from lib.inference.segmenter import SliceSegmenter
from lib.inference.view import SliceView
from lib.inference.volume_network import Step, VolumeNetwork, VolumeSlices
from lib.inference.worker import Priority, PriorityWorker
from lib.networks.backends import TorchEncoder
from tests.support import golden
from tests.support.discs import click, disc


class WatchedWorker(PriorityWorker):
    """Notes with what priority work comes."""

    def __init__(self):
        super().__init__()
        self.priorities = []

    def run(self, priority, work):
        self.priorities.append(priority)
        return super().run(priority, work)


@pytest.fixture
def worker():
    return WatchedWorker()


@pytest.fixture
def segmenter(worker):
    model = golden.tiny_model()
    embedder = SliceEmbedder(model, TorchEncoder(model), EmbeddingStore(1 << 22), "v1")
    decoder = PromptDecoder(model, torch.device("cpu"))
    chains = ChainDecoder(decoder, ByteBoundedCache(1 << 22))
    return SliceSegmenter(embedder, decoder, chains, worker)


VOLUME = np.random.default_rng(0).integers(0, 1000, (4, 40, 56), dtype=np.int16)
VOLUME[3] = VOLUME[2]


@pytest.fixture
def network(segmenter):
    slices = VolumeSlices(4, lambda k: SliceView(VOLUME[k]))
    steps: ByteBoundedCache[Step] = ByteBoundedCache(1 << 20)
    return VolumeNetwork(segmenter, slices, steps)


def test_a_step_takes_the_most_confident_candidate(network, segmenter):
    neighbour = disc(30, 30, 12)
    reference = network.reference(1, neighbour)
    step = network.step(2, neighbour, reference)
    image = segmenter.embedder.embed(SliceView(VOLUME[2]))
    prompt = prompt_from(neighbour, 40, 56)
    answers = segmenter.decoder.candidates(image.embedding, prompt)
    assert len(answers) > 1
    grey = grey_values(SliceView(VOLUME[2]))
    judged = [judge(a, neighbour, grey, reference) for a in answers]
    best = max(range(len(answers)), key=lambda n: judged[n].confidence)
    np.testing.assert_array_equal(step.answer.logits, answers[best].logits)
    assert step.judgement == judged[best]
    assert step.answer.logits.shape == (1, 64, 64)


def test_the_best_rated_candidate_is_the_answer_of_the_decoder(segmenter):
    image = segmenter.embedder.embed(SliceView(VOLUME[0]))
    answers = segmenter.decoder.candidates(image.embedding, click(20, 20))
    best = max(answers, key=lambda answer: answer.iou)
    decoded = segmenter.decoder.decode(image.embedding, [click(20, 20)])[0]
    np.testing.assert_array_equal(best.logits, decoded.logits)
    with pytest.raises(PromptError):
        segmenter.decoder.candidates(image.embedding, click(99, 20))


def test_a_step_is_remembered_by_content(network, worker):
    neighbour, other = disc(30, 30, 12), disc(31, 30, 12)
    reference = network.reference(1, neighbour)
    first = network.step(2, neighbour, reference)
    count = len(worker.priorities)
    assert network.step(2, neighbour, reference) == first
    assert len(worker.priorities) == count
    # An equal slice elsewhere in the volume shares the answer, under its own number.
    twin = network.step(3, neighbour, reference)
    assert len(worker.priorities) == count
    assert twin == replace(first, k=3)
    network.step(2, other, reference)
    network.step(2, neighbour, reference[::-1])
    assert len(worker.priorities) == count + 2


def test_a_step_of_one_network_is_not_taken_for_that_of_another(network, segmenter, worker):
    """Two versions may share embeddings and differ in their decoders."""
    embedder, decoder, chains = segmenter.embedder, segmenter.decoder, segmenter.chains
    newer = SliceSegmenter(embedder, decoder, chains, worker, "v1-newer")
    assert (segmenter.model_version, newer.model_version) == ("v1", "v1-newer")
    neighbour = disc(30, 30, 12)
    reference = network.reference(1, neighbour)
    network.step(2, neighbour, reference)
    count = len(worker.priorities)
    other = VolumeNetwork(newer, network.slices, network.steps)
    other.step(2, neighbour, reference)
    assert len(worker.priorities) == count + 1  # decoded anew, not encoded


def test_all_work_waits_behind_clicks(network, worker):
    answer = network.prompted(0, click(20, 20))
    network.step(1, disc(30, 30, 12), network.reference(0, answer))
    network.mask(1, answer)
    assert worker.priorities
    assert set(worker.priorities) == {Priority.VOLUME}


def test_what_it_took(network):
    network.prompted(0, click(20, 20))
    network.prompted(0, click(21, 20))
    assert network.spent.encoded == 1
    assert network.spent.encode > 0
    assert network.spent.decode > 0


def test_a_prompt_beyond_the_slice(network):
    with pytest.raises(PromptError):
        network.prompted(0, click(56, 20))


def test_a_slice_is_asked_for_once(segmenter):
    asked = []

    def view(k):
        asked.append(k)
        return SliceView(VOLUME[k])

    network = VolumeNetwork(segmenter, VolumeSlices(4, view), ByteBoundedCache(0))
    network.prompted(1, click(20, 20))
    network.step(1, disc(30, 30, 9), network.reference(1, disc(30, 30, 9)))
    assert asked == [1]
