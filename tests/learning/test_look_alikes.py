import numpy as np
import pytest

from lib.learning.look_alikes import (
    MOST_PLACES,
    LabelledObject,
    LookAlikes,
    centre_of,
    object_features,
)


def embedding(seed=0):
    """(1, 8, 4, 4): one kind of place at the upper left, another one elsewhere."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(0, 0.1, (1, 8, 4, 4)).astype(np.float32)
    numbers[0, 0] += 1.0
    numbers[0, 3, :2, :2] += 2.0
    return numbers


def square(first, last, size=16):
    mask = np.zeros((size, size), dtype=bool)
    mask[first:last, first:last] = True
    return mask


def known(label="disc", first=0, last=8, image="a", seed=0):
    mask = square(first, last)
    features = object_features(embedding(seed), mask)
    return LabelledObject(label, features, float(mask.mean()), centre_of(mask), image)


def test_features_have_length_one_and_no_common_part():
    features = object_features(embedding(), square(0, 8))
    assert np.linalg.norm(features) == pytest.approx(1)
    assert abs(features[0]) < 0.2
    assert features[3] > 0.9


def value(alike, mask, seed=9, area=None, centre=None):
    """How alike an object of another image is, and to what."""
    features = object_features(embedding(seed), mask)
    area = float(mask.mean()) if area is None else area
    likeness = alike.likeness(features, area, centre or centre_of(mask))
    return likeness.label, likeness.value


def test_an_object_of_the_same_kind_is_alike_in_another_image():
    alike = LookAlikes([known(seed=n, image=str(n)) for n in range(3)])
    label, likeness = value(alike, square(0, 8))
    assert label == "disc" and likeness > 0.9
    assert value(alike, square(8, 16), centre=(0.25, 0.25))[1] < 0.2, "another kind of place"


def test_the_nearest_label_is_named():
    alike = LookAlikes([known(), known("rest", 8, 16)])
    assert value(alike, square(9, 16), seed=5)[0] == "rest"
    assert alike.labels == ("disc", "rest")


@pytest.mark.parametrize("area", [0.05, 0.9])
def test_another_size_makes_it_less_likely(area):
    alike = LookAlikes([known()])
    assert value(alike, square(0, 8), area=area)[1] < 0.5 * value(alike, square(0, 8))[1]


def test_another_place_makes_it_less_likely():
    alike = LookAlikes([known()])
    near = value(alike, square(0, 8), centre=(0.27, 0.25))[1]
    far = value(alike, square(0, 8), centre=(0.75, 0.25))[1]
    assert near > 0.8 and far < 0.01


def test_nothing_is_alike_where_nothing_is_known():
    alike = LookAlikes([])
    assert alike.likeness(object_features(embedding(), square(0, 8)), 0.2, (0.5, 0.5)) is None
    assert alike.places() == ()


def test_places_are_those_of_labelled_objects_and_not_too_many():
    assert LookAlikes([known()]).places() == (centre_of(square(0, 8)),)
    many = LookAlikes([known(seed=n) for n in range(100)])
    assert len(many.places()) == MOST_PLACES


def test_the_centre_of_a_mask():
    assert centre_of(square(0, 8)) == (0.25, 0.25)
    mask = np.zeros((10, 20), dtype=bool)
    mask[9, 0] = True
    assert centre_of(mask) == (0.025, 0.95)


def test_how_many_there_may_be_is_what_one_image_had():
    alike = LookAlikes([known(image="a"), known(image="b"), known(image="b"), known("x")])
    assert (alike.most("disc"), alike.most("x")) == (2, 1)


def test_an_empty_difference_gives_no_nan():
    features = object_features(np.ones((1, 8, 4, 4), dtype=np.float32), square(0, 8))
    assert not features.any()


def test_broken_weights_give_no_nan():
    numbers = embedding()
    numbers[0, 2, 1, 1] = np.nan
    assert np.isfinite(object_features(numbers, square(0, 8))).all()
