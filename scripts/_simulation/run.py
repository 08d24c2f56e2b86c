"""One run: choose, click, save, retrain, again and again, with one strategy and one seed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image

from lib.data.pool import LabelledImage
from lib.networks import build_model
from lib.training.registry import Registry, apply_version
from lib.training.validation import Summary, ValidationSet
from scripts._benchmark.server import running_server
from scripts._simulation.client import AFFINE, Annotator

ARCHITECTURE = "samed2d_t"
WITHOUT_SCORES = ("random", "sequential")
"""Strategies that need not wait for any."""


@dataclass(frozen=True)
class Course:
    """How an annotation goes.

    Attributes:
        strategy: that chooses.
        seed: of the first case.
        rounds: trainings.
        batch: cases labelled before each.
        steps: batches of each training.
        rate: peak learning rate, 0 for the recipe's.
        publish: "gate" or "force", see `lib.training.settings`.
        checkpoint: base weights.
        cache: embeddings, shared by all runs.
    """

    strategy: str
    seed: int
    rounds: int
    batch: int
    steps: int
    rate: float
    publish: str
    checkpoint: Path
    cache: Path


@dataclass(frozen=True)
class Point:
    """One point of a learning curve.

    Attributes:
        labelled: slices labelled so far.
        clicks: that they took.
        dice: by prompt, on the test images.
        version: that was judged; empty for the base weights.
        chosen: images labelled before it.
        reasons: why they were chosen.
        first_clicks: Dice after the first click on each of their objects, before learning.
    """

    labelled: int
    clicks: int
    dice: dict[str, float]
    version: str
    chosen: list[str]
    reasons: list[str]
    first_clicks: list[float]

    @property
    def mean(self) -> float:
        """Mean over the prompts."""
        return float(np.mean(list(self.dice.values())))


def divide(images: Sequence[LabelledImage]) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Images to label, and every third patient's, in the order of names, to test; always the same.

    Args:
        images: of one task.
    """
    patients = sorted({image.patient for image in images})
    tests = set(patients[2::3])
    pool = [image for image in images if image.patient not in tests]
    return pool, [image for image in images if image.patient in tests]


def carry_out(
    images: Sequence[LabelledImage], course: Course, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Play the annotator; one record of `Point` for the start and for each training.

    Raises:
        BenchmarkError: the server did not do its part.
    """
    pool, test = divide(images)
    by_name = {image.name: image for image in pool}
    with tempfile.TemporaryDirectory(prefix="samed2d-simulation-") as folder:
        studies, registry = Path(folder, "studies"), Path(folder, "registry")
        studies.mkdir()
        for image in pool:
            write_image(studies, image)
        conf = {
            "architecture": ARCHITECTURE,
            "checkpoint": str(course.checkpoint),
            "registry": str(registry),
            "cache_dir": str(course.cache),
            "score_budget": "6000",
            "strategy": course.strategy,
            "encode_ahead": "off",
            "backend": "torch",
        }
        judge = Judge(course.checkpoint, registry, test)
        with running_server(studies, conf) as server:
            annotator = Annotator(server.url)
            points = [judge.point(0, 0, [], [], [])]
            say(_line(points[-1]))
            for number in range(course.rounds):
                points.append(_round(annotator, judge, by_name, course, points[-1], number))
                say(_line(points[-1]))
        shutil.rmtree(course.cache / "scores", ignore_errors=True)
    return [asdict(point) for point in points]


class Judge:
    """Measures what serves, on images that nobody labels.

    Args:
        checkpoint: base weights.
        registry: folder of the server's registry.
        test: labelled images.
    """

    def __init__(self, checkpoint: Path, registry: Path, test: Sequence[LabelledImage]) -> None:
        self._checkpoint, self._test = checkpoint, test
        self._registry = Registry(registry, ARCHITECTURE, checkpoint)

    def point(
        self,
        labelled: int,
        clicks: int,
        chosen: list[str],
        reasons: list[str],
        first_clicks: list[float],
    ) -> Point:
        """What the serving version reaches."""
        model = build_model(ARCHITECTURE, self._checkpoint)
        version = self._registry.serving()
        if version is not None:
            apply_version(model, version)
        summary = Summary.of(ValidationSet(model.eval(), self._test).scores())
        name = "" if version is None else version.name
        return Point(labelled, clicks, dict(summary.dice), name, chosen, reasons, first_clicks)


def _round(
    annotator: Annotator,
    judge: Judge,
    pool: dict[str, LabelledImage],
    course: Course,
    before: Point,
    number: int,
) -> Point:
    clicks, chosen, reasons, firsts = before.clicks, [], [], []
    for place in range(course.batch):
        if number == place == 0:
            # Nothing is known yet: all strategies begin with the same case.
            name = sorted(pool)[int(np.random.default_rng(course.seed).integers(len(pool)))]
            reason = "the first case of this seed"
        else:
            if course.strategy not in WITHOUT_SCORES:
                annotator.wait_for_scores()
            found = annotator.next(course.strategy)
            if found is None:
                break
            name, reason = found.image, found.reason
        image = pool[name]
        whole = np.zeros(image.masks.shape[1:], dtype=bool)
        for target in image.masks:
            mask, needed, first = annotator.segment(name, target)
            whole |= mask
            clicks += needed
            firsts.append(first)
        annotator.save(name, whole, image.labels[0])
        chosen.append(name)
        reasons.append(reason)
    annotator.train(
        {
            "train": "decoder",
            "max_epochs": 1,
            "epoch_steps": course.steps,
            "learning_rate": course.rate,
            "publish": course.publish,
        }
    )
    point = judge.point(before.labelled + len(chosen), clicks, chosen, reasons, firsts)
    annotator.wait_for_version(point.version)
    return point


def write_image(folder: Path, image: LabelledImage) -> None:
    """Write an image of the pool as the server reads it: NIfTI, or PNG where it has colours."""
    if image.image.ndim == 3:
        Image.fromarray(np.asarray(image.image, dtype=np.uint8)).save(folder / f"{image.name}.png")
        return
    voxels = image.image.T[..., None]
    kept = voxels if voxels.dtype == np.uint8 else voxels.astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(kept, AFFINE), folder / f"{image.name}.nii.gz")


def _line(point: Point) -> str:
    dice = "  ".join(f"{name} {value:.3f}" for name, value in point.dice.items())
    version = point.version or "base"
    return f"{point.labelled:3d} slices, {point.clicks:3d} clicks, {version}: {dice}"
