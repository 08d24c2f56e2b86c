"""The engine ray on a real cluster of two nodes."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel
import psutil
import pytest

from scripts.build_dataset import main
from tests.support.archives import AFFINE, labelled_volume, tree, write_archive
from tests.support.ray_cluster import Node, TwoNodes, two_nodes

ROOT = Path(__file__).resolve().parents[3]
CASES = 24
SHAPE = (90, 80, 70)
"""Of volumes that take long enough to be caught in the middle."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    with two_nodes() as running:
        yield running


def archive(folder: Path, cases: int) -> Path:
    """Volumes, one of which is broken."""
    description = write_archive(folder, cases)
    for number in range(cases):
        image, labels = labelled_volume(number, SHAPE)
        name = f"p{number // 2}_scan{number}"
        for kind, array in (("image", image), ("label", labels)):
            file = nibabel.Nifti1Image(array, AFFINE)
            nibabel.save(file, folder / "volumes" / f"{name}_{kind}.nii.gz")
    broken = folder / "volumes" / "p0_scan1_image.nii.gz"
    broken.write_bytes(broken.read_bytes()[:900])
    return description


def worker_in_the_middle(out: Path, node: Node) -> psutil.Process | None:
    """A process of a node that works on a case just now."""
    for part in (out / ".build" / "parts").glob("*"):
        try:
            process = psutil.Process(int(part.suffix[1:]))
            if node.owns(process) and process.status() != psutil.STATUS_ZOMBIE:
                return process
        except psutil.NoSuchProcess:
            continue
    return None


def wait_for_worker(out: Path, driver: subprocess.Popen[str], node: Node) -> psutil.Process:
    while driver.poll() is None:
        if (found := worker_in_the_middle(out, node)) is not None:
            return found
        time.sleep(0.002)
    raise AssertionError(f"done before a worker was seen: {driver.communicate()}")


# A machine that is busy with something else needs a minute for what takes seconds on a free one.
@pytest.mark.timeout(600)
def test_killed_workers_and_nodes_cost_nothing_but_time(tmp_path: Path, cluster: TwoNodes) -> None:
    description = archive(tmp_path / "in", CASES)
    arguments = ["--in", str(description), "--quiet"]
    assert main([*arguments, "--out", str(tmp_path / "local")]) == 1
    out = tmp_path / "ray"
    script = str(ROOT / "scripts" / "build_dataset.py")
    more = ["--out", str(out), "--engine", "ray", "--workers", "2"]
    command = [sys.executable, script, *arguments, *more, "--ray-address", cluster.address]
    with subprocess.Popen(
        command,
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as driver:
        wait_for_worker(out, driver, cluster.second)
        cluster.second.kill()
        # There is one left at least: the case that was lost with its node.
        wait_for_worker(out, driver, cluster.first).kill()
        said, errors = driver.communicate()
    assert driver.returncode == 1, errors
    # What a worker had finished when it was killed is found when its case is tried again.
    built = re.search(r"(\d+) cases built, (\d+) had been before", said)
    assert built and sum(map(int, built.groups())) == CASES, said
    failed = [line for line in errors.splitlines() if "failed:" in line]
    assert len(failed) == 1 and "p0_scan1 (small--p0_scan1)" in failed[0], errors
    assert tree(out) == tree(tmp_path / "local")
    assert not (out / ".build" / "parts").exists()
