"""Files that are read in a child first: what is wrong with them ends the child alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest

from lib.errors import ImageError, UnavailableError
from lib.imaging.bounded import SECONDS
from lib.imaging.grid import ReadLimits
from lib.imaging.series_file import write_series
from lib.imaging.trial import ROOT, Trial
from lib.imaging.volume import read_volume
from tests.support.dicom_series import axial
from tests.support.dicom_series import write_series as write_dicom

LIMITS = ReadLimits(max_voxels=1_000_000)


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    made = Trial()
    yield made
    made.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((20, 30, 5), np.int16), np.eye(4)), path)
    return path


def test_an_image_that_can_be_read(trial: Trial, image: Path) -> None:
    trial.read(image, LIMITS)


def test_what_is_wrong_is_said_as_if_it_had_been_read_here(trial: Trial, image: Path) -> None:
    with pytest.raises(ImageError, match="option max_voxels"):
        trial.read(image, ReadLimits(max_voxels=100))
    image.write_bytes(image.read_bytes()[:100])
    with pytest.raises(ImageError, match=r"image\.nii\.gz"):
        trial.read(image, LIMITS)
    trial.read(make_again(image), LIMITS)


def make_again(image: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4)), image)
    return image


def test_a_process_that_was_ended_is_started_again(trial: Trial, image: Path) -> None:
    trial.read(image, LIMITS)
    process = trial._process
    assert process is not None
    process.kill()
    process.wait()
    trial.read(image, LIMITS)


def test_it_ends_with_who_started_it(image: Path) -> None:
    own = Trial()
    own.read(image, LIMITS)
    process = own._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()  # as the end of the server does
    assert process.wait(timeout=60) == 0
    own.close()


BREAKING = {
    "breaks its decoder": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "takes too long": "import os, signal; os.kill(os.getpid(), signal.SIGALRM)",
    "more memory than its voxels need": "bytearray(8 << 30)",
    "ZeroDivisionError": "1 / 0",
    "cannot be read": "import os; os._exit(0)",
}


@pytest.mark.parametrize("said", BREAKING)
def test_a_reader_that(said: str) -> None:
    """Each breaks a copy of a process of the test, which goes on."""
    assert said in attempt(BREAKING[said])["got"]


def test_a_copy_writes_no_file_and_leaves_no_core() -> None:
    work = (
        "import resource\n    raise ImageError(got=str([resource.getrlimit(n)[0] for n in "
        "(resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_CPU)]))"
    )
    assert attempt(work)["got"] == str([0, 0, SECONDS])


def test_memory_is_what_the_header_needs_however_large_an_image_may_be() -> None:
    """2 GiB are refused before and granted after a header has announced 100 million voxels."""
    large = "bytearray(2 << 30)"
    assert "more memory" in attempt(large, max_voxels=1 << 30)["got"]
    announced = "limits.check((1000, 1000, 100), 'x')"
    assert attempt(f"{announced}; {large}", max_voxels=1 << 30) == {}
    assert "more memory" in attempt(f"{announced}; bytearray(4 << 30)", max_voxels=1 << 30)["got"]


def test_a_small_file_that_announces_a_large_image_is_refused() -> None:
    announced = "limits.check((1000, 1000, 100), 'x')"
    said = attempt(announced, max_voxels=1 << 30, size=1000)
    assert "announces 100000000 voxels in 1000 bytes" in said["got"]
    assert attempt("limits.check((1000, 1000, 10), 'x')", max_voxels=1 << 30, size=1000) == {}


def test_a_good_file_is_read_once(trial: Trial, image: Path) -> None:
    asked = []
    ask = trial._ask
    trial._ask = lambda question: asked.append(question) or ask(question)  # type: ignore
    trial.read(image, LIMITS)
    assert len(asked) == 1


@pytest.fixture
def series(tmp_path: Path) -> Path:
    folder = tmp_path / "1.2.3"
    folder.mkdir()
    write_dicom(folder, axial())
    return folder


def test_a_series_is_written_by_a_child(trial: Trial, series: Path, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs.nii.gz", tmp_path / "ours.nii.gz"
    trial.convert(series, theirs, LIMITS)
    write_series(series, ours, LIMITS)
    found, expected = read_volume(theirs), read_volume(ours)
    np.testing.assert_array_equal(found.array, expected.array)
    np.testing.assert_array_equal(found.affine, expected.affine)


def test_of_a_damaged_series_nothing_is_written(trial: Trial, series: Path, tmp_path: Path) -> None:
    for file in series.iterdir():
        file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(ImageError, match=r"1\.2\.3"):
        trial.convert(series, tmp_path / "image.nii.gz", LIMITS)
    assert not (tmp_path / "image.nii.gz").exists()


def test_a_series_beyond_the_limits_is_not_decoded(
    trial: Trial, series: Path, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match="26 x 18 x 6 = 2808 voxels"):
        trial.convert(series, tmp_path / "image.nii.gz", ReadLimits(max_voxels=2807))
    trial.convert(series, tmp_path / "image.nii.gz", ReadLimits(max_voxels=2808))


def test_that_an_image_cannot_be_written_is_no_fault_of_the_series(
    trial: Trial, series: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnavailableError, match="no room"):
        trial.convert(series, tmp_path / "absent" / "image.nii.gz", LIMITS)


def attempt(work: str, max_voxels: int = 1000, size: int = 1 << 20) -> dict[str, str]:
    """What a copy of a process of the test says of some work with a file of a size."""
    program = (
        "import json, sys; from pathlib import Path; from tempfile import TemporaryDirectory\n"
        "from lib.errors import ImageError; from lib.imaging import trial_child\n"
        "from lib.imaging.grid import ReadLimits\n"
        f"def work(limits):\n    {work}\n"
        "with TemporaryDirectory() as folder:\n"
        f"    file = Path(folder, 'x'); file.write_bytes(bytes({size}))\n"
        f"    limits = ReadLimits({max_voxels})\n"
        "    print(json.dumps(trial_child.attempt(work, file, limits, may_write=False)))"
    )
    return run(program)


def run(program: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))
