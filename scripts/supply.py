#!/usr/bin/env python3
"""What this server is made of: licences, bill of materials, known vulnerabilities.

Examples:
    python scripts/supply.py licences                      renews docs/reference/licences.md
    python scripts/supply.py sbom --out sbom.json          CycloneDX 1.6
    python scripts/supply.py audit                         asks a service on the internet
    python scripts/supply.py audit --osv-url https://osv.example/v1/query

Needs the packages of requirements-dev.txt. "licences" and "sbom" read the installed packages, which
must be those of the lock file; "audit" reads the lock file alone.

Exit codes: 0 done, nothing found; 1 not possible, or something was found; 2 wrong arguments;
3 the service does not answer, or does not know some of the packages.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lib/ lies in the root

from lib.errors import Samed2dError, UnavailableError
from lib.training.durable import write_whole

try:
    from scripts._supply.audit import audit, read_exceptions, split_by_day
    from scripts._supply.bom import bill_of_materials
    from scripts._supply.files import supplied_files
    from scripts._supply.packages import read_packages
    from scripts._supply.page import licence_page
except ModuleNotFoundError as missing:
    todo = "Use the environment that scripts/test.sh makes."
    sys.exit(f"The package {missing.name} is missing. {todo}")

DONE, FAILED, NOT_ASKED = 0, 1, 3
ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PAGE = ROOT / "docs" / "reference" / "licences.md"


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--lock", type=Path, default=LOCK, metavar="FILE", help="default: requirements.lock"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    licences = commands.add_parser("licences", parents=[common], help="write the page of licences")
    licences.add_argument("--out", type=Path, default=PAGE, metavar="FILE", help="default: docs/")
    sbom = commands.add_parser("sbom", parents=[common], help="write a bill of materials")
    sbom.add_argument("--out", type=Path, default=Path("sbom.json"), metavar="FILE")
    vulnerable = commands.add_parser(
        "audit", parents=[common], help="known vulnerabilities, by pip-audit"
    )
    vulnerable.add_argument("--osv-url", metavar="URL", help="ask this OSV service instead of PyPI")
    return parser.parse_args(arguments)


def carry_out(chosen: argparse.Namespace) -> int:
    if chosen.command == "audit":
        return show_audit(chosen)
    packages, files = read_packages(chosen.lock), supplied_files()
    make = licence_page if chosen.command == "licences" else bill_of_materials
    data = make(packages, files).encode()
    write_whole(chosen.out, data, chosen.out.with_name(chosen.out.name + ".part"))
    print(f"{chosen.out}: {len(packages)} packages, {len(files)} files")
    return DONE


def show_audit(chosen: argparse.Namespace) -> int:
    hold, over = split_by_day(read_exceptions(), datetime.date.today())
    for exception in hold:
        print(f"left out until {exception.until}: {exception.id}, {exception.reason}")
    for exception in over:
        print(f"to be looked at again since {exception.until}: {exception.id}")
    options = ["-s", "osv", "--osv-url", chosen.osv_url] if chosen.osv_url else []
    found = audit(chosen.lock, [exception.id for exception in hold], options)
    for name, version, advisory, repaired in found.vulnerable:
        print(f"{name} {version}: {advisory}, repaired in {repaired or 'no version'}")
    print(f"{found.asked} packages asked for, {len(found.vulnerable)} vulnerabilities")
    if found.unknown:
        print(f"{len(found.unknown)} packages are not known to the service", file=sys.stderr)
    return FAILED if found.vulnerable or over else NOT_ASKED if found.unknown else DONE


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse_arguments(arguments)
    try:
        return carry_out(chosen)
    except UnavailableError as error:
        print(error.message, file=sys.stderr)
        return NOT_ASKED
    except Samed2dError as error:
        print(error.message, file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
