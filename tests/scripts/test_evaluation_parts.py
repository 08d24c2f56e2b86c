"""The parts of the evaluation: its journal, its sums, its choice of examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib.data.case_files import LeftOut
from scripts._evaluation.contestants import published_pixels
from scripts._evaluation.figures import clicks_figure, png_bytes, reached_figure
from scripts._evaluation.journal import FILE, FileDone, open_journal
from scripts._evaluation.output import Results, table
from scripts._evaluation.rows import (
    WITHOUT_NETWORK,
    Row,
    Score,
    Setting,
    Target,
    row_from_json,
    row_to_json,
)
from scripts._evaluation.run import choose_examples
from scripts._evaluation.summary import Counting, figures, summarise
from tests.support.small_sam import disc_image

OFF = Setting("off", "fp32")
COUNTING = Counting(("box", "1"), 1, 5)
DEPENDS_ON = {"data": "d", "weights": "w"}


def row(number: int, dice: float = 0.5, setting: Setting = OFF, **facts: object) -> Row:
    known = {"patient": f"p{number}", "modality": "CT", "label": "liver", "side": 20.0, **facts}
    target = Target(file="a.npz", case="a", index=number, **known)
    scores = {
        "box": Score(dice, dice / 2, dice, 0.1, False),
        "1": Score(dice / 2, dice / 4, dice, 0.3, True),
    }
    return Row(target, setting, scores, ((dice / 2, dice / 4), (0.9, 0.87)), {}, 0.2)


def test_a_row_goes_there_and_back() -> None:
    assert row_from_json(json.loads(json.dumps(row_to_json(row(1))))) == row(1)


def test_a_journal_goes_on(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, DEPENDS_ON)
    assert journal.sentence == ""
    journal.add_rows([row(1), row(1, setting=WITHOUT_NETWORK)])
    done = FileDone("a.npz", 2, (LeftOut("x", "why"),))
    journal.add_file(done)
    journal.close()
    again = open_journal(tmp_path, DEPENDS_ON)
    assert again.rows == {"a.npz/a/1": (row(1), row(1, setting=WITHOUT_NETWORK))}
    assert again.files == {"a.npz": done}
    again.close()


@pytest.mark.parametrize("tail", ["", '{"rows": [', "\n\x00", "[]\n", '"text"\n'])
def test_what_was_cut_off_is_dropped(tmp_path: Path, tail: str) -> None:
    journal = open_journal(tmp_path, DEPENDS_ON)
    journal.add_rows([row(1)])
    journal.close()
    with (tmp_path / FILE).open("a") as file:
        file.write(tail)
    journal = open_journal(tmp_path, DEPENDS_ON)
    assert list(journal.rows) == ["a.npz/a/1"]
    journal.add_rows([row(2)])
    journal.close()
    last = open_journal(tmp_path, DEPENDS_ON)
    assert list(last.rows) == ["a.npz/a/1", "a.npz/a/2"]
    last.close()


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ({**DEPENDS_ON, "weights": "other"}, "before: weights"),
        ({**DEPENDS_ON, "more": "x"}, "before: more"),
        ({"data": "d"}, "before: weights"),
    ],
)
def test_other_results_are_not_taken_over(
    tmp_path: Path, before: dict[str, str], says: str
) -> None:
    journal = open_journal(tmp_path, before)
    journal.add_rows([row(1)])
    journal.close()
    journal = open_journal(tmp_path, DEPENDS_ON)
    assert journal.rows == {} and says in journal.sentence
    journal.close()


def test_a_journal_of_something_else_starts_anew(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"a": 1}\n')
    journal = open_journal(tmp_path, DEPENDS_ON)
    assert "damaged" in journal.sentence
    journal.close()


def test_figures_of_a_group() -> None:
    found = figures([row(1, 0.4), row(2, 0.8)], COUNTING)
    assert (found.n_masks, found.n_patients) == (2, 2)
    assert found.dice["box"].mean == pytest.approx(0.6)
    assert found.dice["box"].low == pytest.approx(0.4) and found.dice["1"].high == pytest.approx(
        0.4
    )
    assert found.noc[85].mean == 2 and found.noc[90].mean == 5
    assert found.by_click == pytest.approx((0.3,))
    assert found.reached == {85: (0, 1, 1, 1, 1), 90: (0, 0, 0, 0, 0)}
    assert found.seconds == pytest.approx({"box": 0.1, "1": 0.3})
    assert found.zoomed == {"box": 0, "1": 1}
    assert found.same == {}


def test_clicks_are_not_counted_where_nobody_asked() -> None:
    found = figures([row(1)], Counting(("box", "1"), 1, 0))
    assert found.noc == {} and found.reached == {85: (), 90: ()}


def test_groups_and_the_baseline_last() -> None:
    rows = [
        part
        for number, (modality, side) in enumerate([("MR", 10.0), ("CT", 200.0), ("MR", 12.0)])
        for part in (
            row(number, setting=WITHOUT_NETWORK, modality=modality, side=side),
            row(number, modality=modality, side=side),
        )
    ]
    network, baseline = summarise(rows, COUNTING)
    assert (network.setting, baseline.setting) == (OFF, WITHOUT_NETWORK)
    assert {name: part.n_masks for name, part in network.modalities.items()} == {"CT": 1, "MR": 2}
    assert list(network.sizes) == ["under 16", "128 and more"]
    results = Results({}, ("box", "1"), (network,), baseline, ())
    lines = table(results).splitlines()
    assert "| MR | 2 | zoom off, fp32 | 0.500 | 0.250 |" in "\n".join(lines)
    assert lines[-1].startswith("| all | 3 | no network |")
    for figure in (clicks_figure(results), reached_figure(results)):
        assert png_bytes(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 40])
def test_no_example_is_shown_twice(count: int) -> None:
    rows = tuple(row(number, dice=number / 100) for number in range(count))
    chosen = choose_examples(rows)
    keys = [part.target.key for _, part in chosen]
    assert len(set(keys)) == len(keys) == min(count, 9 if count >= 9 else 3)
    assert chosen[0] == ("best", rows[-1])
    if count > 1:
        assert chosen[-1] == ("worst", rows[0])
    if count == 40:
        middle = [part.target.index for kind, part in chosen if kind == "middle"]
        assert sorted(middle) == [19, 20, 21] or sorted(middle) == [18, 19, 20]


def test_the_original_reads_blue_first() -> None:
    image = disc_image("a", "a", 0)
    pixels = published_pixels(image)
    assert pixels.shape == (*image.image.shape, 3)
    assert (pixels.min(), pixels.max()) == (0, 254), "stretched as the data of SAM-Med2D were"
    colour = pixels.copy()
    colour[:, :, 0] = 1
    of_colour = published_pixels(type(image)("a", "a", colour, image.masks, image.labels))
    assert (of_colour[:, :, 2] == 1).all()
    grey = colour[:, :, 1]
    same = published_pixels(type(image)("a", "a", grey, image.masks, image.labels))
    assert (same == grey[:, :, None]).all()
