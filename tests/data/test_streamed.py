"""Images drawn from a data set, one after the other."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.sa_med2d import masks_by_image
from lib.data.shards.opening import is_data_set, open_data_set
from lib.data.shards.stream import Pictures, Position, Shards, stream
from lib.data.stream import Mixture, sample_stream
from lib.data.streamed import StreamedImages
from lib.errors import ImageError
from tests.support.datasets import build_small, pack_small
from tests.support.file_server import serve_files


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_small(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def shards(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_small(dataset, tmp_path_factory.mktemp("shards"))


def test_places(dataset: Path, shards: Path, tmp_path: Path) -> None:
    assert is_data_set(str(dataset)) and is_data_set(str(shards))
    assert not is_data_set(str(tmp_path)) and not is_data_set(str(tmp_path / "absent"))
    assert isinstance(open_data_set(str(shards)), Shards)
    sides = [open_data_set(str(dataset), side).total() for side in ("train", "test", "all")]
    assert sides[0] > 0 and sides[1] > 0 and sides[0] + sides[1] == sides[2]


def test_an_address_with_and_without_the_name_of_the_index(shards: Path) -> None:
    files = {path.name: path.read_bytes() for path in shards.iterdir()}
    with serve_files(**files) as server:
        assert (
            open_data_set(server.url).total() == open_data_set(f"{server.url}/index.json").total()
        )


@pytest.mark.parametrize("packed", [False, True])
def test_goes_on_from_its_position(dataset: Path, shards: Path, packed: bool) -> None:
    source = Shards(shards) if packed else Pictures(dataset)
    rng = np.random.default_rng(0)
    whole = StreamedImages(source, 3)
    for _ in range(33):
        whole.draw(rng, 0.0)
    assert whole.position == Position(0, 33)
    rest = StreamedImages(source, 3, whole.position)
    for _ in range(5):
        expected, found = (drawer.draw(np.random.default_rng(1), 0.0) for drawer in (whole, rest))
        np.testing.assert_array_equal(expected[0], found[0])
        np.testing.assert_array_equal(expected[1], found[1])
    assert rest.position == whole.position


def test_what_cannot_be_used_is_passed_over(dataset: Path, tmp_path: Path) -> None:
    # As in the published images: a mask of another shape beside a good one, and an empty one alone.
    pairs = masks_by_image(dataset)
    one = next(image for image, masks in pairs.items() if len(masks) == 1)
    two = next(image for image, masks in pairs.items() if len(masks) == 2)
    copy = tmp_path / "copy"
    for path in (one, two, *pairs[one], *pairs[two]):
        target = copy / path.relative_to(dataset)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    Image.new("L", (7, 9), 255).save(copy / pairs[two][0].relative_to(dataset))
    with Image.open(one) as image:
        Image.new("L", image.size, 0).save(copy / pairs[one][0].relative_to(dataset))
    told: list[str] = []
    found = stream(Pictures(copy), 0, passed_over=lambda error: told.append(error.got))
    ((first, _), (second, position)) = itertools.islice(found, 2)
    assert first.name == second.name == two.stem and len(first.masks) == 1
    assert position.epoch == 1 and told and all(one.name in text for text in told)
    with pytest.raises(ImageError, match="usable mask"):
        list(itertools.islice(stream(Pictures(copy), 0), 2))


def test_nothing_that_can_be_used_ends(dataset: Path, tmp_path: Path) -> None:
    pairs = masks_by_image(dataset)
    image, masks = next(iter(pairs.items()))
    for path in (image, *masks):
        target = tmp_path / path.relative_to(dataset)
        target.parent.mkdir(parents=True)  # one of each
        target.write_bytes(path.read_bytes() if path == image else b"")
        if path != image:
            break
    with pytest.raises(ImageError, match="can be used"):
        next(stream(Pictures(tmp_path), 0, passed_over=lambda error: None))


def test_mixed_with_phantoms(shards: Path) -> None:
    streamed = StreamedImages(Shards(shards), 0)
    rng = np.random.default_rng(0)
    mixture = Mixture(real_share=0.5, kinds=("microscopy",))
    samples = list(itertools.islice(sample_stream([], mixture, rng, streamed), 40))
    assert all(sample.image.shape == (256, 256, 3) for sample in samples)
    assert 8 < streamed.position.taken < 40
