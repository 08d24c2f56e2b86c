from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from lib.data.anatomy import (
    ABDOMEN_LABELS,
    BRAIN_LABELS,
    PhantomVolume,
    make_abdomen_ct,
    make_brain_mr,
)
from lib.errors import OptionError

Maker = Callable[..., PhantomVolume]
SMALL = {"shape": (112, 88, 6), "spacing": (3.0, 3.0, 18.0)}
SMALL_HEAD = {"shape": (88, 104, 6), "spacing": (2.0, 2.0, 14.0)}


@pytest.fixture(scope="module")
def ct() -> PhantomVolume:
    return make_abdomen_ct(np.random.default_rng(5))


@pytest.fixture(scope="module")
def mr() -> PhantomVolume:
    return make_brain_mr(np.random.default_rng(5))


@pytest.mark.parametrize(
    ("volume", "names"), [("ct", ABDOMEN_LABELS), ("mr", BRAIN_LABELS)], ids=["ct", "mr"]
)
def test_all_labels_are_there(
    volume: str, names: dict[int, str], request: pytest.FixtureRequest
) -> None:
    made: PhantomVolume = request.getfixturevalue(volume)

    assert made.array.dtype == np.int16
    assert made.labels.dtype == np.uint8
    assert made.array.shape == made.labels.shape
    assert dict(made.names) == dict(names)
    assert set(np.unique(made.labels)) == {0, *names}


@pytest.mark.parametrize("volume", ["ct", "mr"])
def test_most_slices_of_an_organ_can_be_clicked(
    volume: str, request: pytest.FixtureRequest
) -> None:
    made: PhantomVolume = request.getfixturevalue(volume)
    for value, name in made.names.items():
        good = []
        for k in range(made.labels.shape[2]):
            mask = made.labels[:, :, k] == value
            if mask.sum() < 40:
                continue
            numbered, _ = ndimage.label(mask)
            largest = np.bincount(numbered.ravel())[1:].max()
            middle = tuple(np.rint(ndimage.center_of_mass(mask)).astype(int))
            good.append(largest > 0.8 * mask.sum() and mask[middle])
        assert len(good) >= 2, name
        assert np.mean(good) > 0.6, name


def test_ct_tissues_have_the_densities_of_ct(ct: PhantomVolume) -> None:
    def mean(name: str) -> float:
        (value,) = [v for v, n in ct.names.items() if n == name]
        return float(ct.array[ct.labels == value].mean())

    assert float(ct.array[0, 0].mean()) < -950
    assert 95 < mean("liver") < 120
    assert mean("liver lesion 1") < mean("liver") - 25
    assert mean("left kidney") > mean("spleen") > mean("liver")
    assert mean("gallbladder") < 25
    assert ct.array.max() > 400
    assert ct.array.min() >= -1024


def test_sections_change_along_the_body(ct: PhantomVolume) -> None:
    area = (ct.labels == 1).sum(axis=(0, 1))

    assert area.max() > 3 * max(1, area.min())
    assert len(np.unique(area)) > 12


def test_ct_noise_is_correlated_between_neighbours(ct: PhantomVolume) -> None:
    liver = ct.array[:, :, 14].astype(float)
    flat = ndimage.binary_erosion(ct.labels[:, :, 14] == 1, iterations=6)
    noise = np.where(flat, liver - ndimage.gaussian_filter(liver, 4), 0)
    pairs = flat[1:] & flat[:-1]
    correlation = np.mean((noise[1:] * noise[:-1])[pairs]) / np.var(noise[flat])

    assert noise[flat].std() > 4
    assert correlation > 0.15


def test_mr_is_t1_like(mr: PhantomVolume) -> None:
    def mean(value: int) -> float:
        return float(mr.array[mr.labels == value].mean())

    assert mr.array.min() >= 0
    assert mean(1) < 0.4 * mean(5)
    assert mean(3) > mean(4)


def test_axes_run_left_back_up(ct: PhantomVolume) -> None:
    middle = {
        name: np.asarray(ndimage.center_of_mass(ct.labels == value))
        for value, name in ct.names.items()
    }
    right, left = (ct.affine[:3, :3] @ middle[n] for n in ("right kidney", "left kidney"))

    assert middle["liver"][0] < middle["spleen"][0]
    assert middle["vertebra"][1] > middle["stomach"][1]
    assert right[0] > left[0]
    assert np.allclose(np.abs(np.diag(ct.affine)[:3]), ct.spacing)
    centre = ct.affine @ np.append((np.asarray(ct.array.shape) - 1) / 2, 1)
    assert np.allclose(centre[:3], 0)


@pytest.mark.parametrize(("make", "grid"), [(make_abdomen_ct, SMALL), (make_brain_mr, SMALL_HEAD)])
def test_seed_decides_everything(make: Maker, grid: dict[str, object]) -> None:
    first, again, other = (make(np.random.default_rng(s), **grid) for s in (1, 1, 2))

    assert np.array_equal(first.array, again.array)
    assert np.array_equal(first.labels, again.labels)
    assert (first.labels != other.labels).mean() > 0.01
    assert first.array.shape == grid["shape"]


@pytest.mark.parametrize("make", [make_abdomen_ct, make_brain_mr])
@pytest.mark.parametrize(
    "grid",
    [
        {"shape": (32, 176, 24)},
        {"shape": (224, 176, 0)},
        {"shape": (224, 4096, 4)},
        {"spacing": (1.0, 0.0, 5.0)},
        {"spacing": (1.0, float("nan"), 5.0)},
        {"spacing": (1.0, 1.0)},
    ],
    ids=["small", "no slices", "huge", "zero", "nan", "two"],
)
def test_a_grid_out_of_range_is_refused(make: Maker, grid: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="Allowed"):
        make(np.random.default_rng(0), **grid)
