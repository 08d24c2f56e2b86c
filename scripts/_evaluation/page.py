"""The report: one HTML file with its pictures inside, every figure with the number behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lib.networks import find_architecture
from lib.training.bootstrap import Interval
from lib.training.durable import write_whole
from lib.training.html import document, picture, section, table, tag
from lib.training.report_figures import prompt_name
from scripts._evaluation.figures import clicks_figure, png_bytes, reached_figure
from scripts._evaluation.output import Results
from scripts._evaluation.panels import panels_figure
from scripts._evaluation.run import KINDS, Example
from scripts._evaluation.summary import GOALS, Figures, SettingFigures

LEFT_OUT = 50
"""Things left out that are listed; all of them are counted and in metrics.json."""
PUBLISHED = {"box": 79.30, "1": 70.01, "3": 76.35, "5": 78.68}
"""Dice in percent that the authors of SAM-Med2D give (arXiv:2308.16184), on their own test data."""

READING = {
    "noc": "A simulated user gives the exact box; or clicks on the innermost pixel of the object, "
    "then each time on that of the largest error. Clicks accumulate, and all of them are sent each "
    "time, as viewers do.",
    "paper": "Prompts, images and metrics are those of SAM-Med2D's test script: nearest-neighbour "
    "resizing or padding, random points (the same in each run), metrics of each target rounded to "
    "four decimals.",
}
MEASURES = (
    "Dice and IoU are the overlap of a mask with the truth, 0 to 1. NSD is the share of the two "
    "outlines that runs within 2 pixels of each other where the longer side of the image is 256. "
    "An interval (95 %) says where the mean may lie if other patients had been measured; it is "
    "found by drawing patients again and again, and with fewer than about five of them it is a "
    "rough guide. n counts targets. No network: the ellipse inscribed in the box; for clicks, what "
    "is connected with a click and has about its grey value."
)

CAPTION = (
    "By mean Dice over the prompts. Yellow: the truth; blue: the answer; green crosses: clicks on "
    "the object; orange crosses: clicks beside it; white: the box."
)


def write_report(results: Results, examples: Sequence[Example], path: Path) -> None:
    """Write the page.

    Raises:
        OSError: the disk does not take it.
    """
    data = page(results, examples).encode()
    write_whole(path, data, path.with_name(f".{path.name}.part"))


def page(results: Results, examples: Sequence[Example]) -> str:
    """The whole page."""
    facts = results.facts
    parts = [
        tag("h1", f"{facts['model']} on {facts['data']}"),
        section("What was measured", table((), list(facts.items())) + tag("p", _reading(results))),
        section("All targets", _all_targets(results)),
        section("Dice against clicks", _curves(results)),
        section("By modality", _modalities(results)),
        section("By size", _sizes(results)),
        *_examples(results, examples),
        section("Left out", _left_out(results)),
    ]
    return document(f"{facts['model']} on {facts['data']}: evaluation", parts)


def _reading(results: Results) -> str:
    return f"{READING[results.facts['protocol']]} {MEASURES}"


def _everybody(results: Results) -> tuple[SettingFigures, ...]:
    return (*results.settings, results.baseline)


def _all_targets(results: Results) -> str:
    names = results.names
    tables = []
    for title, measure in (("Dice", "dice"), ("IoU", "iou"), ("NSD", "nsd")):
        rows = [
            (s.setting.name, str(s.whole.n_masks), *_texts(getattr(s.whole, measure), names))
            for s in _everybody(results)
        ]
        if title == "Dice" and results.facts["protocol"] == "paper":
            rows.append(("SAM-Med2D, the authors' figures on their data", "", *_authors(results)))
        tables.append(table((title, "n", *map(prompt_name, names)), rows))
    return "\n".join(tables) + _clicks(results)


def _authors(results: Results) -> list[str]:
    known = (PUBLISHED.get(name) for name in results.names)
    return ["" if value is None else f"{value / 100:.4f}" for value in known]


def _clicks(results: Results) -> str:
    rows = [
        (s.setting.name, str(s.whole.n_masks), *(str_of(s.whole.noc[goal], 2) for goal in GOALS))
        for s in _everybody(results)
        if s.whole.noc
    ]
    if not rows:
        return tag("p", "Clicks until a wanted IoU were not counted.")
    heads = ("clicks until", "n", *(f"IoU {goal / 100:.2f}" for goal in GOALS))
    most = results.facts["max_clicks"]
    return table(heads, rows) + tag("p", f"A target that never gets there counts {most} clicks.")


def _curves(results: Results) -> str:
    whole = results.settings[0].whole
    text = ""
    if whole.by_click:
        pairs = zip(whole.by_click, whole.by_click[1:], strict=False)
        steps = ", ".join(
            f"{number} to {number + 1}: {after - before:+.3f}"
            for number, (before, after) in enumerate(pairs, start=1)
        )
        text = f"Change of mean Dice by each click ({results.settings[0].setting.name}): {steps}."
    first = picture(
        "Mean Dice against clicks",
        png_bytes(clicks_figure(results)),
        f"n = {whole.n_masks}. {text}",
    )
    if not any(whole.reached.values()):
        return first
    title = "Share of targets with the wanted IoU against clicks"
    second = picture(title, png_bytes(reached_figure(results)), f"{title}; n = {whole.n_masks}.")
    return first + second


def _modalities(results: Results) -> str:
    return _group_table(results, "modality", lambda setting: setting.modalities)


def _sizes(results: Results) -> str:
    text = "Longer side of the target's bounding box in pixels of the network (256 x 256)."
    return _group_table(results, "pixels", lambda setting: setting.sizes) + tag("p", text)


def _group_table(
    results: Results, head: str, groups: Callable[[SettingFigures], Mapping[str, Figures]]
) -> str:
    rows = []
    for name in groups(results.settings[0]):
        for setting in _everybody(results):
            part = groups(setting)[name]
            counts = (str(part.n_masks), str(part.n_patients))
            texts = _texts(part.dice, results.names)
            rows.append((name, setting.setting.name, *counts, *texts))
    heads = (head, "setting", "n", "patients", *(f"Dice {prompt_name(n)}" for n in results.names))
    return table(heads, rows)


def _examples(results: Results, examples: Sequence[Example]) -> list[str]:
    intensity = find_architecture(results.facts["model"]).intensity
    parts = []
    for kind in KINDS:
        chosen = [example for example in examples if example.kind == kind]
        if chosen:
            png = png_bytes(panels_figure(chosen, intensity))
            parts.append(section(f"The {kind} targets", picture(f"The {kind}", png, CAPTION)))
    return parts


def _left_out(results: Results) -> str:
    if not results.left_out:
        return tag("p", "Nothing.")
    rows = [(item.name, item.reason) for item in results.left_out[:LEFT_OUT]]
    return tag("p", f"n = {len(results.left_out)}") + table(("what", "why"), rows)


def _texts(intervals: Mapping[str, Interval], names: Sequence[str]) -> list[str]:
    return [str_of(intervals[name], 3) for name in names]


def str_of(interval: Interval, digits: int) -> str:
    """A mean with its interval: "0.812 (0.790 to 0.834)"."""
    mean, low, high = (f"{v:.{digits}f}" for v in (interval.mean, interval.low, interval.high))
    return f"{mean} ({low} to {high})"
