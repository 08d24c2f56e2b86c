"""A model card for tests."""

from __future__ import annotations

from pathlib import Path

from lib.networks.checkpoint import sha256_of
from lib.networks.model_card import (
    FORMAT,
    DataSource,
    Figure,
    Group,
    Measurement,
    ModelCard,
    TrainingFacts,
    card_path,
    write_card,
)


def measurement(data: str = "devset", box: float = 0.8, zoom: str = "off") -> Measurement:
    """With intervals where they matter."""
    return Measurement(
        data=data,
        note="not seen in training",
        protocol="noc",
        setting=f"zoom {zoom}, fp32",
        n_masks=3,
        n_patients=2,
        code_version="abc",
        dice=(Figure("box", box, 0.7, 0.9), Figure("1", 0.5, 0.5, 0.5)),
        iou=(Figure("box", 0.7, 0.6, 0.8),),
        nsd=(),
        clicks=(Figure("0.85", 4.5, 4.0, 5.0),),
        baseline_dice=(Figure("box", 0.79, 0.7, 0.9),),
        modalities=(Group("CT | low dose", 2, (Figure("box", 0.9, 0.8, 1.0),)),),
    )


def make_card(weights_sha256: str = "f" * 64) -> ModelCard:
    """Complete, with one measurement."""
    return ModelCard(
        format=FORMAT,
        architecture="samed2d_t",
        weights="samed2d_t.safetensors",
        weights_sha256=weights_sha256,
        weights_bytes=12_000_000,
        parameters=6_000_000,
        licence="Apache-2.0",
        summary="A network.",
        intended_use="Suggestions.",
        training=TrainingFacts("From random numbers.", 2, "two cores", 10, 5600, 8.5, "a.toml"),
        data=(DataSource("phantoms", "all", "Apache-2.0", "training"),),
        measurements=(measurement(),),
        known_failures=("thin structures",),
    )


def write_card_for(weights: Path) -> ModelCard:
    """A card beside a weight file."""
    card = make_card(sha256_of(weights))
    write_card(card, card_path(weights))
    return card
