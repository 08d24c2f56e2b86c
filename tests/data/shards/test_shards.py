"""Packing, and reading as a stream."""

from __future__ import annotations

import io
import itertools
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.pool import LabelledImage
from lib.data.shards.index import FILE, Index
from lib.data.shards.pack import pack
from lib.data.shards.sample import load
from lib.data.shards.stream import Pictures, Position, Shards, stream
from lib.errors import ImageError, UnavailableError
from scripts.build_dataset import main as build
from scripts.pack_dataset import main
from tests.support.archives import write_archive
from tests.support.file_server import serve_files


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    description = write_archive(folder / "in", cases=4)
    assert build(["--in", str(description), "--out", str(folder / "set"), "--quiet"]) == 0
    return folder / "set"


@pytest.fixture(scope="module")
def shards(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    pack(dataset, folder, 20)
    return folder


def epoch(source: Pictures | Shards, seed: int = 0, **more: int) -> list[LabelledImage]:
    taken = itertools.takewhile(lambda s: s[1].epoch == 0, stream(source, seed, **more))
    return [sample for sample, _ in taken]


def same(a: LabelledImage, b: LabelledImage) -> bool:
    return (
        (a.name, a.patient, a.labels, a.modality) == (b.name, b.patient, b.labels, b.modality)
        and a.image.dtype == b.image.dtype
        and np.array_equal(a.image, b.image)
        and np.array_equal(a.masks, b.masks)
    )


def test_shards_and_pictures_hold_the_same(dataset: Path, shards: Path) -> None:
    packed = {sample.name: sample for sample in epoch(Shards(shards))}
    flat = {sample.name: sample for sample in epoch(Pictures(dataset))}
    assert len(packed) == Shards(shards).index.samples > 100
    assert packed.keys() == flat.keys()
    assert all(same(packed[name], flat[name]) for name in flat)
    patients = json.loads((dataset / "patients.json").read_text())
    assert {sample.patient for sample in packed.values()} == set(patients.values())


@pytest.mark.parametrize("kind", ["shards", "pictures"])
def test_every_sample_once_in_an_order_that_the_seed_decides(
    dataset: Path, shards: Path, kind: str
) -> None:
    source = Shards(shards) if kind == "shards" else Pictures(dataset)
    names = [sample.name for sample in epoch(source)]
    assert len(set(names)) == len(names)
    assert names == [sample.name for sample in epoch(source)]
    other = [sample.name for sample in epoch(source, seed=1)]
    assert sorted(other) == sorted(names) and other != names
    twice = list(itertools.islice(stream(source, 0), 2 * len(names)))
    second = [sample.name for sample, _ in twice[len(names) :]]
    assert sorted(second) == sorted(names) and second != names


@pytest.mark.parametrize("kind", ["shards", "pictures"])
@pytest.mark.parametrize("taken", [1, 19, 20, 79, 80, 81, 130])
def test_goes_on_where_it_was(dataset: Path, shards: Path, kind: str, taken: int) -> None:
    source = Shards(shards) if kind == "shards" else Pictures(dataset)
    whole = [(s.name, position) for s, position in itertools.islice(stream(source, 5), 400)]
    position = whole[taken - 1][1]
    rest = itertools.islice(stream(source, 5, position), 400 - taken)
    assert [(s.name, p) for s, p in rest] == whole[taken:]


def test_shards_before_the_position_are_not_read(shards: Path, monkeypatch) -> None:
    read = []
    original = Shards._read
    monkeypatch.setattr(
        Shards, "_read", lambda self, shard: (read.append(shard), original(self, shard))[1]
    )
    source = Shards(shards, together=2)
    next(stream(source, 0, Position(0, 100)))
    assert len(read) == 2


def test_several_readers_read_everything_once(shards: Path) -> None:
    source = Shards(shards)
    names = [[s.name for s in epoch(source, part=part, parts=3)] for part in range(3)]
    assert sorted(itertools.chain(*names)) == sorted(s.name for s in epoch(source))
    with pytest.raises(ImageError, match="readers"):
        next(stream(source, 0, part=99, parts=100))


def test_nothing_is_decoded_twice(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **k: (opened.append(a), original(*a, **k))[1])
    for count, (sample, _) in enumerate(itertools.islice(stream(Shards(shards), 0), 30), start=1):
        assert len(sample.masks) and len(opened) == 2 * count


def test_over_http(shards: Path) -> None:
    files = {path.name: path.read_bytes() for path in shards.iterdir()}
    with serve_files(**files) as server:
        there = [sample.name for sample in epoch(Shards(server.url))]
    assert there == [sample.name for sample in epoch(Shards(shards))]


def test_tar_alone_reads_a_shard(shards: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "xf", shards / "shard-000000.tar"], cwd=tmp_path, check=True)
    facts = json.loads((tmp_path / "000000000.json").read_text())
    with Image.open(tmp_path / "000000000.png") as image:
        assert image.size == (facts["width"], facts["height"])
    with Image.open(tmp_path / "000000000.masks.png") as masks:
        assert masks.size == (facts["width"], facts["height"] * len(facts["masks"]))


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


