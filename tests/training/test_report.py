"""The report: complete, self-contained, and safe to open whatever labels are called."""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.labelled_slices import Skipped
from lib.data.pool import LabelledImage
from lib.data.split import Split
from lib.errors import TrainingError
from lib.inference.volume_mask import PackedMask
from lib.training.gate import GateRule, compare, decide
from lib.training.progress import EpochRecord
from lib.training.report import ReportData, write_report
from lib.training.report_data import label_rows, prompt_rows, worst_cases
from lib.training.report_figures import labels_figure, printable, save_png
from lib.training.report_page import page
from lib.training.validation import TargetScore

NASTY = '<script>alert("1")</script> & $\\frac{1}$ 肝'
PNGS = {"dice_by_clicks.png", "epochs.png", "labels.png", "worst_cases.png"}


def image(name: str, patient: str, label: str = "liver") -> LabelledImage:
    pixels = np.random.default_rng(len(name)).integers(-200, 300, (80, 100), dtype=np.int16)
    mask = np.zeros((1, 80, 100), dtype=bool)
    mask[0, 20:50, 30:70] = True
    return LabelledImage(name, patient, pixels, mask, (label,), "CT", "ABDOMEN")


def scores(images: tuple[LabelledImage, ...], dice: float) -> tuple[TargetScore, ...]:
    found = []
    for number, case in enumerate(images):
        by_clicks = tuple(min(1.0, dice + 0.02 * number + 0.05 * k) for k in range(5))
        shifted = np.roll(case.masks[0], round(20 * (1 - dice)), axis=1)
        found.append(
            TargetScore(
                image=case.name,
                patient=case.patient,
                label=case.labels[0],
                dice={"box": dice, "1": by_clicks[0], "3": by_clicks[2], "5": by_clicks[4]},
                clicks_to_90=6,
                by_clicks=by_clicks,
                mask=PackedMask.pack(shifted),
            )
        )
    return tuple(found)


