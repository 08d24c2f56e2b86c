from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import nibabel as nib
import nrrd
import numpy as np
import pytest
from requests_toolbelt import MultipartEncoder

from tests.support.organs import CT_NAME, SAMPLE_DATA, organ_click, organ_mask
from tests.support.server import REPOSITORY, RunningServer, free_port, start_server

SCRIPT = REPOSITORY / "scripts" / "send_click.py"
SHAPE = (20, 16, 5)
CLICK = (10, 8, 2)


def _load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("click_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


script = _load_script()


def block(*slices: int) -> np.ndarray:
    """A label map with a block of 6 x 4 voxels on each of the slices, around `CLICK`."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[7:13, 6:10, list(slices)] = 1
    return labels


def label_bytes(labels: np.ndarray, folder: Path) -> bytes:
    """As NRRD, voxels of 2 x 2 x 5 mm."""
    path = folder / "made.nrrd"
    directions = np.diag([2.0, 2.0, 5.0])
    header = {"space": "left-posterior-superior", "space directions": directions}
    nrrd.write(str(path), labels, {**header, "space origin": np.zeros(3)})
    return path.read_bytes()


@contextlib.contextmanager
def canned_server(content: bytes, kind: str) -> Iterator[tuple[str, list[bytes]]]:
    """A server with one answer for everything; gives its address and the bodies it got."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def answering(labels: np.ndarray, folder: Path) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers with this label map."""
    facts = {"iou": 0.9, "model_version": "m-1", "device": "cpu", "latencies": {"total": 0.25}}
    fields = {
        "params": (None, json.dumps(facts), "application/json"),
        "image": ("a.nrrd", label_bytes(labels, folder), "application/octet-stream"),
    }
    body = MultipartEncoder(fields=fields)
    with canned_server(body.to_string(), body.content_type) as found:
        yield found


def arguments(server: str, *more: str) -> list[str]:
    point = ",".join(map(str, CLICK))
    return ["--server", server, "--image", "x", "--point", point, *more]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (["--image", "x"], "at least one --point"),
        (["--point", "1,2,3"], "--image"),
        (["--image", "x", "--point", "1,2"], "'1,2': 3 whole numbers"),
        (["--image", "x", "--point", "1,2,-3"], "3 whole numbers"),
        (["--image", "x", "--point", "a,b,c"], "3 whole numbers"),
        (["--image", "x", "--box", "1,2,3"], "4 whole numbers"),
        (["--image", "x", "--box", "1,2,3,4"], "name the --slice"),
        (["--image", "x", "--point", "1,2,3", "--point", "1,2,4"], "name the --slice"),
        (["--image", "x", "--point", "1,2,3", "--out", "a.png"], "must end in .nrrd"),
    ],
)
def test_wrong_arguments_are_explained(
    wrong: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        script.main(wrong)
    assert end.value.code == script.WRONG_ARGUMENTS
    assert sentence in capsys.readouterr().err


def test_sound_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(block(2), tmp_path) as (server, _):
        assert script.main(arguments(server)) == script.SOUND
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = dict(line.split(maxsplit=1) for line in printed.out.splitlines())
    assert lines["mask"] == "24 voxels, 1.0 cm2"
    assert lines["bounding"] == "box     i 7..12, j 6..9"
    assert "0.25 s in the server" in lines["latency"]


def test_box_and_points_are_sent_in_slicers_words(tmp_path: Path) -> None:
    more = ["--background", "1,1,2", "--box", "12,5,3,9", "--intensity", "bone"]
    with answering(block(2), tmp_path) as (server, bodies):
        assert script.main(arguments(server, *more)) == script.SOUND
    (body,) = bodies
    assert json.loads(body[body.index(b"{") : body.rindex(b"}") + 1]) == {
        "foreground": [[10, 8, 2]],
        "background": [[1, 1, 2]],
        "slice": 2,
        "result_extension": ".nrrd",
        "roi": [12, 3, 5, 9, 2, 2],
        "intensity": "bone",
    }


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (block(), "the mask is empty"),
        (np.roll(block(2), 9, axis=0), "misses the click (10, 8, 2)"),
        (block(2, 4), "other slices too: [4]"),
    ],
)
def test_unsound_mask_has_its_own_exit_status(
    labels: np.ndarray, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(labels, tmp_path) as (server, _):
        assert script.main(arguments(server)) == script.UNSOUND
    assert problem in capsys.readouterr().err


def test_dice_looks_at_the_patient_not_at_the_voxel_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The answer's grid in RAS has negative first axes; the truth is stored the other way round,
    # its object is shifted by 3 of 6 columns, and another object has another value.
    truth = np.roll(block(2), 3, axis=0) * 5
    truth[0, 0, 2] = 7
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    affine[:2, 3] = [-2.0 * (SHAPE[0] - 1), -2.0 * (SHAPE[1] - 1)]
    nib.save(nib.Nifti1Image(truth[::-1, ::-1], affine), tmp_path / "truth.nii.gz")
    compare = ["--truth", str(tmp_path / "truth.nii.gz"), "--json", "--truth-value"]
    with answering(block(2), tmp_path) as (server, _):
        assert script.main(arguments(server, *compare, "5")) == script.SOUND
        assert json.loads(capsys.readouterr().out)["dice"] == pytest.approx(0.5)
        assert script.main(arguments(server, *compare, "6")) == script.FAILED
        assert "no such object on slice 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "kind", "sentence"),
    [
        (b"<html>", "text/html", "but text/html"),
        (b'--x\r\nContent-Disposition: form-data; name="params"\r\n\r\n{}\r\n--x--',
         "multipart/form-data; boundary=x", "lacks a part"),
        (b'--x\r\nContent-Disposition: form-data; name="params"\r\n\r\n{}\r\n'
         b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nzzz\r\n--x--',
         "multipart/form-data; boundary=x", "no NRRD file"),
    ],
)  # fmt: skip
def test_answer_that_is_none_is_a_failure(
    content: bytes, kind: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with canned_server(content, kind) as (server, _):
        assert script.main(arguments(server)) == script.FAILED
    assert sentence in capsys.readouterr().err


def test_silent_server_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    server = f"http://127.0.0.1:{free_port()}"
    assert script.main(arguments(server)) == script.FAILED
    assert f"no answer from {server}" in capsys.readouterr().err


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """Our server on the sample study."""
    with start_server(SAMPLE_DATA / "studies") as running:
        yield running


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(server: RunningServer, tmp_path: Path) -> Run:
    """The command as a person starts it, from another folder, on the sample CT."""

    def start(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), "--server", server.url, "--image", CT_NAME, *more]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return start