def test_interrupted_and_started_again(dataset: Path, shards: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(dataset, tmp_path, 20, progress=stop)
    assert not (tmp_path / FILE).exists()
    first = (tmp_path / "shard-000000.tar").stat().st_ino
    pack(dataset, tmp_path, 20)
    assert (tmp_path / "shard-000000.tar").stat().st_ino == first
    assert tree(tmp_path) == tree(shards)


def test_sides(dataset: Path, tmp_path: Path) -> None:
    train, test = (pack(dataset, tmp_path / side, 50, side).samples for side in ("train", "test"))
    assert train and test and train + test == pack(dataset, tmp_path / "all", 50).samples


def test_what_cannot_be_read_is_left_out_and_listed(dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    pairs = json.loads((copy / "SAMed2D_v1.json").read_text())
    several = next(image for image, masks in pairs.items() if len(masks) > 1)
    (copy / pairs[several][0]).write_bytes(b"")
    others = [image for image in pairs if image != several]
    (copy / others[0]).write_bytes(b"")
    (copy / others[1]).unlink()
    index = pack(copy, tmp_path / "out", 50)
    assert len(index.left_out) == 3 and index.samples == len(pairs) - 2


def test_a_changed_shard_is_refused(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "s")
    path = tmp_path / "s" / "shard-000001.tar"
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ImageError, match="shard-000001"):
        epoch(Shards(tmp_path / "s"))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": 2, "shards": [], "left_out": []}',
        '{"format": 1, "shards": [{"file": "a"}], "left_out": []}',
        '{"format": 1, "shards": [{"file": "../a", "first": 0, "samples": 1, "masks": 1,'
        ' "bytes": 1, "sha256": ""}], "left_out": []}',
    ],
)
def test_damaged_indices(text: str) -> None:
    with pytest.raises(ImageError, match="index"):
        Index.decode(text.encode())


def test_no_shards_there(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"index\.json"):
        Shards(tmp_path)


def test_a_sample_without_its_facts(shards: Path, tmp_path: Path) -> None:
    with tarfile.open(shards / "shard-000000.tar") as tar:
        member = next(m for m in tar if m.name.endswith(".masks.png"))
        data = tar.extractfile(member).read()
    with pytest.raises(ImageError, match="damaged"):
        load({"masks.png": data})
    assert Image.open(io.BytesIO(data)).mode == "1"


def test_the_command(
    dataset: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["--in", str(dataset), "--out", str(out), "--per-shard", "20", "--quiet"]
    assert main(arguments) == 0
    assert tree(out) == tree(shards)
    shutil.rmtree(out)
    assert main([*arguments, "--workers", "2"]) == 0
    assert tree(out) == tree(shards)
    assert "shards, " in capsys.readouterr().out
    assert main(["--in", str(tmp_path), "--out", str(out), "--quiet"]) == 1
