"""How the scripts that fetch files end."""

from __future__ import annotations

import sys
from collections.abc import Callable

from lib.errors import CheckpointError, NotFoundError, UnavailableError
from scripts._command import INTERRUPTED

REFUSED, UNREACHABLE = 1, 3


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
