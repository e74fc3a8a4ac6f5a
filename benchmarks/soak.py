"""Hundreds of runs of detect in one process over good and bad clips: the figures of docs/reliability.md, "Soak".

    python -m benchmarks.soak [--runs 500] [--warm 100] [--clip-every 40] [--picture soak.png]

What a run is: ``tests/soak_cases.py``. Every ``--clip-every``-th run loads CLIP with random weights, as the command
does. Prints markdown. Ends with 1 where a bound is broken: over the runs after the first ``--warm`` ones the slope of
memory (RSS, USS; least squares, upper end of its 95 % interval) has to stay under 20 KiB a run, the median of the last
50 runs within 8 MiB of the median of the first 50, and every count has to be what it was.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.soak_cases import (  # noqa: E402
    EXACT,
    Meter,
    Reading,
    Slope,
    Soak,
    caches,
    changed,
    objects,
    own_temporary_folder,
)

MOST_A_RUN = 20 * 1024
MOST_IN_ALL = 8 * 1024**2
_EDGE = 50  # runs at either end whose medians are compared


def soak_for(
    folder: Path, runs: int, warm: int, clip_every: int, minutes: float
) -> tuple[Meter, Soak, list[Counter[str]]]:
    """All the runs, or those of so many minutes; objects and caches are counted after ``warm`` runs, and at the end."""
    soak, meter, counted = Soak(folder, with_clip=bool(clip_every)), Meter(), []
    began = time.monotonic()
    soak.warm_up()
    if clip_every:
        soak.run_clip(0)
    for number in range(runs):
        is_clip = bool(clip_every) and number % clip_every == clip_every - 1
        meter.read(soak.run_clip(number) if is_clip else soak.run(number))
        if number in (warm - 1, runs - 1):
            counted.append(objects() + Counter({f"cache {name}": count for name, count in caches().items()}))
        if time.monotonic() - began > minutes * 60:
            counted.append(objects())
            break
        reading = meter.readings[-1]
        told = f"{sum(reading.handles.values())} handles, {reading.threads} threads, {reading.children} children"
        sizes = f"RSS {reading.memory['rss']}, USS {reading.memory['uss']}"
        print(f"{number}: {reading.way}, {sizes}, {told}", file=sys.stderr, flush=True)
    return meter, soak, counted


def judge(readings: list[Reading], warm: int) -> list[str]:
    """Print the figures; returns the bounds that are broken."""
    after, broken = readings[warm:], []
    print(
        f"\n| memory over the last {len(after)} runs | slope, bytes a run (95 %) | first {_EDGE}, last {_EDGE} runs |"
    )
    print("| --- | --- | --- |")
    for name in ("rss", "pss", "uss"):
        values = [reading.memory[name] for reading in after]
        slope, edge = Slope.of(values), min(_EDGE, len(values) // 2)
        first, last = statistics.median(values[:edge]), statistics.median(values[-edge:])
        print(
            f"| {name.upper()} | {slope.per_run:.0f} ± {slope.margin:.0f} | {first / 1e6:.1f} → {last / 1e6:.1f} MB |"
        )
        if name != "pss" and (slope.per_run + slope.margin > MOST_A_RUN or last - first > MOST_IN_ALL):
            broken.append(f"{name.upper()}: {slope}, medians {first:.0f} and {last:.0f}")
    differing = [(number, said) for number, one in enumerate(after) if (said := changed(readings[warm - 1], one))]
    now = readings[-1]
    print("\n| count | after the last run |\n| --- | --- |")
    print(f"| file descriptors | {sum(now.handles.values())} |\n| threads | {now.threads} |")
    print(f"| children, dead ones among them | {now.children} |\n| shared memory | {len(now.shared)} |")
    print(f"| temporary files | {len(now.temporary)} |\n| figures | {now.state['figures']} |")
    print(f"| modules | {len(now.state['modules'])} |")
    print(f"\nRuns after which one of {', '.join(EXACT)} differs: {len(differing)}")
    broken += [f"run {number + warm}: {text}" for number, said in differing for text in said]
    return broken


def print_objects(counted: list[Counter[str]]) -> None:
    """Types of objects, and caches, that have grown."""
    grown = [(counted[-1][name] - counted[0][name], name) for name in counted[-1]]
    shown = [f"{name} +{more}" for more, name in sorted(grown, reverse=True)[:12] if more > 0]
    print(f"\nObjects: {sum(counted[0].values())} → {sum(counted[-1].values())}; more of: {', '.join(shown) or 'none'}")


def draw(readings: list[Reading], warm: int, out: Path) -> None:
    """Memory over the runs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    for name in ("rss", "uss"):
        axes.plot([reading.memory[name] / 1e6 for reading in readings], label=name.upper(), linewidth=1)
    top = max(max(reading.memory.values()) for reading in readings) / 1e6
    clip = [number for number, reading in enumerate(readings) if reading.way == "clip"]
    axes.plot(clip, [readings[number].memory["rss"] / 1e6 for number in clip], ".", label="after a run with CLIP")
    axes.axvline(warm, color="grey", linewidth=0.8, linestyle="--")
    axes.set(xlabel="run", ylabel="MB", ylim=(0, 1.1 * top), title="Memory of one process over runs of detect")
    axes.legend()
    figure.savefig(out, dpi=120)


def main() -> None:
    """Run, print, draw, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--warm", type=int, default=100)
    parser.add_argument("--clip-every", type=int, default=40, help="0: never")
    parser.add_argument("--minutes", type=float, default=600.0, help="end early, after so many")
    parser.add_argument("--picture", type=Path, default=Path("soak.png"))
    options = parser.parse_args()
    picture = options.picture.absolute()
    with TemporaryDirectory() as name, own_temporary_folder(Path(name) / "tmp"):
        began = time.monotonic()
        chosen = (options.runs, options.warm, options.clip_every, options.minutes)
        meter, soak, counted = soak_for(Path(name) / "soak", *chosen)
        took = time.monotonic() - began
    ways = Counter(reading.way for reading in meter.readings)
    print(f"{len(meter.readings)} runs in one process, {took / 60:.0f} min, load {os.getloadavg()[0]:.1f}.")
    print("Kinds: " + ", ".join(f"{way} {count}" for way, count in ways.items()) + ".")
    print("What came of them: " + ", ".join(f"{what} {count}" for what, count in soak.outcomes.items()) + ".")
    broken = judge(meter.readings, options.warm)
    print_objects(counted)
    draw(meter.readings, options.warm, picture)
    for text in broken[:20]:
        print(f"\nBROKEN: {text}")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
