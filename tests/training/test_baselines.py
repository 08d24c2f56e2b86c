import numpy as np
import pytest

from lib.prompts.prompt import Prompt
from lib.training.baselines import (
    RegionGrower,
    ask_without_network,
    ellipse_in_box,
    grown_region,
)
from lib.training.evaluate import Plan, annotate
from lib.training.metrics import dice
from tests.support.small_sam import disc


def picture(*discs, size=64):
    """Grey 60 with discs (x, y, radius, grey)."""
    image = np.full((size, size), 60, dtype=np.uint8)
    for x, y, radius, grey in discs:
        image[disc(x, y, radius, size)] = grey
    return image


def test_the_ellipse_touches_all_sides_of_its_box():
    mask = ellipse_in_box((10, 20, 51, 40), 64, 80)
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max() + 1) == (10, 51)
    assert (rows.min(), rows.max() + 1) == (20, 40)
    assert mask.sum() == pytest.approx(np.pi / 4 * 41 * 20, rel=0.03)


def test_a_disc_is_its_own_ellipse():
    target = disc(30, 30, 15)[:64, :64]
    mask = ellipse_in_box((16, 16, 45, 45), 64, 64)
    assert dice(mask, target) > 0.97


def test_a_box_without_area_is_no_division_by_zero():
    assert not ellipse_in_box((5, 5, 5, 5), 16, 16).any()


def test_a_region_grows_to_its_edge_and_no_further():
    image = picture((20, 20, 10, 200), (45, 45, 8, 200))
    mask = grown_region(image, Prompt(points=((20, 20),), labels=(1,)))
    assert dice(mask, disc(20, 20, 10, 64)) > 0.85
    assert not mask[45, 45], "the same grey value elsewhere is not connected"


def test_a_background_click_takes_its_region_away():
    image = picture((20, 20, 10, 200), (36, 20, 8, 185))
    both = Prompt(points=((20, 20), (40, 20)), labels=(1, 1))
    assert grown_region(image, both)[20, 40]
    one = Prompt(points=((20, 20), (55, 55)), labels=(1, 0))
    mask = grown_region(image, one)
    assert mask[20, 20] and not mask[55, 55]


def test_clicked_pixels_have_their_side():
    flat = np.full((16, 16), 100, dtype=np.uint8)
    mask = grown_region(flat, Prompt(points=((3, 3), (12, 12)), labels=(1, 0)))
    assert mask[3, 3] and not mask[12, 12]


def test_a_box_cuts_the_region_off():
    flat = np.full((32, 32), 100, dtype=np.uint8)
    prompt = Prompt(points=((10, 10),), labels=(1,), box=(5, 5, 15, 20))
    mask = grown_region(flat, prompt)
    assert mask.sum() == 10 * 15


def test_colours_are_grown_by_their_mean():
    image = np.repeat(picture((20, 20, 10, 200))[..., None], 3, axis=2)
    mask = grown_region(image, Prompt(points=((20, 20),), labels=(1,)))
    assert dice(mask, disc(20, 20, 10, 64)) > 0.85


def test_both_answer_the_simulated_user():
    target = disc(20, 20, 10, 64)
    answers = annotate(
        ask_without_network(picture((20, 20, 10, 200))), target, Plan(box=True, clicks=(1, 3))
    )
    assert answers["box"].dice > 0.95, "a disc is an ellipse"
    assert answers["1"].dice > 0.85
    assert answers["3"].dice >= answers["1"].dice - 0.05


def test_a_region_that_is_remembered_is_the_same():
    image = picture((20, 20, 10, 200), (45, 45, 8, 200))
    grower = RegionGrower(image)
    prompts = [Prompt(points=((20, 20), (45, 45)), labels=(1, label)) for label in (1, 0, 1)]
    for prompt in prompts:
        np.testing.assert_array_equal(grower.mask(prompt), grown_region(image, prompt))


def test_what_both_sides_give_goes_to_the_nearest_click():
    flat = np.full((16, 32), 100, dtype=np.uint8)
    mask = grown_region(flat, Prompt(points=((4, 8), (27, 8)), labels=(1, 0)))
    assert mask[:, :15].all() and not mask[:, 17:].any()


def test_nothing_grows_without_a_click():
    flat = np.full((16, 16), 100, dtype=np.uint8)
    assert not grown_region(flat, Prompt(box=(2, 2, 9, 9))).any()