def data(label: str = "liver") -> ReportData:
    held_out = tuple(
        image(f"case {n}#k0001", f"SECRET^PATIENT{n}", label if n else "spleen") for n in range(8)
    )
    anchors = tuple(image(f"phantom {n}", f"phantom {n}") for n in range(4))
    before, after = scores(held_out, 0.5), scores(held_out, 0.6)
    anchors_before, anchors_after = scores(anchors, 0.7), scores(anchors, 0.69)
    rule = GateRule()
    return ReportData(
        run="train_01",
        architecture="samed2d_t",
        recipe="default",
        part="decoder",
        part_reason="20 objects are fewer than 50",
        split=Split(tuple(image(f"t{n}", f"q{n}") for n in range(3)), held_out, "patient"),
        skipped=(
            Skipped("case 9", 3, label, "too small"),
            Skipped("case 9", None, "", "on another grid than its image"),
        ),
        before=before,
        after=after,
        anchors_before=anchors_before,
        anchors_after=anchors_after,
        verdict=decide(compare(before, after), compare(anchors_before, anchors_after), rule),
        published=True,
        history=(
            EpochRecord(0, 0.0, None, {"box": 0.5, "1": 0.55}, 6.0, None),
            EpochRecord(1, 61.0, 0.8, {"box": 0.6, "1": 0.66}, 5.0, 12.0),
        ),
        best_epoch=1,
        seconds=61.0,
        created="2026-01-02T03:04:05+00:00",
        versions={"network before": "samed2d_t-0123456789ab", "torch": "2"},
        settings={"max_epochs": 10, "name": "train_01"},
    )


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def written(folder: Path, content: ReportData) -> Page:
    write_report(folder, content)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report; read only."""
    folder = tmp_path_factory.mktemp("run") / "report"
    write_report(folder, data())
    return folder


def text_of(content: ReportData) -> str:
    """What people read on the page, pictures left out."""
    return Page(page(content, {})).text


def test_all_files_are_there_and_nothing_else(report: Path) -> None:
    assert [path.name for path in report.parent.iterdir()] == ["report"]
    files = {path.name for path in report.iterdir()}
    assert files == PNGS | {"report.html", "report.json"}
    for name in PNGS:
        with Image.open(report / name) as picture:
            assert picture.width == 800
            assert np.asarray(picture.convert("L")).std() > 5


def test_the_page_needs_nothing_from_outside(report: Path) -> None:
    text = (report / "report.html").read_text(encoding="utf-8")
    found = Page(text)
    assert found.open == []
    names = {name for name, _ in found.tags}
    assert not names & {"script", "link", "iframe", "object", "a", "form", "base"}
    pictures = [attributes["src"] for name, attributes in found.tags if name == "img"]
    assert len(pictures) == len(PNGS)
    kept = {(report / name).read_bytes() for name in PNGS}
    for source in pictures:
        assert source is not None
        head, _, encoded = source.partition(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(encoded, validate=True) in kept
    assert not any(key.startswith("on") for _, attributes in found.tags for key in attributes)
    assert not re.search(r"https?://|url\(|@import|javascript:", text)
    assert "default-src 'none'" in text


def test_what_users_call_their_labels_is_text_only(report: Path, tmp_path: Path) -> None:
    plain = Page((report / "report.html").read_text(encoding="utf-8"))
    nasty = written(tmp_path / "nasty", data(NASTY))
    assert [name for name, _ in nasty.tags] == [name for name, _ in plain.tags]
    assert NASTY in nasty.text
    found = json.loads((tmp_path / "nasty" / "report.json").read_text(encoding="utf-8"))
    assert {row["name"] for row in found["labels"]} == {NASTY, "spleen"}


def test_every_text_of_a_user_is_escaped() -> None:
    evil = "</td></table><b>x</b>\"'>"
    content = data(evil)
    validation = tuple(replace(case, name=evil + case.name) for case in content.split.validation)
    content = replace(
        content,
        run=evil,
        part_reason=evil,
        skipped=(Skipped(evil, 1, evil, evil),),
        split=replace(content.split, validation=validation),
        before=tuple(replace(score, image=evil + score.image) for score in content.before),
        after=tuple(replace(score, image=evil + score.image) for score in content.after),
        verdict=replace(content.verdict, reason=evil),
        versions={evil: evil},
        settings={evil: evil},
    )
    found = Page(page(content, {}))
    assert found.open == []
    assert "b" not in {name for name, _ in found.tags}
    assert found.text.count(evil) >= 8


def test_no_patient_is_named(report: Path) -> None:
    for path in report.iterdir():
        assert b"SECRET" not in path.read_bytes()


def test_the_page_says_what_was_done() -> None:
    content = data()
    text = text_of(content)
    assert content.verdict.reason in text
    assert "Published." in text
    assert "decoder (20 objects are fewer than 50), recipe default" in text
    assert "slices: 3, objects: 3, patients: 3" in text
    assert "slices: 8, objects: 8, patients: 8" in text
    assert "too small" in text
    assert "1 min 1 s of training" in text
    assert "samed2d_t-0123456789ab" in text
    assert "not compared with others" in text
    facts = {**content.verdict.facts, "own_image_gain": 0.1234}
    verdict = replace(content.verdict, facts=facts)
    assert "worth +0.123 in mean Dice" in text_of(replace(content, verdict=verdict))


@pytest.mark.parametrize(
    ("gate", "published", "words"),
    [
        (True, True, "Published."),
        (False, False, "Not published."),
        (True, False, "Not published."),
        (False, True, "Published by force, against the gate."),
    ],
)
def test_gate_and_outcome_are_told_apart(gate: bool, published: bool, words: str) -> None:
    content = data()
    verdict = replace(content.verdict, publish=gate)
    found = Page(page(replace(content, verdict=verdict, published=published), {}))
    assert words in found.text
    kinds = [attributes["class"] for name, attributes in found.tags if name == "p" and attributes]
    assert ("refused" in str(kinds)) is not published


@pytest.mark.parametrize(
    ("level", "words"), [("slice", "only patient there is"), ("none", "nothing: the same slices")]
)
def test_what_was_held_out_is_said(level: str, words: str) -> None:
    content = data()
    content = replace(content, split=replace(content.split, level=level))
    assert words in text_of(content)


def test_json_holds_the_same_figures(report: Path) -> None:
    content = data()
    found = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert found["gate"] == dict(content.verdict.facts)
    assert found["before"]["dice"]["box"] == pytest.approx(0.5)
    assert found["after"]["dice"]["box"] == pytest.approx(0.6)
    assert found["mean"]["difference"]["mean"] == pytest.approx(
        compare(content.before, content.after).overall.mean
    )
    assert [row["name"] for row in found["prompts"]] == ["box", "1", "2", "3", "4", "5"]
    assert len(found["objects"]) == 8
    assert found["skipped"][0]["reason"] == "too small"


def test_figures_that_are_no_numbers_become_null(tmp_path: Path) -> None:
    content = data()
    record = replace(content.history[1], loss=math.nan, dice={"box": math.nan})
    write_report(tmp_path / "report", replace(content, history=(content.history[0], record)))
    found = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert found["history"][1]["loss"] is None


def test_a_run_without_anything_to_judge_by(tmp_path: Path) -> None:
    text = written(tmp_path / "report", nothing_scored()).text
    assert "There was no object to judge by." in text
    assert "there is no held-out object to judge by" in text
    files = {path.name for path in (tmp_path / "report").iterdir()}
    assert files == {"report.html", "report.json"}


def nothing_scored() -> ReportData:
    """A run without anything to judge by, whose report has no pictures."""
    nothing = compare((), ())
    return replace(
        data(),
        split=Split((), (), "none"),
        skipped=(),
        before=(),
        after=(),
        anchors_before=(),
        anchors_after=(),
        history=(),
        verdict=decide(nothing, nothing, GateRule()),
        published=False,
    )


def test_one_report_takes_the_place_of_another(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "old.png").touch()
    (tmp_path / ".report.part").mkdir()
    (tmp_path / ".report.part" / "of a killed run").touch()
    write_report(folder, nothing_scored())
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert not (folder / "old.png").exists()


def test_a_report_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report"
    write_report(folder, nothing_scored())
    before = (folder / "report.html").read_bytes()

    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(TrainingError, match="No space left"):
        write_report(folder, nothing_scored())
    assert (folder / "report.html").read_bytes() == before


def test_the_same_data_give_the_same_files(report: Path, tmp_path: Path) -> None:
    write_report(tmp_path / "again", data())
    for path in report.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_the_worst_cases_come_first() -> None:
    content = data()
    cases = worst_cases(content)
    assert len(cases) == 6
    assert [case.after.by_clicks[0] for case in cases] == sorted(
        score.by_clicks[0] for score in content.after
    )[:6]
    assert all(case.before.key == case.after.key for case in cases)
    assert all(case.image.name == case.after.image for case in cases)
    without = tuple(replace(score, mask=None) for score in content.after)
    assert worst_cases(replace(content, after=without)) == []


def test_rows_by_label_and_prompt() -> None:
    content = data()
    rows = label_rows(content.before, content.after)
    assert [(row.name, row.n_targets) for row in rows] == [("liver", 7), ("spleen", 1)]
    boxless = tuple(replace(score, dice={"1": score.dice["1"]}) for score in content.after)
    assert [row.name for row in prompt_rows(boxless, boxless)] == ["1", "2", "3", "4", "5"]
    assert prompt_rows((), ()) == []


def test_many_labels_with_long_names_can_be_drawn(tmp_path: Path) -> None:
    content = data()
    many = tuple(
        replace(score, label=f"label {n} " + "x" * 200) for n, score in enumerate(content.after * 5)
    )
    save_png(labels_figure(label_rows(many, many)), tmp_path / "labels.png")
    with Image.open(tmp_path / "labels.png") as picture:
        assert picture.width == 800


def test_names_are_cut_to_what_the_font_can_show() -> None:
    assert printable("left\tkidney\n") == "left kidney"
    assert printable("肝 liver") == "? liver"
    assert len(printable("x" * 100)) == 28
    assert printable("Länge µ") == "Länge µ"
