"""What is to be known of a weight file before anybody clicks with it.

The card ``samed2d_t.card.json`` lies beside ``samed2d_t.safetensors`` and names it by its SHA-256,
so that the figures of one file are never read as those of another. People write what it was trained
on and where it fails; the file's size and the measurements are written by ``scripts/models.py
card``, from the ``metrics.json`` of ``scripts/evaluate.py``. The idea is that of Mitchell et al.
2019, Model Cards for Model Reporting (arXiv:1810.03993).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from lib.errors import CheckpointError
from lib.networks.checkpoint import sha256_of
from lib.networks.typed_json import from_text, to_text

ENDING = ".card.json"
FORMAT = 1


@dataclass(frozen=True)
class DataSource:
    """Images that a network has seen.

    Attributes:
        name: of the source.
        amount: how much of it ("24 slices, 1 volume").
        licence: under which it may be used.
        use: "training" or "held out".
    """

    name: str
    amount: str
    licence: str
    use: str


@dataclass(frozen=True)
class TrainingFacts:
    """How a network came about.

    Attributes:
        summary: in one or two sentences.
        hours: of the run.
        hardware: it ran on.
        steps: of the optimiser.
        samples: images that were shown, with repetitions.
        samples_per_second: on that hardware.
        config: file or command that repeats it.
    """

    summary: str
    hours: float
    hardware: str
    steps: int
    samples: int
    samples_per_second: float
    config: str


@dataclass(frozen=True)
class Figure:
    """A mean with its 95 % interval.

    Attributes:
        name: of the prompt ("box", "1", "3") or of what is counted.
        mean, low, high: equal where no interval is known.
    """

    name: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Group:
    """Mean Dice of some of the targets.

    Attributes:
        name: of the modality.
        n_masks: targets.
        dice: by prompt.
    """

    name: str
    n_masks: int
    dice: tuple[Figure, ...]


@dataclass(frozen=True)
class Measurement:
    """One evaluation.

    Attributes:
        data: name of the folder.
        note: what the reader must know of it ("not seen in training").
        protocol: "noc", "paper", or another one in words.
        setting: of the network ("zoom off, fp32").
        n_masks, n_patients: how many of each; 0 patients where they were not counted.
        code_version: state of the program.
        dice, iou, nsd: by prompt; empty where not measured.
        clicks: mean clicks until an IoU; empty where not counted.
        baseline_dice: what one gets without any network; empty where not measured.
        modalities: groups of the targets.
    """

    data: str
    note: str
    protocol: str
    setting: str
    n_masks: int
    n_patients: int
    code_version: str
    dice: tuple[Figure, ...]
    iou: tuple[Figure, ...]
    nsd: tuple[Figure, ...]
    clicks: tuple[Figure, ...]
    baseline_dice: tuple[Figure, ...]
    modalities: tuple[Group, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """Two measurements with the same key are of the same thing; the later one counts."""
        return self.data, self.protocol, self.setting


@dataclass(frozen=True)
class ModelCard:
    """All of it.

    Attributes:
        format: of this file, 1.
        architecture: of the network.
        weights: name of the weight file.
        weights_sha256, weights_bytes: of it.
        parameters: of the network.
        licence: of the weights.
        summary: what it is, in one or two sentences.
        intended_use: what for, and what not for.
        training: how it came about.
        data: everything it has seen, and what was held out.
        measurements: how good it is.
        known_failures: where not.
    """

    format: int
    architecture: str
    weights: str
    weights_sha256: str
    weights_bytes: int
    parameters: int
    licence: str
    summary: str
    intended_use: str
    training: TrainingFacts
    data: tuple[DataSource, ...]
    measurements: tuple[Measurement, ...]
    known_failures: tuple[str, ...]

    def with_measurement(self, measurement: Measurement) -> ModelCard:
        """The card with one more measurement, in place of an earlier one of the same thing."""
        others = (known for known in self.measurements if known.key != measurement.key)
        return replace(self, measurements=(*others, measurement))


def card_path(weights: Path) -> Path:
    """Where the card of a weight file lies."""
    return weights.with_name(weights.name.removesuffix(weights.suffix) + ENDING)


def read_card(path: Path) -> ModelCard | None:
    """The card in a file; None where there is no such file.

    Raises:
        CheckpointError: it is damaged, or of another form.
    """
    if not path.is_file():
        return None
    try:
        card = from_text(ModelCard, path.read_text(encoding="utf-8"))
        if card.format != FORMAT:
            raise ValueError(f"format {card.format}")
        return card
    except (OSError, ValueError) as error:
        raise CheckpointError(
            got=f"model card {path.name} that cannot be read: {error}",
            allowed=f"a card of format {FORMAT}, see lib/networks/model_card.py",
            todo="correct it",
        ) from error


def card_of(weights: Path) -> ModelCard | None:
    """The card of a weight file; None where it has none.

    Raises:
        CheckpointError: a damaged card, or one of another weight file.
    """
    card = read_card(card_path(weights))
    if card is not None and card.weights_sha256 != sha256_of(weights):
        raise CheckpointError(
            got=f"{card_path(weights).name}, which is of other weights than {weights.name}",
            allowed=f"a card of the weights with SHA-256 {card.weights_sha256[:12]}",
            todo="measure again with scripts/evaluate.py, then run scripts/models.py card",
        )
    return card


def write_card(card: ModelCard, path: Path) -> None:
    """Write a card; the file is there whole or as it was.

    Raises:
        OSError: the disk does not take it.
    """
    part = path.with_name(f".part-{path.name}")
    with part.open("w", encoding="utf-8") as file:
        file.write(to_text(card))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
