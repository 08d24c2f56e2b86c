"""``benchmark.py volume``: one click that becomes a whole volume."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.imaging.segmentation import read_label
from lib.imaging.volume import ReadLimits, read_volume
from scripts._benchmark.click import prepare_folder, prepare_study, warm_up
from scripts._benchmark.errors import BenchmarkError
from scripts._benchmark.memory import MemoryUse, PeakMeter
from scripts._benchmark.network import NetworkSource
from scripts._benchmark.server import running_server
from scripts._benchmark.study import IMAGE_ID, Points, Shape, Study, Voxel
from scripts._benchmark.viewer import Answer, Viewer

Say = Callable[[str], None]


@dataclass(frozen=True)
class VolumePlan:
    """What is to be measured.

    Attributes:
        source: the network; None leaves the choice to the server.
        shape: (I, J, K) of the synthetic volume, where no image is named.
        image: a file to segment instead.
        point: the click; needed with an image, else the middle of the synthetic object.
        conf: further options of the server.
        model: name.
        settle: seconds to wait at most while the server prepares a faster encoder.
        seed: of the volume and of random weights.
    """

    source: NetworkSource | None
    shape: Shape
    image: Path | None = None
    point: Voxel | None = None
    conf: dict[str, str] = field(default_factory=dict)
    model: str = "samed2d_volume"
    settle: float = 900.0
    seed: int = 0


@dataclass(frozen=True)
class VolumeReport:
    """Everything that was found.

    Attributes:
        shape: of the volume.
        weights: of the network; None where the server chose.
        conf: options of the server.
        point: the click.
        seconds: of the request, over HTTP; reading the file included, loading the network not.
        seconds_again: of the same request once more: what is remembered costs nothing.
        slices: with a mask in the answer.
        seconds_per_slice: ``seconds`` by ``slices``; None for an empty mask.
        latencies: what the server says of itself, in seconds.
        backend: that answered.
        answer_bytes: size of the answer.
        memory: of the server's process during the first request.
    """

    shape: Shape
    weights: str | None
    conf: dict[str, str]
    point: Voxel
    seconds: float
    seconds_again: float
    slices: int
    seconds_per_slice: float | None
    latencies: dict[str, float]
    backend: str | None
    answer_bytes: int
    memory: MemoryUse | None


def run(plan: VolumePlan, folder: Path, say: Say) -> VolumeReport:
    """Measure; ``say`` is told what happens.

    Args:
        plan: what.
        folder: empty, for the volume and for random weights.
        say: gets one line at a time.

    Raises:
        BenchmarkError: the server does not start, refuses, or lacks the model.
        Samed2dError: the network or the image cannot be used.
    """
    study, conf, point = _prepare(plan, folder, say)
    conf = conf | plan.conf
    with running_server(folder / "studies", conf) as server:
        viewer = Viewer(server.url, plan.model, study.image)
        if not viewer.info():
            raise BenchmarkError(f"the server has no model {plan.model}")
        warm_up(server.url, plan.model, plan.settle)
        say(f"one click at {point}")
        meter = PeakMeter(server.process)
        answer = viewer.click(Points((point,)))
        memory = meter.read()
        again = viewer.click(Points((point,)))
    slices = _slices_with_mask(answer)
    return VolumeReport(
        shape=study.shape,
        weights=None if plan.source is None else plan.source.description,
        conf=conf,
        point=point,
        seconds=answer.seconds,
        seconds_again=again.seconds,
        slices=slices,
        seconds_per_slice=answer.seconds / slices if slices else None,
        latencies={key: float(v) for key, v in answer.facts.get("latencies", {}).items()},
        backend=answer.facts.get("backend"),
        answer_bytes=answer.nbytes,
        memory=memory,
    )


def _prepare(plan: VolumePlan, folder: Path, say: Say) -> tuple[Study, dict[str, str], Voxel]:
    """The studies folder with one image, the options of the network, and the click."""
    if plan.image is None:
        study, conf = prepare_study(plan.source, plan.shape, plan.seed, folder, say)
        k = study.shape[2] // 2
        i, j = study.centre(k)
        return study, conf, plan.point or (int(i), int(j), k)
    if plan.point is None:
        raise BenchmarkError("name the click with --point: what is of interest in that image?")
    shape = read_volume(plan.image, ReadLimits()).shape
    conf = prepare_folder(plan.source, plan.seed, folder)
    suffix = ".nii.gz" if plan.image.name.endswith(".nii.gz") else plan.image.suffix
    shutil.copyfile(plan.image, folder / "studies" / f"{IMAGE_ID}{suffix}")
    return Study(IMAGE_ID, shape), conf, plan.point


def _slices_with_mask(answer: Answer) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "answer.nrrd")
        path.write_bytes(answer.label)
        labels, _ = read_label(path)
    return int(np.count_nonzero(labels.any(axis=(0, 1))))
