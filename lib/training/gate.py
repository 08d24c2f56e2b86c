"""The gate: whether a trained network may take the place of the one that serves.

Two comparisons decide, object by object with the same prompts before and after: one on the held-out
labels, which says whether the network got better at what was learned, and one on phantoms with
exact truth (`lib.training.anchors`), which says whether it can still follow clicks. Neither knows
whether the labels are right; that is asked by `lib.training.foreign`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib.training.bootstrap import Interval, mean_intervals
from lib.training.foreign import LabelFit
from lib.training.manifest import Fact
from lib.training.validation import Summary, TargetScore

NONE = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Comparison:
    """Differences in Dice, after less before.

    Attributes:
        overall: of the mean over prompts.
        prompts: of each prompt: "box", "1", "3", "5".
        before, after: means.
        changed: whether any object was answered differently well.
    """

    overall: Interval
    prompts: Mapping[str, Interval]
    before: Summary
    after: Summary
    changed: bool

    @property
    def n_targets(self) -> int:
        """Objects compared."""
        return self.after.n_targets

    @property
    def n_patients(self) -> int:
        """Patients they belong to."""
        return self.after.n_patients

    @property
    def is_finite(self) -> bool:
        """Whether every figure is a number."""
        means = [self.overall.mean, *(interval.mean for interval in self.prompts.values())]
        return all(math.isfinite(mean) for mean in means)


@dataclass(frozen=True)
class GateRule:
    """What is published.

    Attributes:
        least_gain: in mean Dice on held-out labels. 0: a gain need not be certain, or a handful of
            labelled slices could never improve a network; the verdict says how certain it is.
        anchor_tolerance: how much mean Dice on the phantoms may be lost. Some is, as the network
            turns to what it is used for: 0.02 to 0.04 in short trainings on a few images.
        least_fit: Dice that an object's own image must be worth, to the network before or after
            training, or the labels are taken for wrong; between what right and wrong ones gave,
            see `lib.training.foreign`.
        fit_objects: from so many objects on the gain must be certain as well; with fewer of them
            it hardly ever is.
    """

    least_gain: float = 0.0
    anchor_tolerance: float = 0.06
    least_fit: float = 0.03
    fit_objects: int = 8

    def fits(self, fit: LabelFit | None) -> bool:
        """Whether labels belong to their images, as far as this can be told."""
        if fit is None:
            return True
        certain = fit.gain.low > 0 or fit.n_targets < self.fit_objects
        return certain and fit.gain.mean >= self.least_fit


@dataclass(frozen=True)
class Verdict:
    """What the gate says.

    Attributes:
        publish: or not.
        reason: one sentence with the figures.
        facts: the figures by name; what is no number is None.
    """

    publish: bool
    reason: str
    facts: Mapping[str, Fact]


def compare(
    before: Sequence[TargetScore], after: Sequence[TargetScore], seed: int = 0
) -> Comparison:
    """Compare two networks on the same objects.

    Args:
        before: scores of the serving network.
        after: scores of the trained one, of the same objects in the same order.
        seed: of the intervals.

    Raises:
        ValueError: scores of different objects or prompts.
    """
    if [_pairing(score) for score in before] != [_pairing(score) for score in after]:
        raise ValueError("scores of different objects cannot be compared")
    summaries = Summary.of(before), Summary.of(after)
    if not after:
        return Comparison(NONE, {}, *summaries, changed=False)
    names = tuple(after[0].dice)
    differences = _dice(after, names) - _dice(before, names)
    columns = np.column_stack([differences.mean(axis=1), differences])
    if np.isfinite(columns).all():
        overall, *each = mean_intervals(columns, [score.patient for score in after], seed)
    else:
        overall, *each = [NONE] * columns.shape[1]
    prompts = dict(zip(names, each, strict=True))
    return Comparison(overall, prompts, *summaries, changed=bool(np.any(differences != 0)))


def decide(
    validation: Comparison,
    anchors: Comparison,
    rule: GateRule,
    level: str = "patient",
    fits: Sequence[LabelFit | None] = (),
) -> Verdict:
    """Publish or refuse.

    Args:
        validation: on held-out labels.
        anchors: on phantoms.
        rule: see there.
        level: what was held out: "patient", "slice", "none", see `lib.data.split`.
        fits: what own images are worth (`lib.training.foreign`), to the network before training
            and, where that is little, after it.
    """
    refusals = _refusals(validation, anchors, rule)
    if fits and not any(rule.fits(fit) for fit in fits):
        refusals.append(_misfit(fits))
    publish = not refusals
    if publish:
        certain = validation.overall.low > 0
        head = "better" if certain else "not worse, though the gain is not certain"
        reason = f"{head}: {_figures(validation, level)}; {_phantoms(anchors)}"
    else:
        reason = "refused: " + "; ".join(refusals)
        if validation.n_targets and validation.is_finite:
            reason += f"; {_figures(validation, level)}"
    facts = _facts(validation, anchors, rule)
    facts |= {"publish": publish, "reason": reason, "held_out": level}
    known = [fit.gain.mean for fit in fits if fit is not None]
    facts["own_image_gain"] = round(max(known), 6) if known else None
    return Verdict(publish, reason, facts)


def _refusals(validation: Comparison, anchors: Comparison, rule: GateRule) -> list[str]:
    """Why it must not be published; empty where it may be."""
    for what, comparison in (("held-out object", validation), ("phantom", anchors)):
        if not comparison.n_targets:
            return [f"there is no {what} to judge by"]
        if not comparison.is_finite:
            return [f"the Dice of a {what} is no number"]
    if not validation.changed:
        return ["nothing has changed"]
    reasons = []
    if validation.overall.mean < rule.least_gain:
        reasons.append("worse on the held-out objects")
    for name, interval in validation.prompts.items():
        if interval.high < 0:
            prompt = "a box" if name == "box" else f"{name} click{'s' * (name != '1')}"
            reasons.append(f"clearly worse with {prompt}, Dice {interval}")
    if anchors.overall.mean < -rule.anchor_tolerance:
        reasons.append(
            f"too much forgotten, {_phantoms(anchors)}, where {rule.anchor_tolerance:g} may be lost"
        )
    return reasons


def _misfit(fits: Sequence[LabelFit | None]) -> str:
    best = max((fit.gain for fit in fits if fit is not None), key=lambda gain: gain.mean)
    return (
        f"the labels do not seem to belong to their images, which are worth Dice {best} against "
        "images of something else"
    )


def _figures(validation: Comparison, level: str) -> str:
    """What was measured on labels, with its uncertainty."""
    objects = _count(validation.n_targets, "object")
    where = {
        "patient": f"{objects} of {_count(validation.n_patients, 'patient')} held out",
        "slice": f"{objects} on held-out slices of the only patient",
        "none": f"{objects} that were learned from as well: nothing was held out",
    }[level]
    return f"mean Dice {validation.overall} on {where}"


def _phantoms(anchors: Comparison) -> str:
    return f"{anchors.overall.mean:+.3f} on phantoms"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _facts(validation: Comparison, anchors: Comparison, rule: GateRule) -> dict[str, Fact]:
    facts: dict[str, Fact] = {
        "n_targets": validation.n_targets,
        "n_patients": validation.n_patients,
        "n_phantom_targets": anchors.n_targets,
        "anchor_tolerance": rule.anchor_tolerance,
    }
    intervals = {f"dice_{name}": interval for name, interval in validation.prompts.items()}
    for name, interval in {
        "dice": validation.overall,
        **intervals,
        "phantom_dice": anchors.overall,
    }.items():
        for part in ("mean", "low", "high"):
            value = float(getattr(interval, part))
            facts[f"{name}_{part}"] = round(value, 6) if math.isfinite(value) else None
    return facts


def _pairing(score: TargetScore) -> tuple[object, ...]:
    return *score.key, score.patient, score.label, *score.dice


def _dice(scores: Sequence[TargetScore], names: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[score.dice[name] for name in names] for score in scores], dtype=np.float64)
