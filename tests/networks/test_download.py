"""The real download code against a real server on the loopback."""

from __future__ import annotations

import hashlib
import shutil
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lib.errors import CheckpointError, NotFoundError, UnavailableError
from lib.networks import download
from tests.support.file_server import FileServer, serve_files

PIECE = download.CHUNK_BYTES
CONTENT = bytes(range(256)) * (9 * PIECE // 512)  # four and a half pieces
SHA256 = hashlib.sha256(CONTENT).hexdigest()

download_file = partial(download.download_file, pause_seconds=0.0)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve_files(weights=CONTENT) as served:
        yield served


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "weights.pth"


def part_of(destination: Path) -> Path:
    return destination.with_name(destination.name + ".part")


def begin(destination: Path, data: bytes) -> None:
    """Leave what an interrupted run leaves."""
    destination.parent.mkdir()
    part_of(destination).write_bytes(data)


def test_complete(server: FileServer, destination: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    result = download_file(
        f"{server.url}/weights", destination, SHA256, progress=lambda *now: seen.append(now)
    )
    assert result == destination
    assert destination.read_bytes() == CONTENT
    assert not part_of(destination).exists()
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [held for held, _ in seen] == sorted(held for held, _ in seen)
    assert len(seen) > 1


def test_hash_in_capitals(server: FileServer, destination: Path) -> None:
    download_file(f"{server.url}/weights", destination, SHA256.upper())
    assert destination.exists()


def test_present_file_is_not_fetched_again(server: FileServer, destination: Path) -> None:
    destination.parent.mkdir()
    destination.write_bytes(CONTENT)
    download_file(f"{server.url}/weights", destination, SHA256)
    assert server.requested == []


def test_present_file_with_another_hash_is_replaced(server: FileServer, destination: Path) -> None:
    destination.parent.mkdir()
    destination.write_bytes(b"something older")
    download_file(f"{server.url}/weights", destination, SHA256)
    assert destination.read_bytes() == CONTENT


def test_goes_on_after_an_interrupted_run(server: FileServer, destination: Path) -> None:
    begin(destination, CONTENT[:1000])
    download_file(f"{server.url}/weights", destination, SHA256)
    assert destination.read_bytes() == CONTENT
    assert server.requested == ["bytes=1000-"]


def test_goes_on_after_broken_connections(server: FileServer, destination: Path) -> None:
    # More breaks than attempts: each brings something new, so none counts as a failure in a row.
    server.breaks = [PIECE] * 4
    download_file(f"{server.url}/weights", destination, SHA256, attempts=2)
    assert destination.read_bytes() == CONTENT
    assert server.requested == [None, *(f"bytes={n * PIECE}-" for n in range(1, 5))]


def test_server_without_ranges(server: FileServer, destination: Path) -> None:
    server.ranges = False
    begin(destination, CONTENT[:1000])
    download_file(f"{server.url}/weights", destination, SHA256)
    assert destination.read_bytes() == CONTENT


def test_complete_part_is_only_verified(server: FileServer, destination: Path) -> None:
    begin(destination, CONTENT)
    download_file(f"{server.url}/weights", destination, SHA256)
    assert destination.read_bytes() == CONTENT
    assert server.requested == [f"bytes={len(CONTENT)}-"]


def test_part_longer_than_the_file_is_dropped(server: FileServer, destination: Path) -> None:
    begin(destination, CONTENT + b"of another file")
    download_file(f"{server.url}/weights", destination, SHA256)
    assert destination.read_bytes() == CONTENT


def test_server_that_is_busy_first(server: FileServer, destination: Path) -> None:
    server.refusals = [503, 429]
    download_file(f"{server.url}/weights", destination, SHA256)
    assert destination.read_bytes() == CONTENT


@pytest.mark.parametrize("begun", [b"", b"part of another file"])
def test_wrong_hash_leaves_nothing(server: FileServer, destination: Path, begun: bytes) -> None:
    begin(destination, begun)
    with pytest.raises(CheckpointError, match="removed") as caught:
        download_file(f"{server.url}/weights", destination, hashlib.sha256(begun).hexdigest())
    assert not destination.exists()
    assert not part_of(destination).exists()
    assert hashlib.sha256(begun).hexdigest() in caught.value.allowed


def test_truncated_file_is_never_in_place(server: FileServer, destination: Path) -> None:
    server.breaks = [2 * PIECE + 1, 0, 0, 0]
    with pytest.raises(UnavailableError, match=f"{2 * PIECE:,} bytes are kept"):
        download_file(f"{server.url}/weights", destination, SHA256)
    assert not destination.exists()
    assert part_of(destination).read_bytes() == CONTENT[: 2 * PIECE]


def test_server_error_that_stays(server: FileServer, destination: Path) -> None:
    server.refusals = [500] * 9
    with pytest.raises(UnavailableError, match="500"):
        download_file(f"{server.url}/weights", destination, SHA256, attempts=3)
    assert len(server.requested) == 3


@pytest.mark.parametrize("status", [403, 404])
def test_refused_file_is_asked_for_once(server: FileServer, destination: Path, status: int) -> None:
    server.refusals = [status]
    with pytest.raises(NotFoundError, match=f"{status}"):
        download_file(f"{server.url}/weights", destination, SHA256)
    assert len(server.requested) == 1
    assert not destination.exists()


def test_offline(destination: Path) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/weights"
        with pytest.raises(UnavailableError, match="Connection refused") as caught:
            download_file(url, destination, SHA256)
    assert "--from-file" in caught.value.todo
    assert not destination.exists()


def test_full_disk(server: FileServer, destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(destination.parent.parent)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UnavailableError, match="1,000 bytes free"):
        download_file(f"{server.url}/weights", destination, SHA256)
