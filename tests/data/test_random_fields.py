from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.random_fields import (
    fractal_field,
    knots_for,
    smooth_field,
    soft_noise,
    spline_basis,
)


@given(length=st.integers(4, 300), scale=st.floats(1.5, 500))
def test_spline_weights_sum_to_one_everywhere(length: int, scale: float) -> None:
    basis = spline_basis(length, knots_for(length, scale))

    assert np.allclose(basis.sum(axis=1), 1.0, atol=1e-5)
    assert basis.min() >= 0.0


def test_spline_of_a_ramp_is_a_ramp() -> None:
    values = spline_basis(50, 13) @ np.arange(13, dtype=np.float32)

    assert np.allclose(np.diff(values), np.diff(values)[0], atol=1e-4)


@pytest.mark.parametrize("draw", [smooth_field, fractal_field])
def test_fields_have_unit_variance(draw) -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([draw(rng, 64, 96, 6.0) for _ in range(40)])

    assert drawn.shape == (40, 64, 96)
    assert drawn.dtype == np.float32
    assert abs(float(drawn.std()) - 1.0) < 0.1


def test_a_larger_scale_is_smoother() -> None:
    rough, smooth = (
        np.abs(np.diff(smooth_field(np.random.default_rng(1), 128, 128, scale))).mean()
        for scale in (4.0, 32.0)
    )

    assert smooth < 0.3 * rough


@pytest.mark.parametrize("softness", [0.0, 0.5, 1.0])
def test_soft_noise_keeps_its_variance_and_correlates(softness: float) -> None:
    noise = soft_noise(np.random.default_rng(2), 256, 256, softness)
    neighbours = float(np.mean(noise[:, 1:] * noise[:, :-1]))

    assert abs(float(noise.std()) - 1.0) < 0.2
    assert neighbours == pytest.approx(0.0, abs=0.03) if softness == 0 else neighbours > 0.2
