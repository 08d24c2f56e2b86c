"""Cards for people."""

from __future__ import annotations

from lib.networks.model_card_text import card_markdown
from tests.support.cards import make_card

TEXT = card_markdown(make_card())


def test_everything_is_there() -> None:
    assert TEXT.startswith("# samed2d_t\n\nA network.\n")
    assert "12.0 MB, 6.0 M parameters, SHA-256 ffffffffffff..." in TEXT
    assert "| phantoms | all | Apache-2.0 | training |" in TEXT
    assert "| images a second | 8.5 |" in TEXT
    assert TEXT.endswith("* thin structures\n")


def test_figures_have_their_intervals_where_there_are_some() -> None:
    assert "### devset: protocol noc, zoom off, fp32\n\n3 targets of 2 patients. not seen" in TEXT
    assert "|  | box | 1 click |" in TEXT
    assert "| Dice | 0.800 (0.700 to 0.900) | 0.500 |" in TEXT
    assert "| IoU | 0.700 (0.600 to 0.800) |  |" in TEXT
    assert "| Dice without a network | 0.790 (0.700 to 0.900) |  |" in TEXT
    assert "Mean clicks until IoU 0.85: 4.50 (4.00 to 5.00)." in TEXT
    assert "NSD" not in TEXT


def test_a_name_does_not_end_its_cell() -> None:
    assert "| CT \\| low dose | 2 | 0.900 (0.800 to 1.000) |  |" in TEXT
