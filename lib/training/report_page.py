"""The page of a report: one HTML file with its pictures inside, no scripts, nothing from outside.

Names of labels and images come from users, so every text goes through `html.escape` on its way into
a tag; nothing else makes tags here.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from lib.data.pool import LabelledImage
from lib.training.bootstrap import Interval
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

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 52rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: 0.8rem 0; font-size: 0.95rem; }
th, td { text-align: left; padding: 0.25rem 0.9rem 0.25rem 0; border-bottom: 1px solid #ddd;
  vertical-align: top; overflow-wrap: anywhere; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.verdict { border-left: 0.5rem solid #0072b2; background: #eef5fa; padding: 0.6rem 1rem; }
.refused { border-color: #d55e00; background: #fbf0ea; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; }
figcaption, .small { color: #555; font-size: 0.9rem; }
""".strip()

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
        _tag("h1", f"Training {data.run} of {data.architecture}"),
        _verdict(data),
        _section("What was trained", _table((), _facts(data))),
        _section("Before and after", _comparison(data)),
        *(_section(title, _picture(title, path)) for title, path in pictures.items()),
        _section("By label", _labels(data)),
        _section("Left out", _skipped(data)),
        _section("How to read this", _tag("p", READING)),
        _section("Versions and settings", _table((), [*data.versions.items(), *_settings(data)])),
    ]
    title = escape(f"{data.run}: training report")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _verdict(data: ReportData) -> str:
    head = "Published" if data.published else "Not published"
    if data.published and not data.verdict.publish:
        head = "Published by force, against the gate"
    kind = "verdict" if data.published else "verdict refused"
    text = f"{_tag('strong', head + '.')} {escape('The gate: ' + data.verdict.reason + '.')}"
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
        return _tag("p", "There was no object to judge by.")
    old, new = (Summary.of(scores).clicks_to_90 for scores in (data.before, data.after))
    clicks = (
        f"Clicks until a Dice of 0.9, {NOT_WITHIN} where five were too few: {old:.2f} before, "
        f"{new:.2f} after."
    )
    return _table(("prompt", "before", "after", "difference", "95 % interval"), rows) + _tag(
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
        return _tag("p", "There was no object to judge by.")
    heads = ("label", "objects", "before", "after", "difference", "95 % interval")
    return _table(heads, rows) + _tag("p", "Mean Dice over the prompts box, 1, 3, 5 clicks.")


def _skipped(data: ReportData) -> str:
    if not data.skipped:
        return _tag("p", "Nothing: every label of every slice was used.")
    counts = Counter(skipped.reason for skipped in data.skipped).most_common()
    text = _table(("number", "reason"), [(str(count), reason) for reason, count in counts])
    rows = [
        (
            skipped.image,
            "" if skipped.slice is None else str(skipped.slice),
            skipped.label,
            skipped.reason,
        )
        for skipped in data.skipped[:SKIPPED_ROWS]
    ]
    text += _table(("image", "slice", "label", "reason"), rows)
    more = len(data.skipped) - len(rows)
    return text + (_tag("p", f"{more} more are in report.json.") if more else "")


def _settings(data: ReportData) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in data.settings.items()]


def _section(title: str, content: str) -> str:
    return f"{_tag('h2', title)}\n{content}"


def _picture(title: str, path: Path) -> str:
    encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<figure><img alt="{escape(title)}" src="data:image/png;base64,{encoded}"></figure>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns whose cells are all numbers are set flush right."""
    columns = range(len(rows[0])) if rows else range(0)
    numeric = [bool(heads) and all(_is_number(row[n]) for row in rows) for n in columns]
    marks = [' class="n"' if number else "" for number in numeric]
    lines = []
    if heads:
        cells = zip(marks, heads, strict=True)
        lines.append("".join(f"<th{mark}>{escape(text)}</th>" for mark, text in cells))
    for row in rows:
        cells = zip(marks, row, strict=True)
        lines.append("".join(f"<td{mark}>{escape(text)}</td>" for mark, text in cells))
    return "<table>\n" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "\n</table>"


def _tag(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def _is_number(text: str) -> bool:
    return text.replace(" to ", "").strip("+-0123456789.") == "" and text != ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
