"""With the installed weights, because only a trained network finds anything."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import ChainDecoder
from lib.inference.decoder import PromptDecoder
from lib.inference.embedder import SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.segmenter import SliceSegmenter
from lib.inference.view import SliceView
from lib.inference.volume_network import VolumeSlices
from lib.inference.worker import PriorityWorker
from lib.learning.look_alikes import LabelledObject, LookAlikes, centre_of, object_features
from lib.learning.pre_annotate import (
    SEARCHED,
    UNNAMED,
    carry_on,
    network_of,
    recognise,
    searched_slices,
    suggest,
)
from lib.networks import build_model
from lib.networks.backends import TorchEncoder
from lib.training.examples import network_masks
from lib.training.metrics import dice
from tests.support.small_sam import disc

SIZE = 128


@pytest.fixture(scope="module")
def segmenter():
    model = build_model("samed2d_t").eval()
    embedder = SliceEmbedder(model, TorchEncoder(model), EmbeddingStore(1 << 26), "t")
    decoder = PromptDecoder(model, torch.device("cpu"))
    chains = ChainDecoder(decoder, ByteBoundedCache(1 << 20))
    return SliceSegmenter(embedder, decoder, chains, PriorityWorker())


def plane(*discs, seed=0):
    """A noisy slice with bright discs (x, y, radius, grey)."""
    image = np.random.default_rng(seed).normal(60, 6, (SIZE, SIZE)).astype(np.float32)
    for x, y, radius, grey in discs:
        image[disc(x, y, radius, SIZE)] += grey
    return image


def network(segmenter, *planes):
    views = [SliceView(image, "minmax") for image in planes]
    return network_of(segmenter, VolumeSlices(len(views), lambda k: views[k]))


def known(segmenter, image, mask, label):
    embedded = segmenter.embedder.embed(SliceView(image, "minmax")).embedding
    small = network_masks(mask[None], 64)[0]
    features = object_features(embedded.tensor.numpy(), small)
    return LabelledObject(label, features, float(small.mean()), centre_of(small), "example")


@pytest.fixture(scope="module")
def discs(segmenter):
    """What a disc looks like."""
    image = plane((70, 60, 20, 120))
    return LookAlikes([known(segmenter, image, disc(70, 60, 20, SIZE), "disc")])


def test_a_labelled_kind_of_object_is_found_in_another_image(segmenter, discs):
    found = recognise(network(segmenter, plane((62, 66, 22, 120), seed=3)), discs)
    assert found.source == "examples" and found.iou > 0.5
    assert dice(found.masks["disc"][0].unpack(), disc(62, 66, 22, SIZE)) > 0.8


def test_nothing_is_found_where_nothing_is_alike(segmenter, discs):
    found = recognise(network(segmenter, plane((64, 64, 5, 120))), discs)
    assert found.masks == {} and found.iou == 0


def test_in_a_volume_the_best_object_is_carried_on(segmenter, discs):
    planes = [plane((62, 66, 22, grey), seed=k) for k, grey in enumerate((0, 120, 120, 120, 0))]
    found = recognise(network(segmenter, *planes), discs)
    assert {1, 2, 3} <= set(found.masks["disc"])
    assert dice(found.masks["disc"][2].unpack(), disc(62, 66, 22, SIZE)) > 0.8


def test_a_label_is_carried_on_to_the_slices_without_one(segmenter):
    planes = [plane((62, 66, 22, 120), seed=k) for k in range(4)]
    labels = np.zeros((SIZE, SIZE, 4), dtype=np.uint8)
    labels[:, :, 1] = disc(62, 66, 22, SIZE).T * 3
    found = carry_on(network(segmenter, *planes), labels, {3: "disc", 4: "absent"})
    assert found.source == "neighbours"
    assert set(found.masks) == {"disc"}
    assert set(found.masks["disc"]) == {0, 2, 3}, "the labelled slice is not written again"
    assert dice(found.masks["disc"][3].unpack(), disc(62, 66, 22, SIZE)) > 0.8


def test_without_any_label_all_sure_objects_are_shown(segmenter):
    image = plane((40, 40, 18, 120), (90, 90, 18, 120))
    found = suggest(network(segmenter, image))
    assert found.source == "proposals"
    mask = found.masks[UNNAMED][0].unpack()
    assert mask[40, 40] and mask[90, 90]


def test_no_pixel_has_two_labels(segmenter):
    image = plane((70, 60, 20, 120))
    one = known(segmenter, image, disc(70, 60, 20, SIZE), "one")
    # The same features under two names: every object is as much the one as the other.
    both = LookAlikes([one, replace(one, label="two")])
    found = recognise(network(segmenter, plane((62, 66, 22, 120), (90, 30, 18, 120))), both)
    masks = [slices[0].unpack() for slices in found.masks.values()]
    assert masks and (np.sum(masks, axis=0) <= 1).all()


def test_progress_names_all_slices(segmenter, discs):
    seen = []
    recognise(
        network(segmenter, plane(), plane(seed=1)), discs, None, lambda *done: seen.append(done)
    )
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(("count", "searched"), [(1, 1), (SEARCHED, SEARCHED), (300, SEARCHED)])
def test_many_slices_are_searched_evenly(count, searched):
    slices = searched_slices(count)
    assert len(slices) == searched
    assert 0 <= slices[0] and slices[-1] < count
    if searched > 1:
        assert np.ptp(np.diff(slices)) <= 1
