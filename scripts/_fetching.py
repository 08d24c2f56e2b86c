"""What the scripts that fetch files have in common: the bar, and how they end."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tqdm import tqdm

from lib.errors import CheckpointError, NotFoundError, UnavailableError

REFUSED, UNREACHABLE, INTERRUPTED = 1, 3, 130


def progress_on(bar: tqdm) -> Callable[[int, int | None], None]:
    """Show the bytes held, and of how many, on a bar."""

    def show(held: int, total: int | None) -> None:
        bar.total = total
        bar.update(held - bar.n)

    return show


def exit_code_of(work: Callable[[], int], interrupted: str) -> int:
    """Run a script's work; what it raises becomes a sentence and an exit code.

    Args:
        work: gives the exit code where all goes well.
        interrupted: what Ctrl-C means for what was done so far.
    """
    try:
        return work()
    except (UnavailableError, NotFoundError) as error:
        print(error.message, file=sys.stderr)
        return UNREACHABLE
    except CheckpointError as error:
        print(error.message, file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print(f"interrupted; {interrupted}", file=sys.stderr)
        return INTERRUPTED
