"""Many runs of detect in one process over good and bad clips, and what is counted after each.

``python -m tests.soak_cases RUNS`` prints the findings as JSON; ``benchmarks/soak.py`` makes figures of the same.
Linux only: it reads /proc.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import io
import json
import mmap
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import vadpipe
from tests.extractors import painted_videos
from tests.pipeline.detected import small_head
from tests.pipeline.mean_colour import MeanColour
from vadpipe.cli import main as command
from vadpipe.config import DetectConfig
from vadpipe.detection import Detection
from vadpipe.errors import VadpipeError
from vadpipe.extractors import create
from vadpipe.extractors.limits import Limits
from vadpipe.models.checkpoint import save_head
from vadpipe.pipeline import detect as detect_module
from vadpipe.pipeline.detecting.request import DetectRequest, Extras
from vadpipe.pipeline.detecting.run import DetectSummary, detect_run
from vadpipe.pipeline.extract import ExtractOptions, feature_spec

FOUND_EASILY = DetectConfig(r_ano=0.0, r_cls=0.0)
EXPORTS = ("activitynet", "labelstudio", "fiftyone", "webvtt", "srt", "csv", "tsv")
EXACT = ("handles", "threads", "children", "shared", "temporary", "state")
"""Counts that are equal after every run, once everything has been used."""


# What there is to look at


@dataclass(frozen=True)
class Clips:
    """Name -> file; ``long`` is one whose decoder is not done when its first rows are encoded, ``unnamed`` has a name
    that is no UTF-8, which the command refuses.
    """

    good: Mapping[str, Path]
    bad: Mapping[str, Path]
    long: Path
    unnamed: Path


def make_clips(folder: Path) -> Clips:
    """Small clips: of every good kind, and of every bad one."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    sound = (0.1 * np.sin(np.arange(16000) / 7))[np.newaxis].astype(np.float32)
    odd = "o'd d %s{}\"<b>–ü" + "n" * 150
    uneven = [number * 40 + (number % 3) * 13 for number in range(40)]
    write = painted_videos.write
    good = {
        "plain": write(folder / "plain.mp4", 40),
        "sound": write(folder / "sound.mp4", 40, sound=sound),
        "vfr": write(folder / "vfr.mp4", 40, pts=uneven),
        "portrait": write(folder / "portrait.mp4", 40, size=(64, 96), rotation=90),
        "one": write(folder / "one.mp4", 1),
        odd: write(folder / "odd.mp4", 40).rename(folder / f"{odd}.mp4"),
    }
    whole = good["plain"].read_bytes()
    contents = {
        "truncated": whole[: len(whole) // 2],
        "garbage": rng.bytes(20_000),
        "broken": whole[:200] + rng.bytes(len(whole) - 200),
        "empty": b"",
        "text": b"no video\n" * 20,
        "unreadable": whole,
    }
    bad = {name: folder / f"{name}.mp4" for name in (*contents, "pipe", "device", "dangling", "folder")}
    for name, content in contents.items():
        bad[name].write_bytes(content)
    bad["unreadable"].chmod(0)
    if os.access(bad["unreadable"], os.R_OK):  # root reads it all the same: a second truncated one
        bad["unreadable"].write_bytes(whole[:300])
    os.mkfifo(bad["pipe"])
    bad["device"].symlink_to("/dev/zero")
    bad["dangling"].symlink_to(folder / "nothing")
    bad["folder"].mkdir()
    unnamed = write(folder / "bytes.mp4", 40).rename(folder / "no\udcfftext.mp4")
    return Clips(good, bad, write(folder / "long.mp4", 1600), unnamed)


def children() -> list[int]:
    """Process ids of all children of this process, those that are dead and not waited for among them."""
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


@dataclass
class Watcher:
    """Sends a signal to all children at the first sign of work on a video."""

    number: int | None = None
    seen: list[Detection | None] = field(default_factory=list)

    def begin(self, name: str) -> None: ...

    def step(self, what: str, done: float, total: float) -> None:
        if self.number is not None:
            for pid in children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, self.number)
            self.number = None

    def end(self, detection: Detection | None) -> None:
        self.seen.append(detection)


