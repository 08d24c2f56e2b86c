"""The spread of answers to nearly the same question."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.errors import PromptError
from lib.imaging.geometry import Frame
from lib.inference.decoder import Embedding, PromptDecoder
from lib.inference.proposals import Candidates, Filter, select
from lib.inference.uncertainty import (
    click_uncertainty,
    closeness,
    jittered,
    object_uncertainty,
    pixel_uncertainty,
    slice_uncertainty,
)
from lib.prompts import Prompt
from tests.support.small_sam import disc, small_sam

SURE = 12.0
CLICK = Prompt(points=((60.0, 50.0),), labels=(1,))


def logits_of(*discs: tuple[int, int, int]) -> np.ndarray:
    masks = [np.where(disc(*d, 64), SURE, -SURE) for d in discs]
    return np.stack(masks).astype(np.float32)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def image(height: int = 100, width: int = 140) -> Embedding:
    values = torch.Generator().manual_seed(0)
    return Embedding(torch.randn(1, 32, 16, 16, generator=values), height, width)


class Shifting(PromptDecoder):
    """Its mask is a disc around the first point, ``follows`` times as far from the middle."""

    follows = 1.0
    trust = 0.9

    def candidate_rows(self, embedding, prompts):  # type: ignore[no-untyped-def]
        rows = []
        for prompt in prompts:
            prompt.validate_for(embedding.height, embedding.width)
            x, y = (v * 64 / embedding.width for v in prompt.points[0])
            x, y = 32 + self.follows * (x - 32), 32 + self.follows * (y - 32)
            lines, columns = np.mgrid[:64, :64] + 0.5
            rows.append(4 * (12 - np.hypot(columns - x, lines - y)))
        logits = np.stack(rows)[:, None].astype(np.float32)
        return logits, np.full((len(rows), 1), self.trust, np.float32)


def shifting(follows: float, trust: float = 0.9) -> Shifting:
    decoder = Shifting(small_sam().eval(), torch.device("cpu"))
    decoder.follows, decoder.trust = follows, trust
    return decoder


def test_pixels_are_unsure_where_answers_differ() -> None:
    doubt = pixel_uncertainty(logits_of((32, 32, 20), (32, 32, 10)))
    assert doubt.dtype == np.float32
    differ = disc(32, 32, 20, 64) & ~disc(32, 32, 10, 64)
    assert doubt[differ].min() > 0.99
    assert doubt[~differ].max() < 0.01


def test_weights_decide_between_answers() -> None:
    logits = logits_of((32, 32, 20), (32, 32, 10))
    one = pixel_uncertainty(logits, np.array([1.0, 0.0], np.float32))
    assert one.max() < 0.01
    none = pixel_uncertainty(logits, np.zeros(2, np.float32))
    assert np.array_equal(none, pixel_uncertainty(logits))


def test_no_number_is_evens() -> None:
    assert pixel_uncertainty(np.full((3, 4, 4), np.nan, np.float32)).tolist() == [[1.0] * 4] * 4
    value = object_uncertainty(np.full((3, 4, 4), np.nan, np.float32), np.full(3, np.nan))
    assert value == 1.0


def test_an_object_is_unsure_by_spread_and_by_trust_whatever_its_size() -> None:
    same = logits_of((32, 32, 20), (32, 32, 20))
    assert object_uncertainty(same, np.array([1.0, 1.0])) == pytest.approx(0.0, abs=1e-3)
    assert object_uncertainty(same, np.array([0.7, 0.5])) == pytest.approx(0.4, abs=1e-3)
    near = object_uncertainty(logits_of((30, 32, 20), (34, 32, 20)), np.ones(2))
    far = object_uncertainty(logits_of((24, 32, 20), (40, 32, 20)), np.ones(2))
    assert 0.02 < near < far < 0.5
    small = object_uncertainty(logits_of((28, 32, 10), (36, 32, 10)), np.ones(2))
    assert small == pytest.approx(far, abs=0.03)


def test_candidates_rated_clearly_lower_hardly_count() -> None:
    weights = closeness(np.array([[0.9, 0.85, 0.4], [0.2, 0.2, 0.0]], np.float32))
    assert weights[0] == pytest.approx([0.9, 0.85 / np.e, 0.0], abs=1e-3)
    assert weights[1] == pytest.approx([0.2, 0.2, 0.0])


def grid_of(logits: np.ndarray, iou: float = 0.9) -> Candidates:
    """Candidates of as many clicks, all in the middle of the image."""
    count = len(logits)
    points = np.column_stack([np.full(count, 32.0) + np.arange(count) * 0.1, np.full(count, 32.0)])
    return Candidates(
        points, points.astype(np.intp), logits[:, None], np.full((count, 1), iou, np.float32)
    )


def test_a_slice_is_as_unsure_as_its_objects() -> None:
    steady = grid_of(logits_of(*[(32, 32, 12)] * 4))
    spread = grid_of(logits_of((32, 32, 12), (36, 32, 12), (32, 37, 12), (28, 30, 12)))
    wanted = Filter(max_overlap=0.1)
    calm, wild = (slice_uncertainty(c, select(c, wanted)) for c in (steady, spread))
    assert calm == pytest.approx(0.1, abs=1e-3)  # 1 - predicted IoU
    assert wild > calm + 0.1
    assert slice_uncertainty(steady, ()) == 0.0


def test_only_clicks_on_an_object_say_something_of_it() -> None:
    logits = logits_of((32, 32, 12), (32, 32, 12), (10, 10, 8))
    points = np.array([[32.0, 32.0], [33.0, 32.0], [10.0, 10.0]])
    iou = np.array([[0.9], [0.9], [0.1]], np.float32)
    candidates = Candidates(points, points.astype(np.intp), logits[:, None], iou)
    (found,) = select(candidates, Filter())
    assert slice_uncertainty(candidates, [found]) == pytest.approx(0.1, abs=1e-3)


def test_a_click_is_unsure_where_the_mask_follows_the_jitter() -> None:
    steady = click_uncertainty(shifting(0.0), image(), CLICK, rng())
    wild = click_uncertainty(shifting(3.0), image(), CLICK, rng())
    for found in (steady, wild):
        assert found.map.shape == (100, 140)
        assert found.map.dtype == np.float32
        assert 0 <= found.map.min() <= found.map.max() <= 1
        assert 0 <= found.value <= 1
    assert wild.map.mean() > 2 * steady.map.mean()
    assert wild.value > steady.value + 0.05
    assert click_uncertainty(shifting(0.0, 0.3), image(), CLICK, rng()).value > steady.value + 0.4


def test_the_map_lies_where_the_edge_is() -> None:
    doubt, _ = click_uncertainty(shifting(0.0), image(128, 128), CLICK, rng())
    rows, columns = np.mgrid[:128, :128] + 0.5
    distance = np.hypot(columns - 64, rows - 64) - 24
    assert doubt[np.abs(distance) < 1].mean() > 0.5
    assert doubt[np.abs(distance) > 6].max() < 0.05


def test_the_same_seed_gives_the_same_map_and_it_is_one_batch() -> None:
    decoder = PromptDecoder(small_sam().eval(), torch.device("cpu"))
    batches = []
    rows = decoder.candidate_rows

    def noted(embedding, prompts):  # type: ignore[no-untyped-def]
        batches.append(len(prompts))
        return rows(embedding, prompts)

    decoder.candidate_rows = noted  # type: ignore[method-assign]
    first = click_uncertainty(decoder, image(), CLICK, rng(), jitters=3)
    second = click_uncertainty(decoder, image(), CLICK, rng(), jitters=3)
    assert batches == [4, 4]
    assert np.array_equal(first.map, second.map)
    assert first.value == second.value


def test_jitter_moves_points_and_boxes_and_stays_on_the_image() -> None:
    frame = Frame(30, 400, 256)
    mask = np.zeros((64, 64), np.float32)
    prompt = Prompt(
        points=((0.0, 0.0), (399.0, 29.0)), labels=(1, 0), box=(390.0, 20.0, 399.0, 29.0), mask=mask
    )
    generator, moved = rng(), []
    for _ in range(50):
        other = jittered(prompt, frame, generator)
        other.validate_for(30, 400)
        assert other.labels == prompt.labels
        assert other.mask is prompt.mask
        assert other.box is not None
        moved.append(other.points[0])
    across, down = np.array(moved).max(axis=0)
    # The same distance in the network's frame is more pixels along the longer side.
    assert across > 3 * down > 0


def test_a_prompt_beside_the_image_is_refused() -> None:
    with pytest.raises(PromptError):
        click_uncertainty(
            shifting(1.0), image(), Prompt(points=((900.0, 3.0),), labels=(1,)), rng()
        )
