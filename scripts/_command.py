"""What several commands have in common: arguments, the progress bar, how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tqdm import tqdm

from lib.errors import Samed2dError

DONE, FAILED, INTERRUPTED = 0, 1, 130


def positive(text: str) -> int:
    """A whole number of the command line, 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: 1 or more")
    return value


def progress_on(bar: tqdm) -> Callable[[int, int | None], None]:
    """Show on a bar how much is done, and of how much."""

    def show(done: int, total: int | None) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return show


def exit_code_of(
    work: Callable[[], int], name: str, interrupted: str = "interrupted", failed: int = FAILED
) -> int:
    """Run a command's work; what it raises becomes a sentence and an exit code.

    Args:
        work: gives the exit code where all goes well.
        name: of the command, before the sentence.
        interrupted: what Ctrl-C means for what was done so far.
        failed: the exit code of what was not possible.
    """
    try:
        return work()
    except (Samed2dError, OSError) as error:
        message = error.message if isinstance(error, Samed2dError) else str(error)
        print(f"{name}: {message}", file=sys.stderr)
        return failed
    except KeyboardInterrupt:
        print(f"{name}: {interrupted}", file=sys.stderr)
        return INTERRUPTED
