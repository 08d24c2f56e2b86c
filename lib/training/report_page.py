"""The page of a report; `lib.training.html` makes its tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from lib.data.pool import LabelledImage
from lib.training.bootstrap import Interval
from lib.training.html import document, picture, section, table, tag
from lib.training.report_data import ReportData, Row, label_rows, mean_row, prompt_rows
from lib.training.report_figures import prompt_name
from lib.training.validation import NOT_WITHIN, Summary

SKIPPED_ROWS = 50
"""Left out slices that are listed one by one; all of them are counted."""

HELD_OUT = {
    "patient": "whole patients, none of whose slices were learned from",
    "slice": "slices of the only patient there is; on other patients the result may be worse",
    "none": "nothing: the same slices were learned from and judged by, so the gain says little",
}

READING = (
    "Dice is the overlap of a mask with the label, 0 to 1. A simulated user gives the exact box, "
    "or clicks on the middle of the object and then on that of the largest error. Every object "
    "is segmented by the network before and after training with images prepared as the server "
    "prepares them, without zoom. An interval says where the mean may lie if other patients had "
    "been held out; it is found by drawing patients again and again, and with fewer than about "
    "five of them it is a rough guide. The phantoms are drawn images with exact truth: a network "
    "that loses much on them has forgotten too much. Labels that belong to other images are found "
    "by segmenting objects on images that are not theirs: with right labels that is clearly worse."
)


def page(data: ReportData, pictures: Mapping[str, Path]) -> str:
    """The whole page.

    Args:
        data: of the run.
        pictures: title -> PNG file, in order.
    """
    parts = [
        tag("h1", f"Training {data.run} of {data.architecture}"),
        _verdict(data),
        section("What was trained", table((), _facts(data))),
        section("Before and after", _comparison(data)),
        *(section(title, picture(title, path.read_bytes())) for title, path in pictures.items()),
        section("By label", _labels(data)),
        section("Left out", _skipped(data)),
        section("How to read this", tag("p", READING)),
        section("Versions and settings", table((), [*data.versions.items(), *_settings(data)])),
    ]
    return document(f"{data.run}: training report", parts)


def _verdict(data: ReportData) -> str:
    head = "Published" if data.published else "Not published"
    if data.published and not data.verdict.publish:
        head = "Published by force, against the gate"
    kind = "verdict" if data.published else "verdict refused"
    text = f"{tag('strong', head + '.')} {escape('The gate: ' + data.verdict.reason + '.')}"
    return f'<p class="{kind}">{text}</p>'


def _facts(data: ReportData) -> list[tuple[str, str]]:
    training, validation = data.split.training, data.split.validation
    return [
        ("learned", f"{data.part} ({data.part_reason}), recipe {data.recipe}"),
        ("learned from", _amount(training)),
        ("judged by", _amount(validation)),
        ("held out", HELD_OUT[data.split.level]),
        ("scored", f"{len(data.after)} objects, and {len(data.anchors_after)} on phantoms"),
        ("own images", _fit(data)),
        ("left out", f"{len(data.skipped)}, listed below" if data.skipped else "nothing"),
        ("epochs", f"{data.history[-1].epoch if data.history else 0}, best: {data.best_epoch}"),
        ("time", f"{_clock(data.seconds)} of training, finished {data.created}"),
    ]


def _fit(data: ReportData) -> str:
    gain = data.verdict.facts.get("own_image_gain")
    if gain is None:
        return "not compared with others"
    return f"worth {gain:+.3f} in mean Dice, against turned ones and those of other patients"


def _amount(images: Sequence[LabelledImage]) -> str:
    objects = sum(len(image.masks) for image in images)
    patients = len({image.patient for image in images})
    return f"slices: {len(images)}, objects: {objects}, patients: {patients}"


def _comparison(data: ReportData) -> str:
    rows = [_cells(prompt_name(row.name), row) for row in prompt_rows(data.before, data.after)]
    for name, before, after in (
        ("mean of box, 1, 3, 5", data.before, data.after),
        ("the same on phantoms", data.anchors_before, data.anchors_after),
    ):
        row = mean_row(name, before, after)
        if row is not None:
            rows.append(_cells(name, row))
    if not rows:
        return tag("p", "There was no object to judge by.")
    old, new = (Summary.of(scores).clicks_to_90 for scores in (data.before, data.after))
    clicks = (
        f"Clicks until a Dice of 0.9, {NOT_WITHIN} where five were too few: {old:.2f} before, "
        f"{new:.2f} after."
    )
    return table(("prompt", "before", "after", "difference", "95 % interval"), rows) + tag(
        "p", clicks
    )


def _cells(name: str, row: Row) -> tuple[str, ...]:
    interval: Interval = row.difference
    return (
        name,
        f"{row.before.mean:.3f}",
        f"{row.after.mean:.3f}",
        f"{interval.mean:+.3f}",
        f"{interval.low:+.3f} to {interval.high:+.3f}",
    )


def _labels(data: ReportData) -> str:
    rows = [
        (row.name, str(row.n_targets), *_cells("", row)[1:])
        for row in label_rows(data.before, data.after)
    ]
    if not rows:
        return tag("p", "There was no object to judge by.")
    heads = ("label", "objects", "before", "after", "difference", "95 % interval")
    return table(heads, rows) + tag("p", "Mean Dice over the prompts box, 1, 3, 5 clicks.")


def _skipped(data: ReportData) -> str:
    if not data.skipped:
        return tag("p", "Nothing: every label of every slice was used.")
    counts = Counter(skipped.reason for skipped in data.skipped).most_common()
    listing = table(("number", "reason"), [(str(count), reason) for reason, count in counts])
    rows = [
        (
            skipped.image,
            "" if skipped.slice is None else str(skipped.slice),
            skipped.label,
            skipped.reason,
        )
        for skipped in data.skipped[:SKIPPED_ROWS]
    ]
    listing += table(("image", "slice", "label", "reason"), rows)
    more = len(data.skipped) - len(rows)
    return listing + (tag("p", f"{more} more are in report.json.") if more else "")


def _settings(data: ReportData) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in data.settings.items()]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
