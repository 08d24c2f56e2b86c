"""The images for 8 bit encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lib.networks.calibration import calibration_images
from tests.support import golden


def test_the_shipped_images_fit_the_encoder_and_differ() -> None:
    images = calibration_images(golden.tiny_model())
    assert len(images) >= 8
    assert all(image.shape == (1, 3, 256, 256) for image in images)
    assert all(image.dtype == np.float32 for image in images)
    # Black is about -2 and white about 2.6 after SAM's normalisation.
    assert min(image.min() for image in images) < -2
    assert max(image.max() for image in images) > 2
    means = [float(image.mean()) for image in images]
    assert len(set(means)) == len(means)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        calibration_images(golden.tiny_model(), tmp_path / "x.npz")
