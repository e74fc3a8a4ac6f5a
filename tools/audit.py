"""Ask an advisory database about every locked package: ``make audit``. Runs where locks/supply.txt is installed.

Exit codes: 0 no known vulnerability, 1 at least one, 2 not audited. pip-audit alone would pass in silence where the
database does not know a package or answers without its advisories (a mirror of the package index may), so a package
with long published vulnerabilities is asked about first: a database that knows none of them has not been asked.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KNOWN_BAD = "pillow==9.0.0"  # among others CVE-2022-22817, arbitrary code through ImageMath.eval
NOT_AUDITED = 2

_WHAT_TO_DO = (
    "Run `make audit` where the advisory database can be reached, or name another one:\n"
    "  make audit AUDIT='--service osv'                 (the OSV database)\n"
    "  make audit AUDIT='--service osv --osv-url URL'   (a copy of it in your network)"
)


class NotAuditedError(Exception):
    """The database was not reached or did not answer for every package."""


def locked() -> list[str]:
    """``name==version`` of constraints.txt and every file in locks/, sorted."""
    files = [ROOT / "constraints.txt", *(ROOT / "locks").glob("*.txt")]
    return sorted({pin for path in files for pin in re.findall(r"^[a-z0-9][^\s;\\]*", path.read_text("utf-8"), re.M)})


def ask(program: str, pins: Sequence[str], options: Sequence[str]) -> list[dict[str, Any]]:
    """Return pip-audit's ``dependencies``; :class:`NotAuditedError` where it wrote none or skipped a package."""
    with tempfile.TemporaryDirectory() as temporary:
        listed, told = Path(temporary, "pins.txt"), Path(temporary, "told.json")
        listed.write_text("\n".join(pins) + "\n", encoding="utf-8")
        settled = ["--disable-pip", "--no-deps", "--progress-spinner=off", "--format=json"]
        command = [program, f"--requirement={listed}", f"--output={told}", *settled, *options]
        try:
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        except OSError as error:
            raise NotAuditedError(f"pip-audit could not be started: {error}") from error
        if not told.is_file():
            raise NotAuditedError(f"pip-audit gave up: {_last_line(done.stderr)}")
        found: list[dict[str, Any]] = json.loads(told.read_text(encoding="utf-8"))["dependencies"]
    answered = {f"{one['name'].lower()}=={one['version']}" for one in found if "skip_reason" not in one}
    missing = [pin for pin in pins if pin not in answered]
    if missing:
        reasons = [one["skip_reason"] for one in found if "skip_reason" in one] or ["it is not in the answer"]
        raise NotAuditedError(f"No answer for {len(missing)} of {len(pins)} packages, the first: {reasons[0]}")
    return found


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it gave no reason"


def audit(program: str, options: Sequence[str]) -> int:
    """Print what is known about the locked packages; return the exit code."""
    pins = locked()
    try:
        if not any(one["vulns"] for one in ask(program, [KNOWN_BAD], options)):
            raise NotAuditedError(f"The database answers, but knows no vulnerability of {KNOWN_BAD}")
        found = ask(program, pins, options)
    except NotAuditedError as error:
        print(f"audit: NOT AUDITED. {error}\n{_WHAT_TO_DO}", file=sys.stderr)
        return NOT_AUDITED
    bad = [one for one in found if one["vulns"]]
    for one in bad:
        for vulnerability in one["vulns"]:
            names = ", ".join([vulnerability["id"], *vulnerability.get("aliases", [])])
            fixed = ", ".join(vulnerability.get("fix_versions", [])) or "no version yet"
            print(f"{one['name']} {one['version']}: {names}; fixed in {fixed}")
    if bad:
        print(f"audit: {len(bad)} of {len(pins)} locked packages have known vulnerabilities", file=sys.stderr)
        print("Take the fixed versions: make lock UPGRADE='NAME NAME', then make test", file=sys.stderr)
        return 1
    print(f"audit: no known vulnerability in {len(pins)} locked packages")
    return 0


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Ask an advisory database about every locked package.", allow_abbrev=False
    )
    parser.add_argument("--program", default=str(Path(sys.executable).parent / "pip-audit"), help="pip-audit")
    known, options = parser.parse_known_args()
    return audit(known.program, options)


if __name__ == "__main__":
    sys.exit(main())