def cheap_encoder() -> Any:
    """A context in which mean colours stand in for CLIP."""
    return mock.patch.object(detect_module, "create", _mean_colour)


def _mean_colour(_stream: str, **_options: Any) -> MeanColour:
    return MeanColour()


class Soak:
    """A folder with clips and heads; :meth:`run` is one run of detect, another with each number."""

    def __init__(self, folder: Path, *, with_clip: bool = False) -> None:
        self.folder = folder
        self.clips = make_clips(folder / "clips")
        spec = feature_spec(MeanColour(), ExtractOptions())
        save_head(folder / "run", small_head(spec, FOUND_EASILY))
        self.clip = False
        if with_clip:
            real = create("clip", weights="random", device="cpu", dtype="float32", crops="center")
            save_head(folder / "clip-run", small_head(feature_spec(real, ExtractOptions()), FOUND_EASILY))
        self._ways: tuple[Callable[[Mapping[str, Path]], None], ...] = (
            self._one,
            self._pages,
            self._cut_and_drawn,
            self._killed,
            self._from_python,
            self._stored,
            self._by_command,
            self._stalled,
            self._refused,
            self._embedded,
        )
        self.outcomes: Counter[str] = Counter()

    def warm_up(self) -> None:
        """Everything once, so that all modules are imported and all caches filled."""
        bad = self.clips.bad
        videos = {**self.clips.good, "truncated": bad["truncated"], "garbage": bad["garbage"]}
        for way in self._ways:
            with cheap_encoder():
                way(videos)
            self._tidied("")
        self.outcomes.clear()

    def run(self, number: int) -> str:
        """One run; returns what it was. Its files are looked at, counted and removed."""
        good, bad = list(self.clips.good.items()), list(self.clips.bad.items())
        turn = number // len(self._ways)
        first, second = good[number % len(good)], good[(number + turn + 1) % len(good)]
        chosen = dict([first, second, bad[(number + turn) % len(bad)], bad[(number + turn + 3) % len(bad)]])
        way = self._ways[number % len(self._ways)]
        with cheap_encoder():
            way(chosen)
        return self._tidied(way.__name__.lstrip("_"))

    def run_clip(self, number: int) -> str:
        """A run with a real encoder with random weights, loaded for it as the command does."""
        names = list(self.clips.good)
        videos = {name: self.clips.good[name] for name in (names[number % len(names)], "plain")}
        self._detect(videos, run="clip-run", weights=("clip=random",))
        return self._tidied("clip")

    def refuse(self) -> None:
        """A run that starts no process: there is nothing to decode."""
        with cheap_encoder():
            self._detect({"empty": self.clips.bad["empty"]})
        self._tidied("refused")

    def _tidied(self, way: str) -> str:
        out = self.folder / "out"
        left = [path.name for path in self.folder.rglob("*.tmp")]
        if left:
            self.outcomes[f"temporary files: {left}"] += 1
        self.outcomes["files written"] += sum(path.is_file() for path in out.rglob("*")) if out.exists() else 0
        shutil.rmtree(out, ignore_errors=True)
        return way

    def _detect(
        self, videos: Mapping[str, Path], watch: Watcher | None = None, *, run: str = "run", **options: Any
    ) -> DetectSummary:
        request = DetectRequest(videos, self.folder / run, out=self.folder / "out" / "json", **options)
        summary = detect_run(request, watch or Watcher())
        self.outcomes["videos detected"] += len(summary.found)
        self.outcomes["videos failed"] += len(summary.failed)
        self.outcomes["outputs lost"] += len(summary.lost)
        if summary.lost:
            self.outcomes[f"lost: {summary.lost[0][:200]}"] += 1
        return summary

    def _one(self, videos: Mapping[str, Path]) -> None:
        name, path = next(iter(videos.items()))
        self._detect({name: path}, picture=True)

    def _pages(self, videos: Mapping[str, Path]) -> None:
        extras = Extras(EXPORTS, frames="npz", html=self.folder / "out" / "page.html")
        self._detect(videos, extras=extras)

    def _embedded(self, videos: Mapping[str, Path]) -> None:
        name, path = next(iter(videos.items()))
        extras = Extras(("srt",), frames="csv", html=self.folder / "out" / "page.html", embed=True)
        self._detect({name: path}, extras=extras)

    def _cut_and_drawn(self, videos: Mapping[str, Path]) -> None:
        one = dict([next(iter(videos.items())), list(videos.items())[-1]])
        extras = Extras(clips=self.folder / "out" / "clips", overlay=self.folder / "out" / "drawn")
        self._detect(one, extras=extras)

    def _killed(self, videos: Mapping[str, Path]) -> None:
        """The decoder is killed in the middle."""
        summary = self._detect(
            {"long": self.clips.long}, Watcher(signal.SIGKILL), limits=Limits(queue_slots=2), features=None
        )
        self.outcomes["decoders killed"] += "was killed by SIGKILL" in summary.failed.get("long", "")

    def _stalled(self, videos: Mapping[str, Path]) -> None:
        """The decoder stops in the middle, and is killed when it has said nothing for so long."""
        limits = Limits(stall_s=2.0, queue_slots=2)
        summary = self._detect({"long": self.clips.long}, Watcher(signal.SIGSTOP), limits=limits)
        self.outcomes["decoders timed out"] += "made no progress" in summary.failed.get("long", "")

    def _refused(self, _videos: Mapping[str, Path]) -> None:
        for wrong in (
            {"extras": Extras(embed=True)},
            {"extras": Extras(exports=("nonsense",))},
            {"overrides": ("nonsense=1",)},
            {"calibration": "nothing.json"},
        ):
            try:
                self._detect(self.clips.good, **wrong)
            except VadpipeError:
                self.outcomes["requests refused"] += 1
        self._detect({name: path for name, path in self.clips.bad.items() if name != "garbage"})

    def _stored(self, videos: Mapping[str, Path]) -> None:
        good = dict(list(videos.items())[:1])
        for _ in range(2):
            self._detect(good, features=self.folder / "out" / "features")

    def _from_python(self, videos: Mapping[str, Path]) -> None:
        options: Any = {"device": "cpu", "settings": {"min_length_s": 0.1}}
        for path in list(videos.values())[1:3]:
            try:
                vadpipe.detect(path, self.folder / "run", on_progress=lambda _: None, **options)
                self.outcomes["videos detected"] += 1
            except VadpipeError:
                self.outcomes["videos failed"] += 1

    def _by_command(self, videos: Mapping[str, Path]) -> None:
        words = [
            "vadpipe",
            "detect",
            *map(str, (*videos.values(), self.clips.unnamed)),
            "--run",
            str(self.folder / "run"),
            "--json",
        ]
        words += ["--out", str(self.folder / "out" / "json"), "--device", "cpu", "--export", "csv"]
        said = [io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace") for _ in range(2)]
        with (
            mock.patch.object(sys, "argv", words),
            contextlib.redirect_stdout(said[0]),
            contextlib.redirect_stderr(said[1]),
        ):
            try:
                command()
            except SystemExit as error:
                self.outcomes[f"command ended with {error.code}"] += 1
            else:
                self.outcomes["command ended with 0"] += 1


# What is counted


def memory() -> dict[str, int]:
    """Bytes of this process: resident, its share of what is shared (PSS), and what is its own alone (USS)."""
    rows = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    told = {row.split(":")[0]: int(row.split()[1]) * 1024 for row in rows}
    return {"rss": told["Rss"], "pss": told["Pss"], "uss": told["Private_Clean"] + told["Private_Dirty"]}


def handles() -> dict[str, int]:
    """Open file descriptors by what they lead to; numbers are taken out of the names."""
    found: Counter[str] = Counter()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found[re.sub(r"\d+", "N", str(link.readlink()))] += 1
    return dict(sorted(found.items()))


def threads(expected: int) -> int:
    """Threads of the process, Python's and those of libraries.

    One that was waited for leaves the system's list a moment later, so more than ``expected`` are looked at again.
    """
    for _ in range(200):
        if (count := len(list(Path("/proc/self/task").iterdir()))) <= expected:
            break
        time.sleep(0.005)
    return count


def trim() -> None:
    """Have the C library give back what it keeps of freed memory; what is then resident is in use, or in its gaps."""
    with contextlib.suppress(AttributeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)


def shared_memory(before: frozenset[str]) -> list[str]:
    """New names in /dev/shm that can be this process's, and mappings of files without a name."""
    own = re.compile(rf"vadpipe|psm_|sem\.mp|torch_{os.getpid()}_|_{os.getpid()}")
    new = {path.name for path in Path("/dev/shm").iterdir()} - before
    maps = Path("/proc/self/maps").read_text().splitlines()
    return sorted(filter(own.search, new)) + [line.split(None, 5)[-1] for line in maps if "memfd:" in line]


def state() -> dict[str, Any]:
    """What a run could leave changed in its process."""
    figures = sys.modules.get("matplotlib._pylab_helpers")
    return {
        "signals": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "environment": sorted(os.environ),
        "folder": str(Path.cwd()),
        "limits": [resource.getrlimit(number) for number in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE)],
        "policy": os.sched_getscheduler(0),
        "path": list(sys.path),
        "modules": sorted(sys.modules),
        "streams": [type(stream).__name__ for stream in (sys.stdout, sys.stderr)],
        "figures": 0 if figures is None else len(figures.Gcf.figs),
        "finalizers": len(getattr(weakref.finalize, "_registry")),  # noqa: B009  # private, read only
        "at exit": getattr(atexit, "_ncallbacks")(),  # noqa: B009
        "warning filters": len(warnings.filters),
        "warned": sum(len(vars(module).get("__warningregistry__", ())) for module in list(sys.modules.values())),
    }