@pytest.mark.server
def test_click_on_an_organ_of_the_sample_study(run: Run, tmp_path: Path) -> None:
    i, j, k = organ_click(organ_mask("liver"))
    truth = SAMPLE_DATA / "labels" / f"{CT_NAME}.nii.gz"
    done = run(
        *("--point", f"{i},{j},{k}", "--out", "mask.nrrd", "--json"),
        *("--truth", str(truth), "--truth-value", "1"),
    )
    assert done.returncode == script.SOUND, done.stderr
    facts = json.loads(done.stdout)
    mask = nrrd.read(str(tmp_path / "mask.nrrd"))[0]
    assert facts["size"] == list(mask.shape) == list(organ_mask("liver").shape)
    assert facts["voxels"] == int(mask.sum())
    assert facts["slice"] == k
    i0, j0, i1, j1 = facts["bounding_box"]
    assert i0 <= i <= i1
    assert j0 <= j <= j1
    assert facts["dice"] >= 0.5
    assert isinstance(facts["iou"], float)
    assert facts["model_version"]
    assert 0 < facts["server_seconds"] <= facts["seconds"]


@pytest.mark.server
def test_box_alone(run: Run) -> None:
    mask = organ_mask("spleen")
    k = organ_click(mask)[2]
    i, j = np.nonzero(mask[:, :, k])
    box = f"{i.min()},{j.min()},{i.max()},{j.max()}"
    done = run("--box", box, "--slice", str(k))
    assert done.returncode == script.SOUND, done.stderr
    assert f"slice            {k}\n" in done.stdout


@pytest.mark.server
def test_refusal_of_the_server_is_passed_on(run: Run) -> None:
    outside = run("--point", "500,1,1")
    assert outside.returncode == script.FAILED
    assert "the server answered 422" in outside.stderr
    assert "0 <= i <= 223" in outside.stderr
    unknown = run("--point", "1,1,1", "--image", "nobody")
    assert unknown.returncode == script.FAILED
    assert "the server answered 404" in unknown.stderr
