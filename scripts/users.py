"""Give people keys for the server, take them back, and say what they may do.

A running server follows the file: a new key works at once, a removed one no longer. Run it with the
Python of the environment:  .venv/bin/python scripts/users.py add "Anna Berg"
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # lib/ lies in the root

from lib.errors import Samed2dError  # noqa: E402
from lib.options import default_api_keys, parse_options  # noqa: E402
from lib.server.api_keys import (  # noqa: E402
    ROLE_NAMES,
    add_user,
    change_role,
    read_users,
    remove_user,
)
from lib.server.roles import role_named  # noqa: E402

EPILOG = """\
roles:
  annotator  looks at images, segments, saves labels
  trainer    also trains, pre-annotates, and chooses which version answers
  admin      also removes images and labels, takes all data away, reads the log

exit codes:
  0  done
  1  not done; the reason is on stderr
"""


def add(path: Path, name: str, role: str) -> None:
    key = add_user(path, name, role_named(role))
    print(key)
    print(
        f"This is the key of {name} ({role}). It is shown once and stored nowhere: hand it over "
        "now, on a way that others do not read.",
        file=sys.stderr,
    )


def show(path: Path) -> None:
    for user in read_users(path):
        print(f"{user.role.title:12}{user.created:24}{user.name}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--file",
        type=Path,
        help="file of keys (option api_keys, SAMED2D_API_KEYS, or ~/.config/samed2d/api-keys.json)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("add", help="give somebody a key, and print it")
    one.add_argument("name")
    one.add_argument("--role", choices=ROLE_NAMES, default=ROLE_NAMES[0])
    commands.add_parser("list", help="who has a key: role, since when, name")
    one = commands.add_parser("remove", help="take somebody's key back")
    one.add_argument("name")
    one = commands.add_parser("role", help="give somebody another role")
    one.add_argument("name")
    one.add_argument("role", choices=ROLE_NAMES)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    asked = parse(arguments)
    try:
        path = asked.file or parse_options().api_keys or default_api_keys()
        if asked.command == "add":
            add(path, asked.name, asked.role)
        elif asked.command == "remove":
            remove_user(path, asked.name)
        elif asked.command == "role":
            change_role(path, asked.name, role_named(asked.role))
        else:
            show(path)
    except Samed2dError as error:
        print(error.message, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{path}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
