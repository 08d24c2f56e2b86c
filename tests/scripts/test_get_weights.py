"""scripts/get_weights.py, with a network small enough to make here and a server on the loopback."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lib.networks import (
    ARCHITECTURES,
    ARCHITECTURES3D,
    build_sam,
    build_sam3d,
    load_checkpoint,
)
from lib.networks.checkpoint import sha256_of
from lib.networks.published import PUBLISHED, PublishedWeights
from scripts import _command, _fetching, get_weights
from tests.support import golden
from tests.support.file_server import FileServer, serve_files
from tests.support.small_sam3d import SMALL3D

SCRIPT = Path(get_weights.__file__)


@pytest.fixture(scope="module")
def vanilla() -> bytes:
    """A SAM file for images of four times the size, without adapters."""
    model = build_sam(replace(golden.TINY, image_size=1024))
    file = io.BytesIO()
    torch.save({n: t for n, t in model.state_dict().items() if ".Adapter." not in n}, file)
    return file.getvalue()


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    """A file in the layout that SAM-Med2D was published in."""
    model = build_sam(golden.TINY)
    optimiser = torch.optim.Adam(model.mask_decoder.parameters(), lr=1e-4)
    path = tmp_path / "own file.pth"
    torch.save({"model": model.state_dict(), "optimizer": optimiser}, path)
    return path


@pytest.fixture
def server(vanilla: bytes) -> Iterator[FileServer]:
    with serve_files(**{"tiny.pth": vanilla}) as served:
        yield served


@pytest.fixture
def run(
    server: FileServer, vanilla: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """The command with a small network and weights for it, installing into ``tmp_path/weights``."""
    (tmp_path / "copy.pth").write_bytes(vanilla)
    weights = PublishedWeights(
        name="tiny_sam",
        filename="tiny.pth",
        architecture="tiny",
        url=f"{server.url}/tiny.pth",
        sha256=sha256_of(tmp_path / "copy.pth"),
        size=len(vanilla),
        by_script=True,
        about="made by a test",
    )
    monkeypatch.setitem(ARCHITECTURES, "tiny", golden.TINY)
    monkeypatch.setitem(PUBLISHED, "tiny_sam", weights)
    monkeypatch.setattr("lib.networks.download.time.sleep", lambda _: None)
    return lambda *arguments: get_weights.main([*arguments, "--dest", str(tmp_path / "weights")])


def installed_in(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.glob("weights/*"))


def test_fetch(run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tiny_sam") == 0
    assert installed_in(tmp_path) == ["tiny.safetensors"]  # the download itself is gone
    load_checkpoint(build_sam(golden.TINY), tmp_path / "weights" / "tiny.safetensors")
    said = capsys.readouterr().out
    assert "SHA-256 verified" in said
    assert "resampled: image_encoder." in said
    assert "adapters" in said


def test_download_of_the_user_is_kept(
    run: Callable[..., int], tmp_path: Path, server: FileServer, vanilla: bytes
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "tiny.pth").write_bytes(vanilla)
    assert run("tiny_sam") == 0
    assert installed_in(tmp_path) == ["tiny.pth", "tiny.safetensors"]
    assert server.requested == []


def test_fetch_goes_on_where_it_was_interrupted(
    run: Callable[..., int], tmp_path: Path, server: FileServer, vanilla: bytes
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "tiny.pth.part").write_bytes(vanilla[:5000])
    assert run("tiny_sam") == 0
    assert server.requested == ["bytes=5000-"]


def test_fetch_twice(
    run: Callable[..., int], server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    run("tiny_sam")
    assert run("tiny_sam") == 0
    assert "already installed" in capsys.readouterr().out
    assert len(server.requested) == 1
    assert run("tiny_sam", "--force") == 0
    assert len(server.requested) == 2


def test_changed_file_is_refused(
    run: Callable[..., int],
    tmp_path: Path,
    server: FileServer,
    vanilla: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.files["tiny.pth"] = vanilla[:-1] + b"?"
    assert run("tiny_sam") == _fetching.REFUSED
    assert installed_in(tmp_path) == []
    assert PUBLISHED["tiny_sam"].sha256 in capsys.readouterr().err


@pytest.mark.parametrize("status", [404, 503])
def test_server_without_the_file(
    run: Callable[..., int], tmp_path: Path, server: FileServer, status: int
) -> None:
    server.refusals = [status] * 9
    assert run("tiny_sam") == _fetching.UNREACHABLE
    assert installed_in(tmp_path) == []


def test_ctrl_c(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(get_weights, "download_file", interrupt)
    assert run("tiny_sam") == _command.INTERRUPTED
    assert "goes on" in capsys.readouterr().err


def test_own_file(
    run: Callable[..., int], tmp_path: Path, own_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--from-file", str(own_file), "--name", "tiny") == 0
    load_checkpoint(build_sam(golden.TINY), tmp_path / "weights" / "tiny.safetensors")
    said = capsys.readouterr().out
    assert sha256_of(own_file) in said
    assert "no hash is known" in said
    assert "not used: optimizer" in said
    assert own_file.exists()


def test_own_file_that_is_a_published_one(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--from-file", str(tmp_path / "copy.pth"), "--name", "tiny") == 0
    said = capsys.readouterr().out
    assert "this is tiny.pth as published" in said
    assert "no hash is known" not in said


def test_own_file_for_volumes(
    run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES3D, "small3d", SMALL3D)
    torch.save({"model_state_dict": build_sam3d(SMALL3D).state_dict()}, tmp_path / "turbo.pth")
    assert run("--from-file", str(tmp_path / "turbo.pth"), "--name", "small3d") == 0
    assert installed_in(tmp_path) == ["small3d.safetensors"]


@pytest.mark.parametrize("name", sorted(n for n, w in PUBLISHED.items() if not w.by_script))
def test_a_file_that_only_a_person_can_fetch(
    name: str, run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name) == get_weights.BY_HAND
    said = capsys.readouterr().out
    assert PUBLISHED[name].url in said and "--from-file" in said
    assert f"--name {PUBLISHED[name].architecture}" in said
    assert installed_in(tmp_path) == []


def test_own_file_with_its_hash(
    run: Callable[..., int], own_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--from-file", str(own_file), "--name", "tiny", "--sha256")
    assert run(*arguments, "0" * 64) == _fetching.REFUSED
    assert run(*arguments, sha256_of(own_file)) == 0
    assert "no hash is known" not in capsys.readouterr().out


def test_own_file_for_another_network(
    run: Callable[..., int], tmp_path: Path, own_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run("--from-file", str(own_file), "--name", "samed2d_t")
    assert code == _fetching.REFUSED
    assert "does not fit" in capsys.readouterr().err
    assert installed_in(tmp_path) == []


def test_list(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    run("tiny_sam")
    capsys.readouterr()
    assert run("--list") == 0
    said = capsys.readouterr().out
    assert all(name in said for name in PUBLISHED)
    assert "installed for samed2d_b: nothing" in said
    assert "tiny.safetensors" in said


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no_such_weights"],
        ["tiny_sam", "--list"],
        ["--from-file", "x.pth"],
        ["--from-file", "x.pth", "--name", "no_such_network"],
    ],
)
def test_wrong_use(run: Callable[..., int], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2


def test_help_from_another_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "exit codes:" in done.stdout
