"""Encoding a datastore beforehand, without a server."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.errors import UnavailableError
from lib.imaging.volume import ReadLimits
from lib.inference.decoder import Embedding
from lib.options import AppOptions
from lib.server import precompute as module
from lib.server.infer import Samed2dInferTask
from lib.server.models import ModelSpec, NetworkChoice
from lib.server.precompute import precompute
from lib.server.served_model import ServedModel
from lib.server.volumes import VolumeStore
from tests.support.studies import OBLIQUE, PICTURE, SHAPES

SPEC = ModelSpec("samed2d", "click", "Click.", 2, ("samed2d_t",))
Make = Callable[..., Samed2dInferTask]


class Folder:
    """A datastore of the small study."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get_image_uri(self, image: str) -> str:
        found = [path for path in self.folder.iterdir() if path.name.startswith(image)]
        return str(found[0]) if found else ""


@pytest.fixture
def make(random_weights: Path, tmp_path: Path) -> Make:
    def task(**options: object) -> Samed2dInferTask:
        chosen = AppOptions(
            **{
                "device": "cpu",
                "backend": "torch",
                "precision": "fp32",
                "cache_dir": tmp_path / "cache",
                "encode_ahead": "off",
                **options,
            }
        )
        model = ServedModel(NetworkChoice("samed2d_t", random_weights), chosen)
        return Samed2dInferTask(SPEC, chosen, model, VolumeStore(1 << 30, ReadLimits()))

    return task


def click(task: Samed2dInferTask, study: Path, k: int) -> dict[str, object]:
    path, facts = task({"image": str(study / f"{OBLIQUE}.nii.gz"), "foreground": [[20, 17, k]]})
    Path(path).unlink()
    return facts


def test_every_slice_is_there_for_the_next_process(make: Make, small_study: Path) -> None:
    done = precompute(make(), Folder(small_study), [OBLIQUE, PICTURE])
    slices = SHAPES[OBLIQUE][2] + 1
    assert (done.encoded, done.found, done.failed, done.too_many) == (slices, 0, {}, 0)
    later = make()
    assert all(click(later, small_study, k)["encoded_before"] for k in (0, 6))
    # The settings are part of the name.
    assert not click(make(intensity="bone"), small_study, 0)["encoded_before"]
    again = precompute(make(), Folder(small_study), [OBLIQUE, PICTURE])
    assert (again.encoded, again.found) == (0, slices)


def test_an_image_that_fails_does_not_end_the_others(make: Make, small_study: Path) -> None:
    seen: list[str] = []
    done = precompute(
        make(),
        Folder(small_study),
        ["nobody", PICTURE],
        lambda image, slices, total: seen.append(image) if slices == total else None,
    )
    assert list(done.failed) == ["nobody"]
    assert done.encoded == 1
    assert seen == ["nobody", PICTURE]


def test_an_early_end_keeps_what_was_encoded(make: Make, small_study: Path) -> None:
    def stop(image: str, slices: int, total: int) -> None:
        if slices == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        precompute(make(), Folder(small_study), [OBLIQUE], stop)
    assert precompute(make(), Folder(small_study), [OBLIQUE]).found == 3


def test_a_disk_slower_than_the_network_loses_nothing(
    make: Make, small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib.inference.embedding_store.WAITING", 2)
    monkeypatch.setattr(module, "FLUSH", 2)
    task = make()
    files = task.model.segmenter().embedder.store._files
    write = files.write

    def slow(key: str, embedding: Embedding) -> None:
        time.sleep(0.1)
        write(key, embedding)

    monkeypatch.setattr(files, "write", slow)
    done = precompute(task, Folder(small_study), [OBLIQUE])
    assert precompute(make(), Folder(small_study), [OBLIQUE]).found == done.encoded


@pytest.mark.parametrize("case", ["switched off", "no folder"])
def test_without_a_disk_it_is_an_error(
    make: Make, small_study: Path, tmp_path: Path, case: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    options = (
        {"embedding_disk_mb": 0} if case == "switched off" else {"cache_dir": tmp_path / "file"}
    )
    with pytest.raises(UnavailableError) as caught:
        precompute(make(**options), Folder(small_study), [PICTURE])
    assert "cache_dir" in caught.value.allowed


def test_too_little_room_is_said(
    make: Make, small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make()
    embedder = task.model.segmenter().embedder
    embedder.store._files.max_bytes = 3 * embedder.nbytes
    assert precompute(task, Folder(small_study), [OBLIQUE]).too_many == SHAPES[OBLIQUE][2] - 3
