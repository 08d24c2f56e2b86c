"""Images as the network is to see them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.data.pool import LabelledImage
from lib.errors import ImageError
from lib.inference.embedder import prepare_image
from lib.inference.view import SliceView
from lib.training.examples import (
    EncodedExamples,
    FreshExamples,
    by_patient,
    learnable,
    network_masks,
    phantom_example,
    variant,
)
from lib.training.recipe import DEFAULT, PAPER, Recipe
from tests.support.small_sam import disc, disc_cases, disc_image, small_sam

NO_REHEARSAL = replace(DEFAULT, rehearsal=0.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_an_unchanged_image_is_shown_as_the_server_shows_it() -> None:
    model, image = small_sam(), disc_image("a#k0000", "a", 1)
    example = variant(image, model, DEFAULT, rng(), changed=False)
    served = prepare_image(model, SliceView(image.image, model.config.intensity).image8())[0]
    assert torch.equal(example.image, served)
    assert np.array_equal(example.masks, network_masks(image.masks, 256))


def test_a_ct_is_shown_through_the_window_of_its_body_part() -> None:
    model = small_sam()
    image = replace(disc_image("a", "a", 1), modality="CT", body_part="CHEST")
    lung = replace(image, body_part="LUNG")
    first, second = (variant(i, model, DEFAULT, rng(), changed=False).image for i in (image, lung))
    assert not torch.equal(first, second)


def test_a_changed_image_keeps_an_object_and_differs() -> None:
    model, image = small_sam(), disc_image("a", "a", 1)
    plain = variant(image, model, DEFAULT, rng(), changed=False)
    for seed in range(5):
        example = variant(image, model, DEFAULT, rng(seed), changed=True)
        assert example.image.shape == (3, 256, 256) and example.masks.any(axis=(1, 2)).all()
        assert not torch.equal(example.image, plain.image)


def test_an_image_without_an_object_at_this_resolution_is_refused() -> None:
    image = replace(disc_image("a", "a", 1), masks=np.ones((1, 96, 96), dtype=bool))
    with pytest.raises(ImageError, match="too large"):
        variant(image, small_sam(), DEFAULT, rng(), changed=True)


@pytest.mark.parametrize("recipe", [DEFAULT, PAPER], ids=["default", "paper"])
def test_images_whose_objects_vanish_at_this_resolution_are_no_examples(recipe: Recipe) -> None:
    good = disc_image("a", "a", 1)
    lines = np.zeros((1, 512, 512), dtype=bool)
    lines[:, 1::2] = True  # every second row of a large image is not looked at
    fine = replace(good, image=np.zeros((512, 512), np.uint8), masks=lines)
    model = small_sam()
    assert learnable([fine, good, fine], model, recipe) == (good,)
    with pytest.raises(ImageError):
        variant(fine, model, recipe, rng(), changed=False)


def test_the_published_framing_pads_small_images_and_swaps_colours() -> None:
    colour = np.zeros((96, 96, 3), dtype=np.uint8)
    colour[..., 0] = 255
    mask = disc(40, 50, 20, 96)
    image = LabelledImage("a", "a", colour, mask[None], ("disc",))
    example = variant(image, small_sam(), PAPER, rng(), changed=False)
    assert (example.image[:, 0, 0] == 0).all(), "padding is zero after normalisation"
    # Red is last: the channels are those of a file read as blue, green, red.
    assert example.image[2, 128, 128] > example.image[0, 128, 128]
    # Rows are drawn with replacement, as many as the recipe says.
    assert len(example.masks) == PAPER.objects
    assert example.masks[0].sum() == mask.sum()


def test_rows_of_an_image_are_limited_and_drawn_without_replacement() -> None:
    masks = np.stack([disc(x, y, 10, 96) for x in (20, 48, 76) for y in (20, 48, 76)])
    image = replace(disc_image("a", "a", 1), masks=masks, labels=("disc",) * 9)
    example = variant(image, small_sam(), DEFAULT, rng(), changed=False)
    assert len(example.masks) == DEFAULT.objects
    assert len({mask.tobytes() for mask in example.masks}) == DEFAULT.objects


def test_patients_are_drawn_before_images() -> None:
    many = [disc_image(f"a{n}", "a", n) for n in range(20)]
    one = [replace(disc_image("b", "b", 99), image=np.full((96, 96), 7.0, np.float32))]
    source = FreshExamples([*many, *one], small_sam(), replace(NO_REHEARSAL, augment=False))
    flat = [bool(source.draw(rng(n)).image[0].std() < 1e-3) for n in range(40)]
    assert 8 < sum(flat) < 32


def test_phantoms_are_rehearsed_as_often_as_the_recipe_says() -> None:
    model = small_sam()
    image = replace(disc_image("b", "b", 9), image=np.full((96, 96), 7.0, np.float32))
    recipe = replace(DEFAULT, augment=False, rehearsal=0.5)
    source = FreshExamples([image], model, recipe)
    phantoms = [bool(source.draw(rng(n)).image[0].std() > 1e-3) for n in range(30)]
    assert 5 < sum(phantoms) < 25
    example = phantom_example(model, recipe, rng())
    assert example.masks.any(axis=(1, 2)).all()


def test_a_stock_is_encoded_once_and_drawn_from_for_ever() -> None:
    calls = []

    def encode(images: torch.Tensor) -> torch.Tensor:
        calls.append(images)
        return images.mean(dim=(1, 2, 3), keepdim=True).expand(1, 4, 2, 2)

    recipe = replace(DEFAULT, rehearsal=0.3)
    seen: list[tuple[int, int]] = []
    progress = lambda done, total: seen.append((done, total))  # noqa: E731
    model = small_sam()
    stock = EncodedExamples(disc_cases(3), model, recipe, encode, 4, 2, progress)
    assert len(calls) == 3 * 4 + 2 == seen[-1][0] == seen[-1][1]
    drawn = {float(stock.draw(rng(n)).image.sum()) for n in range(200)}
    assert len(calls) == 14 and len(drawn) == 14
    # The same again in the next run: whoever remembers embeddings need not encode.
    again: list[torch.Tensor] = []
    EncodedExamples(
        disc_cases(3), model, recipe, lambda i: (again.append(i), encode(i))[1], 4, 2, progress
    )
    assert all(torch.equal(a, b) for a, b in zip(calls[:14], again, strict=True))


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(ImageError, match="no labelled slice"):
        by_patient([])
