"""Damaged videos by the thousand, through real decoder children: the figures of docs/reliability.md, "Hostile media".

``python -m benchmarks.hostile --mutations 20000 --seed 7 --decoder pyav``; ``--tasks`` does pictures, clips and
overlays instead of reading; ``--only NUMBER`` reads one again, by a child that is started as users' are, and says all;
``--real`` starts all of them so. Prints markdown. The exit code is 1 where anything happened that never must.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.hostile_media import mutate, write_sources
from tests.hostile_run import LIMITS, MODULES, Outcome, leaving_nothing, reading, run
from vadpipe.extractors.decoders import DECODERS


def row(name: str, outcomes: list[Outcome], seconds: float) -> str:
    """One line of the table."""
    kinds = Counter(one.kind for one in outcomes)
    refused = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()) if kind != "read")
    signals = sum(one.signal > 0 for one in outcomes)
    hangs = kinds["DecoderTimeout"]
    crashes = sum(bool(one.wrong) for one in outcomes)
    slowest = max(one.seconds for one in outcomes)
    most = max(one.peak_kib for one in outcomes) / 1024
    cells = (
        name,
        len(outcomes),
        kinds["read"],
        refused,
        signals,
        hangs,
        crashes,
        f"{slowest:.1f} s",
        f"{most:.0f} MiB",
    )
    return "| " + " | ".join(map(str, cells)) + f" | {seconds:.0f} s |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--decoder", choices=sorted(DECODERS), default="pyav")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tasks", action="store_true")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--only", type=int)
    given = parser.parse_args()
    numbers = range(given.first, given.first + given.mutations) if given.only is None else [given.only]
    forked = not given.real and given.only is None
    module = "" if not forked else MODULES if given.decoder == "pyav" else DECODERS[given.decoder].module
    began, outcomes = time.monotonic(), []
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        folder = Path(name)
        sources = write_sources(folder)
        with leaving_nothing():
            one = reading(sources, given.seed, folder, given.decoder, tasks=given.tasks)
            for outcome in run(numbers, one, given.jobs, module):
                outcomes.append(outcome)
                if sys.stderr.isatty() and len(outcomes) % 50 == 0:
                    sys.stderr.write(f"\r{len(outcomes)} of {len(numbers)}")
                if outcome.wrong or given.only is not None:
                    made = mutate(sources, given.seed, outcome.number)
                    print(f"number {outcome.number}, {made.source}, {made.what}, {len(made.content)} bytes: {outcome}")
    print("| decoder | files | read | refused | killed by a signal | hangs | wrong | slowest | most memory | in all |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    print(row(given.decoder + (", tasks" if given.tasks else ""), outcomes, time.monotonic() - began))
    print(f"\nLimits: {LIMITS}")
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
