"""A whole build: cases, engine, lists of files, report."""

from __future__ import annotations

import itertools
import json
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lib.data.builder.case_builder import Outcome
from lib.data.builder.case_list import find_cases
from lib.data.builder.case_task import CaseTask
from lib.data.builder.description import Source, class_ids
from lib.data.builder.folder import BuildFolder, read_text, write_whole
from lib.data.builder.outputs import SplitRule, Totals, write_lists
from lib.errors import OptionError

REPORT = "report.json"
_SALT_BYTES = 32


@dataclass(frozen=True)
class Built:
    """What a build did.

    Attributes:
        totals: what the data set holds now.
        found: cases that were done before.
        built: cases that were built now.
        removed: cases of an earlier build that the sources hold no more.
        failed: key -> why there is nothing of a case.
        names: key -> name in the archive, of the failed ones; not for others' eyes.
        skipped: reason -> how much was left out.
        warnings: sentence -> number of cases.
    """

    totals: Totals
    found: int
    built: int
    removed: int
    failed: dict[str, str]
    names: dict[str, str]
    skipped: dict[str, int]
    warnings: dict[str, int]


Engine = Callable[[Sequence[CaseTask], Path], Iterator[Outcome]]


def read_salt(path: Path) -> str:
    """The secret of an archive; made, for its owner's eyes only, where there is none.

    Raises:
        OptionError: a file that is too short for a secret.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        salt = read_text(path, "a text").strip()
        if len(salt) < 16:
            raise OptionError(f"salt file {path} with {len(salt)} letters", "16 or more") from None
        return salt
    with os.fdopen(handle, "w") as file:
        salt = secrets.token_hex(_SALT_BYTES)
        file.write(salt + "\n")
        file.flush()
        os.fsync(file.fileno())
    return salt


def build(
    sources: tuple[Source, ...],
    out: Path,
    salt: str,
    rule: SplitRule,
    engine: Engine,
    progress: Callable[[Outcome, int], None],
) -> Built:
    """Build a data set; may be ended at any time and called again.

    Args:
        sources: of the description.
        out: the folder.
        salt: secret, see `read_salt`.
        rule: of the split.
        engine: runs the cases.
        progress: told each outcome, and the number of cases.

    Raises:
        OptionError: sources that hold nothing.
        UnavailableError: another process builds into the folder.
    """
    ids = class_ids(sources)
    tasks = find_cases(sources, ids, salt)
    folder = BuildFolder(out)
    with folder.hold():
        folder.clean()
        gone = sorted(set(folder.known()) - {task.key for task in tasks})
        for key in gone:
            folder.forget(key)
        outcomes = []
        for outcome in engine(tasks, out):
            outcomes.append(outcome)
            progress(outcome, len(tasks))
        totals = write_lists(folder, [task.key for task in tasks], ids, rule)
        built = _summary(tasks, outcomes, folder, totals, len(gone))
        data = json.dumps(asdict(built), indent=1, sort_keys=True).encode()
        write_whole(folder.private / REPORT, data, folder.private / f"{REPORT}.part")
        folder.clean()
    return built


def _summary(
    tasks: Sequence[CaseTask],
    outcomes: Sequence[Outcome],
    folder: BuildFolder,
    totals: Totals,
    removed: int,
) -> Built:
    failed = {o.key: o.error for o in sorted(outcomes, key=lambda o: o.key) if o.error}
    skipped: Counter[str] = Counter()
    warnings: Counter[str] = Counter()
    for record in filter(None, (folder.record(task.key) for task in tasks)):
        skipped.update(record.skipped)
        warnings.update(itertools.chain(record.warnings))
    return Built(
        totals=totals,
        found=sum(not o.built and not o.error for o in outcomes),
        built=sum(o.built for o in outcomes),
        removed=removed,
        failed=failed,
        names={task.key: task.name for task in tasks if task.key in failed},
        skipped=dict(skipped.most_common()),
        warnings=dict(warnings.most_common()),
    )