def caches() -> dict[str, int]:
    """Entries of each ``lru_cache`` and ``cache``."""
    wrappers = [item for item in gc.get_objects() if type(item) is functools._lru_cache_wrapper]
    found: Counter[str] = Counter()
    for item in wrappers:
        found[f"{item.__module__}.{item.__qualname__}"] += item.cache_info().currsize
    return {name: count for name, count in found.items() if count}


def objects() -> Counter[str]:
    """Objects that the garbage collector knows, by type."""
    return Counter(f"{type(item).__module__}.{type(item).__qualname__}" for item in gc.get_objects())


@dataclass(frozen=True)
class Reading:
    """What there is after a run."""

    way: str
    memory: Mapping[str, int]
    handles: Mapping[str, int]
    threads: int
    children: int
    shared: list[str]
    temporary: list[str]
    state: Mapping[str, Any]


class Meter:
    """Takes readings; temporary files of this process go to a folder of their own meanwhile, and are counted."""

    def __init__(self, *, trimmed: bool = False) -> None:
        self._trimmed = trimmed
        self._shared = frozenset(path.name for path in Path("/dev/shm").iterdir())
        self.readings: list[Reading] = []

    def read(self, way: str) -> Reading:
        """Counts come first: what only the garbage collector would close counts as open. Memory is after it."""
        least = min((reading.threads for reading in self.readings), default=0)
        counts = (handles(), threads(least), len(children()), shared_memory(self._shared))
        left = sorted(path.name for path in Path(tempfile.gettempdir()).iterdir())
        gc.collect()
        if self._trimmed:
            trim()
        self.readings.append(Reading(way, memory(), *counts, left, state()))
        return self.readings[-1]


