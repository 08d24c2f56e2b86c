"""Going through all files, targets and contestants, and through none of them twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from tqdm import tqdm

from lib.data.case_files import Case, CaseFile, LeftOut
from lib.errors import ImageError, PromptError
from lib.training.evaluate import Answer, network_side
from lib.training.surface import Mask
from scripts._evaluation.contestants import Contestant, Opened
from scripts._evaluation.journal import FileDone, Journal
from scripts._evaluation.rows import Row, Score, Setting, Target


@dataclass(frozen=True)
class Measured:
    """Everything that was found.

    Attributes:
        rows: of all targets in the order of the files, all settings of a target together.
        left_out: what could not be used.
    """

    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]


def measure(
    files: Sequence[CaseFile], entrants: Sequence[Contestant], journal: Journal, every: int
) -> Measured:
    """Measure what the journal does not have yet.

    Args:
        files: to read.
        entrants: who answers.
        journal: takes every result at once.
        every: only every so many targets, beginning with the first.
    """
    number = 0
    left_out: list[LeftOut] = []
    with tqdm(files, unit="file") as bar:
        for file in bar:
            done = journal.files.get(file.name)
            if done is None:
                done = _measure_file(file, entrants, journal, every, number)
                journal.add_file(done)
            number += done.targets
            left_out += done.left_out
            bar.set_postfix_str(
                f"{len(journal.rows)} targets, {running_dice(journal)}", refresh=False
            )
    # In the order of the files, also after a kill: it goes on where it was.
    return Measured(tuple(chain.from_iterable(journal.rows.values())), tuple(left_out))


def running_dice(journal: Journal) -> str:
    """Mean Dice so far of the first setting, for the progress bar."""
    rows = [rows[0] for rows in journal.rows.values()]
    if not rows:
        return "no Dice yet"
    return f"mean Dice {np.mean([row.mean_dice for row in rows]):.3f}"


def _measure_file(
    file: CaseFile, entrants: Sequence[Contestant], journal: Journal, every: int, number: int
) -> FileDone:
    """Measure the wanted targets of a file, the first of which has a number in the folder."""
    targets = 0
    left_out = []
    for case in file.cases():
        if isinstance(case, LeftOut):
            left_out.append(case)
            continue
        begin = number + targets
        wanted = [n for n in range(len(case.image.masks)) if (begin + n) % every == 0]
        targets += len(case.image.masks)
        try:
            _measure_case(file, case, wanted, entrants, journal)
        except (ImageError, PromptError) as error:
            left_out.append(LeftOut(case.image.name, error.got))
    return FileDone(file.name, targets, tuple(left_out))


def _measure_case(
    file: CaseFile,
    case: Case,
    wanted: Sequence[int],
    entrants: Sequence[Contestant],
    journal: Journal,
) -> None:
    image = case.image
    targets = [
        Target(
            file=file.name,
            case=image.name,
            index=index,
            patient=image.patient,
            modality=case.modality,
            label=image.labels[index],
            side=network_side(image.masks[index]),
        )
        for index in wanted
    ]
    missing = [target for target in targets if target.key not in journal.rows]
    if not missing:
        return
    opened = [(entrant.setting, entrant.open(image)) for entrant in entrants]
    for target in missing:
        journal.add_rows(_rows_of(target, opened, image.masks[target.index]))


def _rows_of(target: Target, opened: Sequence[tuple[Setting, Opened]], mask: Mask) -> list[Row]:
    """The target in all settings; the first precision of each zoom is the one to agree with."""
    references: dict[str, Mapping[str, Answer]] = {}
    rows = []
    for setting, image in opened:
        found = image.segment(target.index)
        reference = references.setdefault(setting.zoom, found.answers)
        same = {} if reference is found.answers else image.same(reference)
        scores = {name: Score.of(answer, mask) for name, answer in found.answers.items()}
        rows.append(Row(target, setting, scores, found.by_click, same, image.encode_seconds))
    return rows
