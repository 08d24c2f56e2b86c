"""The second look at small targets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import ChainDecoder
from lib.inference.decoder import LowRes, PromptDecoder
from lib.inference.embedder import SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.segmenter import SliceSegmenter
from lib.inference.view import SliceView
from lib.inference.worker import PriorityWorker
from lib.inference.zoom import MARGIN, OUTSIDE, SMALL, SMALLEST, crop_around, moved, pasted
from lib.networks.backends import TorchEncoder
from lib.prompts import Prompt
from tests.support import golden

VIEW = SliceView(np.random.default_rng(0).integers(-200, 300, (480, 512)).astype(np.int16))
POINTS = ((200.0, 150.0), (210.0, 160.0), (195.0, 140.0))
START = np.zeros((64, 64), np.float32)


class SmallDiscs(PromptDecoder):
    """Answers with a disc around the first point (or box): ``radius`` image pixels wide.

    Attributes:
        trust: predicted IoU by the width of the image that was looked at.
    """

    radius = 8.0
    trust: dict[int, float]

    def decode(self, embedding, prompts, multimask=True):  # type: ignore[no-untyped-def]
        (prompt,) = prompts
        prompt.validate_for(embedding.height, embedding.width)
        if prompt.points:
            x, y = prompt.points[0]
        else:
            x, y = (prompt.box[0] + prompt.box[2]) / 2, (prompt.box[1] + prompt.box[3]) / 2
        rows, columns = np.mgrid[:64, :64] + 0.5
        distance = np.hypot(columns * embedding.width / 64 - x, rows * embedding.height / 64 - y)
        logits = (self.radius + len(prompt.points) - distance).astype(np.float32)[None]
        iou = self.trust.get(embedding.width, self.trust.get(0, 0.9))
        return [LowRes(logits, iou)]


def make(trust: dict[int, float], radius: float = 8.0) -> SliceSegmenter:
    model = golden.tiny_model()
    decoder = SmallDiscs(model, torch.device("cpu"))
    decoder.trust, decoder.radius = trust, radius
    return SliceSegmenter(
        SliceEmbedder(model, TorchEncoder(model), EmbeddingStore(1 << 24), "v1"),
        decoder,
        ChainDecoder(decoder, ByteBoundedCache(1 << 22)),
        PriorityWorker(),
    )


def points(count: int) -> Prompt:
    return Prompt(points=POINTS[:count], labels=(1,) * count)


def test_a_small_target_is_looked_at_again() -> None:
    segmenter = make({512: 0.5, 0: 0.8})
    result = segmenter.segment(VIEW, points(1), zoom="auto")
    assert result.crop is not None
    x0, y0, x1, y1 = result.crop
    assert x0 < 200 < x1
    assert y0 < 150 < y1
    assert x1 - x0 == y1 - y0 == SMALLEST
    assert result.prediction.iou == 0.8
    mask = result.prediction.mask
    assert mask.shape == (480, 512)
    assert mask[150, 200]
    assert mask.sum() == pytest.approx(np.pi * 9**2, rel=0.2)
    outside = np.ones_like(mask)
    outside[y0:y1, x0:x1] = False
    assert (result.prediction.logits[outside] == OUTSIDE).all()
    assert segmenter.segment(VIEW, points(1)).crop is None


def test_the_mask_never_gets_worse_by_the_networks_own_judgement() -> None:
    for trust, zoomed in (({512: 0.8, 0: 0.79}, False), ({512: 0.8, 0: 0.8}, True)):
        assert (make(trust).segment(VIEW, points(1), zoom="on").crop is not None) is zoomed
    for trust in ({512: float("nan")}, {512: 0.5, 0: float("nan")}):
        assert make(trust).segment(VIEW, points(1), zoom="on").crop is None


def test_later_points_stay_in_the_part_as_long_as_they_lie_in_it() -> None:
    segmenter = make({512: 0.5, 0: 0.8})
    crop = segmenter.segment(VIEW, points(1), zoom="auto").crop
    for count in (2, 3, 1):
        assert segmenter.segment(VIEW, points(count), zoom="auto").crop == crop
    far = Prompt(points=(*POINTS, (400.0, 400.0)), labels=(1, 1, 1, 0))
    assert segmenter.segment(VIEW, far, zoom="auto").crop is None
    # And back again when that point is taken away.
    assert segmenter.segment(VIEW, points(3), zoom="auto").crop == crop


def test_a_box_says_itself_how_large_the_target_is() -> None:
    segmenter = make({512: 0.5, 0: 0.8})
    small = segmenter.segment(VIEW, Prompt(box=(300, 200, 360, 220)), zoom="auto")
    assert small.crop == (270, 150, 390, 270)
    large = Prompt(box=(100, 100, 100 + 2 * SMALL + 1, 220))
    assert segmenter.segment(VIEW, large, zoom="auto").crop is None
    assert segmenter.segment(VIEW, large, zoom="on").crop is not None


def test_a_large_target_is_only_looked_at_again_when_asked_for() -> None:
    segmenter = make({512: 0.5, 0: 0.8}, radius=90.0)
    assert segmenter.segment(VIEW, points(1), zoom="auto").crop is None
    assert segmenter.segment(VIEW, points(1), zoom="on").crop is not None
    huge = make({512: 0.5, 0: 0.8}, radius=300.0)
    assert huge.segment(VIEW, points(1), zoom="on").crop is None


def test_a_small_image_shows_nothing_new() -> None:
    view = SliceView(VIEW.pixels[100:200, 150:260])
    result = make({0: 0.8}).segment(view, Prompt(points=((50, 50),), labels=(1,)), zoom="on")
    assert result.crop is None


def test_the_real_network_gives_the_same_whatever_was_asked_before() -> None:
    model = golden.tiny_model()
    decoder = PromptDecoder(model, torch.device("cpu"))

    def fresh() -> SliceSegmenter:
        return SliceSegmenter(
            SliceEmbedder(model, TorchEncoder(model), EmbeddingStore(1 << 24), "v1"),
            decoder,
            ChainDecoder(decoder, ByteBoundedCache(1 << 22)),
            PriorityWorker(),
        )

    used = fresh()
    for count in (1, 2, 3, 2, 1, 3):
        expected = fresh().segment(VIEW, points(count), zoom="on").prediction.logits
        given_back = used.segment(VIEW, points(count), zoom="on").prediction.logits
        np.testing.assert_array_equal(given_back, expected)


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.tuples(*[st.floats(0, 1)] * 4),
    st.sampled_from([64, 256, 1000]),
)
def test_a_part_lies_on_the_image_and_holds_the_target(
    height: int, width: int, shares: tuple[float, ...], smaller_than: int
) -> None:
    x0, x1 = sorted((shares[0] * width, shares[1] * width))
    y0, y1 = sorted((shares[2] * height, shares[3] * height))
    crop = crop_around((x0, y0, x1, y1), height, width, smaller_than)
    if crop is None:
        return
    left, top, right, bottom = crop
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert left <= x0 + 1
    assert x1 <= right + 1
    assert top <= y0 + 1
    assert y1 <= bottom + 1
    assert right - left >= min(width, SMALLEST, MARGIN * (x1 - x0))


def test_prompts_move_with_the_part_and_back() -> None:
    prompt = Prompt(points=((12.0, 7.0),), labels=(1,), box=(10, 5, 20, 15))
    inside = moved(prompt, (10, 4, 110, 104), START)
    assert inside.points == ((2.0, 3.0),)
    assert inside.box == (0, 1, 10, 11)
    assert inside.mask is START
    whole = pasted(np.ones((2, 3), np.float32), (1, 2, 4, 4), 5, 6)
    assert (whole == 1).sum() == 6
    assert (whole[2:4, 1:4] == 1).all()
    assert replace(prompt).mask is None
