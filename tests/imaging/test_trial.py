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

from lib.errors import ImageError
from lib.imaging import trial as module
from lib.imaging.grid import ReadLimits
from lib.imaging.trial import Trial

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
def test_a_reader_that(said: str, tmp_path: Path) -> None:
    """Each breaks a copy of a process of the test, which goes on."""
    program = (
        "import json; from pathlib import Path; from lib.imaging import trial\n"
        "from lib.imaging.grid import ReadLimits\n"
        f"def read(path, limits):\n    {BREAKING[said]}\n"
        "print(json.dumps(trial._try(read, Path('x'), ReadLimits(1000))))"
    )
    assert said in run(program)["got"]


def test_a_copy_writes_no_file_and_leaves_no_core(tmp_path: Path) -> None:
    program = (
        "import json, resource; from lib.imaging import trial\n"
        "trial._bound(1000)\n"
        "print(json.dumps({'got': [resource.getrlimit(n)[0] for n in "
        "(resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_CPU)]}))"
    )
    assert run(program)["got"] == [0, 0, module.SECONDS]


def run(program: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(module.ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))
