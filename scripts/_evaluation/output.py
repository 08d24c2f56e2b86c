"""The results as files: ``metrics.json`` for programs, ``table.md`` for a document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.case_files import LeftOut
from lib.training.bootstrap import Interval
from lib.training.durable import write_whole
from lib.training.evaluate import size_names
from scripts._evaluation.rows import Row
from scripts._evaluation.summary import GOALS, MEASURES, Figures, SettingFigures

ALL = "all"


@dataclass(frozen=True)
class Results:
    """Everything an evaluation found.

    Attributes:
        facts: what was measured and with what, by name, for people.
        names: of the prompts.
        settings: of the network, at least one.
        baseline: what one gets without it.
        left_out: what could not be used.
    """

    facts: Mapping[str, str]
    names: tuple[str, ...]
    settings: tuple[SettingFigures, ...]
    baseline: SettingFigures
    left_out: tuple[LeftOut, ...]


def to_json(results: Results, options: Mapping[str, str]) -> dict[str, Any]:
    """What metrics.json holds: the figures of the first setting in front, then all settings."""
    first = results.settings[0]
    return {
        **results.facts,
        "options": dict(options),
        **_figures(first.whole),
        "per_modality": _groups(first.modalities),
        "per_size": _groups(first.sizes),
        "per_case": [_case(row) for row in first.rows],
        "left_out": [vars(item) for item in results.left_out],
        "settings": [_setting(setting) for setting in results.settings],
        "baseline": _setting(results.baseline),
    }


def write_files(results: Results, options: Mapping[str, str], folder: Path) -> str:
    """Write both files; returns the table.

    Raises:
        OSError: the disk does not take them.
    """
    text = table(results)
    content = json.dumps(to_json(results, options), indent=1, allow_nan=False)
    for name, data in (("metrics.json", content + "\n"), ("table.md", text)):
        write_whole(folder / name, data.encode(), folder / f".{name}.part")
    return text


def table(results: Results) -> str:
    """By size, sizes in pixels of the network, by modality, and in all; n counts targets."""
    names = results.names
    everybody = (*results.settings, results.baseline)
    compared = any(setting.whole.same for setting in everybody)
    heads = [f"Dice {n}" for n in names] + [f"ms {n}" for n in names]
    heads += [f"same {n}" for n in names] * compared
    heads += [f"NSD {names[-1]}", *(f"clicks to IoU {goal / 100:.2f}" for goal in GOALS)]
    lines = [f"| target | n | setting | {' | '.join(heads)} | zoomed |"]
    lines.append("|---|---|---|" + "---|" * (len(heads) + 1))
    for group in (*size_names(), *results.settings[0].modalities, ALL):
        for setting in everybody:
            part = _part(setting, group)
            if part is not None:
                cells = " | ".join(_cells(part, names, compared))
                lines.append(f"| {group} | {part.n_masks} | {setting.setting.name} | {cells} |")
    return "\n".join(lines) + "\n"


def _part(setting: SettingFigures, group: str) -> Figures | None:
    if group == ALL:
        return setting.whole
    return setting.sizes.get(group) or setting.modalities.get(group)


def _cells(part: Figures, names: Sequence[str], compared: bool) -> list[str]:
    cells = [f"{part.dice[n].mean:.3f}" for n in names]
    cells += [f"{1000 * part.seconds[n]:.0f}" for n in names]
    cells += [f"{part.same[n]:.4f}" if part.same else "" for n in names] * compared
    cells.append(f"{part.nsd[names[-1]].mean:.3f}")
    cells += [f"{part.noc[goal].mean:.2f}" if part.noc else "" for goal in GOALS]
    return [*cells, f"{np.mean(list(part.zoomed.values())):.0%}"]


def _setting(setting: SettingFigures) -> dict[str, Any]:
    return {
        **vars(setting.setting),
        **_figures(setting.whole),
        "sizes": _groups(setting.sizes),
        "modalities": _groups(setting.modalities),
        "per_case": [_case(row) for row in setting.rows],
    }


def _groups(groups: Mapping[str, Figures]) -> dict[str, Any]:
    return {name: _figures(part) for name, part in groups.items()}


def _figures(part: Figures) -> dict[str, Any]:
    found: dict[str, Any] = {"n_masks": part.n_masks, "n_patients": part.n_patients}
    for measure in MEASURES:
        intervals: Mapping[str, Interval] = getattr(part, measure)
        found[measure] = {name: interval.mean for name, interval in intervals.items()}
        found[f"{measure}_interval"] = {name: _ends(i) for name, i in intervals.items()}
    for goal in GOALS:
        clicks = part.noc.get(goal)
        found[f"noc{goal}"] = None if clicks is None else clicks.mean
        found[f"noc{goal}_interval"] = None if clicks is None else _ends(clicks)
    found["dice_by_click"] = list(part.by_click)
    found["reached"] = {str(goal): list(shares) for goal, shares in part.reached.items()}
    found["seconds"], found["zoomed"] = dict(part.seconds), dict(part.zoomed)
    found["encode_seconds"] = part.encode_seconds
    if part.same:
        found["agreement"], found["worst_agreement"] = dict(part.same), dict(part.least_same)
    return found


def _ends(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _case(row: Row) -> dict[str, Any]:
    target = row.target
    facts = {
        "case": target.case,
        "patient": target.patient,
        "modality": target.modality,
        "label": target.label,
        "network_side": target.side,
    }
    measures = {
        measure: {name: getattr(score, measure) for name, score in row.scores.items()}
        for measure in MEASURES
    }
    zoomed = [name for name, score in row.scores.items() if score.zoomed]
    clicks = {"dice_by_click": [dice for dice, _ in row.by_click]}
    same = {"agreement": dict(row.same)} if row.same else {}
    return {**facts, **measures, "zoomed": zoomed, **clicks, **same}
