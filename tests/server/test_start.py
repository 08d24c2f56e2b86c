"""Starts of the app: from anywhere, in every process the host makes, and starts that must fail."""

import os
import subprocess
import sys
import time

import pytest
import requests

from tests.server.clicks import post_infer
from tests.support.server import APP, REPOSITORY, ServerStartError, start_server
from tests.support.studies import PLAIN, write_small_study

pytestmark = pytest.mark.server


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        (
            {"lables": "liver"},
            ["unknown option 'lables'", "labels, models, architecture, checkpoint"],
        ),
        (
            {"architecture": "samed2d_t", "checkpoint": "/nowhere/x.safetensors"},
            ["/nowhere/x.safetensors", "a weight file"],
        ),
    ],
)
def test_a_bad_option_ends_the_start_with_one_sentence(small_study, conf, words):
    with pytest.raises(ServerStartError) as info, start_server(small_study, conf=conf):
        raise AssertionError("the server started")
    assert info.value.exit_code not in (0, None)
    assert "Traceback" not in info.value.log
    (sentence,) = [line for line in info.value.log.splitlines() if "What to do:" in line]
    for word in words:
        assert word in sentence


def run_python(code, tmp_path, *args, **environment):
    """Run code in a new Python that knows nothing of the repository, somewhere else."""
    script = tmp_path / "script.py"
    script.write_text(code)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MONAI", "PYTHONPATH"))}
    return subprocess.run(
        [sys.executable, str(script), *map(str, args)],
        cwd=tmp_path,
        env={**env, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


SPAWN = """
import sys
import torch.multiprocessing

def work(rank):
    import lib.server.infer
    print("worker", rank, lib.server.infer.__file__, flush=True)

if __name__ == "__main__":
    from monailabel.interfaces.utils.app import app_instance
    app = app_instance(sys.argv[1], sys.argv[2], {"labels": "liver"})
    print("app", type(app).__name__, app.labels, flush=True)
    torch.multiprocessing.spawn(work, nprocs=1)
"""


def test_lib_is_found_in_spawned_workers_from_another_working_directory(tmp_path):
    (tmp_path / "study").mkdir()
    result = run_python(SPAWN, tmp_path, APP, tmp_path / "study")
    assert "app Samed2dApp ['liver']" in result.stdout, result.stderr
    assert f"worker 0 {REPOSITORY}/lib/server/infer.py" in result.stdout, result.stderr


@pytest.fixture(scope="module")
def started(tmp_path_factory, random_weights):
    """A server of this module's own, because its tests disturb the server."""
    study = write_small_study(tmp_path_factory.mktemp("study"))
    conf = {"architecture": "samed2d_t", "checkpoint": str(random_weights), "labels": "liver"}
    with start_server(study, conf=conf, from_nothing=True) as running:
        yield running


@pytest.mark.timeout(900)  # two starts from nothing, on whatever machine
def test_the_app_works_in_a_training_process(started):
    # The host starts trainings as processes of their own, with the server's environment.
    assert requests.post(f"{started.url}/train/samed2d", json={}, timeout=60).ok
    status = {"status": "SUBMITTED"}
    while status["status"] in ("SUBMITTED", "RUNNING"):
        time.sleep(0.5)
        status = requests.get(f"{started.url}/train/", timeout=60).json()
    # The trainer looked for labels and found none: the app was built there.
    details = "\n".join(status["details"])
    assert "no labelled slice to train on" in details
    assert "ModuleNotFoundError" not in details


def test_images_are_never_looked_for_in_the_working_directory(started):
    (started.home / "cwd" / "unknown").write_text("not an image of the study")
    (started.home / "cwd" / PLAIN).mkdir()
    click = {"foreground": [[20, 17, 5]]}
    assert post_infer(started, click, "unknown").status_code == 404
    # An id wins over a folder of that name in the working directory.
    assert post_infer(started, click, PLAIN).status_code == 200


def test_the_app_can_be_loaded_again(started):
    assert requests.post(f"{started.url}/reload", timeout=60).ok
    assert post_infer(started, {"foreground": [[20, 17, 5]]}, PLAIN).status_code == 200
    # Errors are still recognised: there is one version of each class only.
    assert post_infer(started, {"foreground": []}, PLAIN).status_code == 422
    assert started.info()["labels"] == ["liver"]
