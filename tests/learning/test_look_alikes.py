import numpy as np
import pytest

from lib.learning.look_alikes import LabelledObject, LookAlikes, object_features


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
    return LabelledObject(label, features, float(mask.mean()), image)


def test_features_have_length_one_and_no_common_part():
    features = object_features(embedding(), square(0, 8))
    assert np.linalg.norm(features) == pytest.approx(1)
    assert abs(features[0]) < 0.2
    assert features[3] > 0.9


def test_an_object_of_the_same_kind_is_alike_in_another_image():
    alike = LookAlikes([known(seed=n, image=str(n)) for n in range(3)])
    likeness = alike.likeness(object_features(embedding(9), square(0, 8)), 0.25)
    assert likeness is not None
    assert likeness.label == "disc" and likeness.similarity > 0.9
    other = alike.likeness(object_features(embedding(9), square(8, 16)), 0.25)
    assert other is not None and other.similarity < 0.2


def test_the_nearest_label_is_named():
    alike = LookAlikes([known(), known("rest", 8, 16)])
    likeness = alike.likeness(object_features(embedding(5), square(9, 16)), 0.2)
    assert likeness is not None and likeness.label == "rest"
    assert alike.labels == ("disc", "rest")


@pytest.mark.parametrize("area", [0.1, 0.6])
def test_objects_of_another_size_are_none_of_them(area):
    alike = LookAlikes([known()])
    assert alike.likeness(object_features(embedding(), square(0, 8)), area) is None


def test_nothing_is_alike_where_nothing_is_known():
    assert LookAlikes([]).likeness(object_features(embedding(), square(0, 8)), 0.2) is None


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
