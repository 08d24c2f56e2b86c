"""Cards beside weight files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lib.errors import CheckpointError
from lib.networks import build_model
from lib.networks.model_card import card_of, card_path, read_card, write_card
from lib.networks.model_card_text import card_markdown
from lib.networks.typed_json import to_text
from lib.networks.weights import WEIGHTS_FOLDER
from tests.support.cards import make_card, measurement, write_card_for


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "own.v2.safetensors"
    path.write_bytes(b"weights")
    return path


def test_a_card_lies_beside_its_weights(weights: Path) -> None:
    card = write_card_for(weights)
    assert card_path(weights).name == "own.v2.card.json"
    assert card_of(weights) == card
    assert sorted(path.name for path in weights.parent.iterdir()) == [
        "own.v2.card.json",
        "own.v2.safetensors",
    ]


def test_weights_without_a_card(weights: Path) -> None:
    assert card_of(weights) is None


def test_a_card_of_other_weights_is_no_card_of_these(weights: Path) -> None:
    write_card_for(weights)
    weights.write_bytes(b"other weights")
    with pytest.raises(CheckpointError, match="of other weights"):
        card_of(weights)
    assert read_card(card_path(weights)) is not None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read"),
        ("{}", "lacks format"),
        (to_text(replace(make_card(), format=2)), "format 2"),
        (to_text(make_card()).replace('"hours": 2', '"hours": "two"'), r"training\.hours"),
    ],
)
def test_a_damaged_card(weights: Path, text: str, says: str) -> None:
    card_path(weights).write_text(text)
    with pytest.raises(CheckpointError, match=says):
        card_of(weights)


def test_no_text_at_all(weights: Path) -> None:
    card_path(weights).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match="cannot be read"):
        card_of(weights)


def test_a_later_measurement_of_the_same_replaces_the_earlier_one() -> None:
    card = make_card().with_measurement(measurement("other")).with_measurement(measurement(box=0.9))
    assert [(m.data, m.dice[0].mean) for m in card.measurements] == [
        ("other", 0.8),
        ("devset", 0.9),
    ]
    card = card.with_measurement(measurement(zoom="auto"))
    assert len(card.measurements) == 3


def test_a_card_that_cannot_be_written_leaves_the_old_one(weights: Path) -> None:
    card = write_card_for(weights)
    hopeless = card.with_measurement(measurement("other", box=float("nan")))
    with pytest.raises(ValueError, match="JSON"):
        write_card(hopeless, card_path(weights))
    assert card_of(weights) == card


def test_the_card_of_the_shipped_weights() -> None:
    weights = WEIGHTS_FOLDER / "samed2d_t.safetensors"
    card = card_of(weights)
    assert card is not None
    assert (card.weights, card.weights_bytes) == (weights.name, weights.stat().st_size)
    model = build_model("samed2d_t")
    assert card.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert card.data and card.measurements and card.known_failures
    assert "| Dice |" in card_markdown(card)