@contextlib.contextmanager
def own_temporary_folder(folder: Path) -> Iterator[None]:
    """Other programs use /tmp as well, so this one and its children get another."""
    folder.mkdir()
    with (
        mock.patch.dict(os.environ, {"TMPDIR": str(folder)}),
        mock.patch.object(tempfile, "tempdir", str(folder)),
    ):
        yield


@dataclass(frozen=True)
class Slope:
    """Least squares over the runs: bytes a run, half of the 95 % interval, and the most that it may be."""

    per_run: float
    margin: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[int]) -> Slope:
        """Of one value a run."""
        x, y = np.arange(len(values), dtype=float), np.array(values, dtype=float)
        x -= x.mean()
        slope = float(x @ y / (x @ x))
        rest = y - y.mean() - slope * x
        error = np.sqrt(rest @ rest / (len(y) - 2) / (x @ x))
        return cls(slope, float(1.96 * error), len(values))


def steady_slope(values: Sequence[int]) -> float:
    """Bytes a run: the median of the slopes of all pairs (Theil and Sen), which a single step does not move."""
    first, second = np.triu_indices(len(values), 1)
    y = np.array(values, dtype=float)
    return float(np.median((y[second] - y[first]) / (second - first)))


def changed(first: Reading, last: Reading) -> list[str]:
    """What differs between two readings that should be equal, in words."""
    said = []
    for name in EXACT:
        one, other = getattr(first, name), getattr(last, name)
        if isinstance(one, Mapping):
            differ = [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
            said += [f"{name}: {key} was {_new(one, other, key)}, is {_new(other, one, key)}" for key in differ]
        elif one != other:
            said.append(f"{name}: was {one}, is {other}")
    return said


def _new(one: Mapping[str, Any], other: Mapping[str, Any], key: str) -> Any:
    """What of an entry is not in the other; of lists only that."""
    here, there = one.get(key), other.get(key)
    return [item for item in here if item not in there] if isinstance(here, list) and isinstance(there, list) else here


def leak(what: str, hoard: list[Any]) -> None:
    """Lose something, as a fault of the program would."""
    match what:
        case "memory":
            hoard.append(bytearray(os.urandom(1024)) * 200)
        case "handle":
            hoard.append(os.dup(0))
        case "child":
            hoard.append(os.spawnlp(os.P_NOWAIT, "true", "true"))
        case "thread":
            threading.Thread(target=threading.Event().wait, args=(600,), daemon=True).start()
        case "shared":
            file = os.memfd_create("vadpipe-lost")
            os.ftruncate(file, mmap.PAGESIZE)
            hoard.append(mmap.mmap(file, mmap.PAGESIZE))
            os.close(file)
        case "temporary":
            tempfile.mkstemp()
        case "state":
            os.environ[f"LOST_{len(hoard)}"] = "1"
            hoard.append(None)


def main() -> None:
    """Some runs; then a few more for each kind of leak that is planted, to see that it is noticed."""
    runs, warm = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as name, own_temporary_folder(Path(name) / "tmp"):
        soak, meter = Soak(Path(name) / "soak"), Meter(trimmed=True)
        soak.warm_up()
        for number in range(runs):
            meter.read(soak.run(number))
        told: dict[str, Any] = {
            "uss": [reading.memory["uss"] for reading in meter.readings],
            "slope": steady_slope([reading.memory["uss"] for reading in meter.readings[warm:]]),
            "changed": [changed(meter.readings[warm - 1], reading) for reading in meter.readings[warm:]],
            "outcomes": dict(soak.outcomes),
            "compiler": "torch._dynamo" in sys.modules,
            "noticed": {},
        }
        for what in ("memory", *EXACT):
            kind = what.removesuffix("s") if what in ("handles", "threads") else "child" if what == "children" else what
            hoard: list[Any] = []
            planted = []
            for number in range(20 if kind == "memory" else 2):
                if number:
                    leak(kind, hoard)
                soak.refuse()
                planted.append(meter.read(kind))
            told["planted"] = told.get("planted") or [reading.memory["uss"] for reading in planted]
            slope = steady_slope([reading.memory["uss"] for reading in planted]) if kind == "memory" else None
            told["noticed"][what] = [slope, changed(planted[0], planted[-1])]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
