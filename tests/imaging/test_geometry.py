import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import ImageError
from lib.imaging.geometry import Frame, PadFrame, resize_image

sides = st.integers(1, 2000)
seeds = st.integers(0, 2**32 - 1)


@given(sides, sides, st.sampled_from([64, 256, 1024]), seeds)
def test_frame_points_and_boxes_come_back(height, width, size, seed):
    frame = Frame(height, width, size)
    extent = np.array([width, height, width, height])
    boxes = np.random.default_rng(seed).random((5, 4)) * extent
    np.testing.assert_allclose(frame.to_image(frame.to_network(boxes)), boxes, atol=1e-9)
    points = boxes[:, :2]
    np.testing.assert_allclose(frame.to_image(frame.to_network(points)), points, atol=1e-9)
    np.testing.assert_array_equal(frame.to_network(boxes)[:, :2], frame.to_network(points))


@given(sides, sides)
def test_frame_corners_map_to_corners(height, width):
    corners = Frame(height, width).to_network([[0, 0], [width, height]])
    np.testing.assert_allclose(corners, [[0, 0], [256, 256]], atol=1e-9)


def test_frame_scales_x_by_width_and_y_by_height():
    np.testing.assert_allclose(Frame(512, 128).to_network([[64, 64]]), [[128, 32]])


@pytest.mark.parametrize("frame", [Frame, PadFrame])
def test_frames_refuse_empty_images_and_odd_points(frame):
    with pytest.raises(ImageError):
        frame(0, 10)
    with pytest.raises(ValueError, match="shape"):
        frame(10, 10).to_network([[1, 2, 3]])


@given(st.integers(1, 400), st.integers(1, 400), seeds)
def test_padframe_points_come_back_and_lie_inside(height, width, seed):
    frame = PadFrame(height, width)
    boxes = np.random.default_rng(seed).random((5, 4)) * [width, height, width, height]
    framed = frame.to_network(boxes)
    assert framed.min() >= 0
    assert framed.max() <= 256
    np.testing.assert_allclose(frame.to_image(framed), boxes, atol=1e-9)


@given(st.integers(1, 255), st.integers(1, 255), seeds)
def test_padframe_pads_small_images_around_their_centre(height, width, seed):
    image = np.random.default_rng(seed).random((height, width, 3)) + 1
    frame = PadFrame(height, width)
    framed = frame.fit(image)
    assert framed.shape == (256, 256, 3)
    assert (frame.top, frame.left) == ((256 - height) // 2, (256 - width) // 2)
    np.testing.assert_array_equal(frame.crop(framed), image)
    assert np.count_nonzero(framed) == image.size
    # A pixel is found where its coordinates say.
    x, y = frame.to_network([[width - 1, height - 1]])[0].astype(int)
    np.testing.assert_array_equal(framed[y, x], image[-1, -1])


@pytest.mark.parametrize("shape", [(256, 256), (300, 100), (100, 256), (300, 400)])
def test_padframe_stretches_all_others(shape):
    image = np.random.default_rng(0).integers(0, 255, shape)
    frame = PadFrame(*shape)
    assert not frame.pads
    np.testing.assert_array_equal(frame.fit(image), resize_image(image, 256, "nearest"))
    with pytest.raises(ValueError, match="padding"):
        frame.crop(image)


def test_padframe_refuses_another_image():
    with pytest.raises(ValueError, match="frame for"):
        PadFrame(10, 20).fit(np.zeros((20, 10)))


@given(st.integers(1, 600), st.integers(1, 600), st.sampled_from([7, 64, 256]))
def test_nearest_takes_pixel_floor_i_h_over_size(height, width, size):
    image = np.arange(height)[:, None] * 1000 + np.arange(width)
    resized = resize_image(image, size, "nearest")
    rows = [i * height // size for i in range(size)]
    columns = [j * width // size for j in range(size)]
    np.testing.assert_array_equal(resized, np.add.outer(np.array(rows) * 1000, columns))


@pytest.mark.parametrize("mode", ["area", "nearest"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, float])
@pytest.mark.parametrize("shape", [(512, 512), (300, 100, 3), (90, 120), (1, 1), (256, 256)])
def test_constants_stay_constant_and_keep_their_type(mode, dtype, shape):
    resized = resize_image(np.full(shape, 117, dtype), 256, mode)
    assert resized.dtype == dtype
    assert resized.shape == (256, 256, *shape[2:])
    np.testing.assert_allclose(resized, 117, rtol=1e-6)


@given(st.integers(64, 300), st.integers(64, 300), seeds)
def test_area_keeps_the_mean_when_it_shrinks(height, width, seed):
    image = np.random.default_rng(seed).random((height, width))
    assert resize_image(image, 64).mean() == pytest.approx(image.mean(), rel=1e-5)


def test_area_averages_whole_blocks():
    image = np.random.default_rng(0).integers(-1000, 1000, (512, 1024)).astype(np.float32)
    blocks = image.reshape(256, 2, 256, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(resize_image(image, 256), blocks, atol=1e-3)


def test_area_splits_a_pixel_between_two():
    # 3 -> 2: each result covers one pixel and a half.
    image = np.tile([0.0, 30.0, 90.0], (3, 1))
    np.testing.assert_allclose(resize_image(image, 2), np.tile([10.0, 70.0], (2, 1)))


def test_area_removes_a_pattern_that_nearest_would_alias():
    stripes = np.tile(np.array([0, 200], np.uint8), (512, 256))
    assert set(np.unique(resize_image(stripes, 256, "area"))) == {100}
    assert set(np.unique(resize_image(stripes, 256, "nearest"))) == {0}


def test_growing_is_linear_between_pixel_centres():
    ramp = np.tile(np.arange(4, dtype=float), (4, 1))
    resized = resize_image(ramp, 8)
    np.testing.assert_allclose(resized[0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])


def test_one_axis_may_shrink_while_the_other_grows():
    image = np.random.default_rng(1).random((400, 100))
    resized = resize_image(image, 200)
    np.testing.assert_allclose(resized.mean(axis=0)[[0, -1]], image.mean(axis=0)[[0, -1]])
    assert image.min() <= resized.min() <= resized.max() <= image.max()


@given(st.integers(1, 300), st.integers(1, 300), seeds)
def test_resizing_never_leaves_the_range_and_never_changes_its_input(height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    before = image.copy()
    for mode in ("area", "nearest"):
        resized = resize_image(image, 128, mode)
        assert image.min() <= resized.min()
        assert resized.max() <= image.max()
        resized[:] = 0
    np.testing.assert_array_equal(image, before)


def test_resize_refuses_what_is_no_image():
    with pytest.raises(ValueError, match="mode"):
        resize_image(np.zeros((4, 4)), 8, "cubic")
    with pytest.raises(ValueError, match="shape"):
        resize_image(np.zeros(4), 8)
    with pytest.raises(ImageError):
        resize_image(np.zeros((0, 4)), 8)
