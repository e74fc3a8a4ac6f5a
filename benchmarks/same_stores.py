"""Whether every way of extracting gives the same bytes, with a kill in each: the table of docs/reliability.md.

``python -m benchmarks.same_stores VIDEOS [--most 4] [--kill] [--ways local,shards,ray] [--dtype bfloat16]``: the real
command, ``vadpipe extract --weights random``, in processes of its own. ``local``: one command. ``shards``: four, one
after the other. ``ray``: ``--engine ray`` on a local cluster. With ``--kill`` each is killed (SIGKILL) once some of its
videos are stored: the command with all its children, each shard likewise (one that ends before is not killed), one
worker process of Ray. Then it is given
again, if it did not end by itself. Last, ``vadpipe store gc --delete`` puts the indexes in order, and all files of the
stores are compared byte by byte. Exit code 1 where one differs or is missing. Needs Linux (/proc).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
WAYS = ("local", "shards", "ray")
SHARDS = 4
_RAY_WORKER = "ray::"  # so begin the command lines of processes that run a task or an actor of Ray
_RAY_OTHERS = ("IDLE", "Agent")  # and those of workers without work, and of servers, which take their node with them


@dataclass(slots=True)
class Way:
    """One store and what making it took."""

    name: str
    store: Path
    kills: int = 0
    runs: int = 0
    seconds: float = 0.0
    stored_at_kill: list[int] = field(default_factory=list)


def main() -> None:
    """Make the stores, compare them, print the table."""
    options = _options()
    with TemporaryDirectory(dir=options.folder, prefix="vadpipe-same-") as name:
        folder = Path(name)
        videos = _videos(options, folder)
        print(
            json.dumps({"videos": videos[1], "cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}), flush=True
        )
        ways = []
        for kind in options.ways.split(","):
            way = Way(kind, folder / kind)
            command = _command(videos[0], way, options)
            began = time.monotonic()
            if kind == "shards":
                for index in range(SHARDS):
                    _run([*command, "--shard", f"{index}/{SHARDS}"], way, kill=options.kill)
            else:
                _run(command, way, kill=options.kill)
            way.seconds = time.monotonic() - began
            ways.append(way)
            print(f"{kind}: {way.kills} kills, {way.runs} runs, {way.seconds:.0f} s", flush=True)
        if options.keep:
            shutil.copytree(folder, options.keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("videos"))
        sys.exit(_compare(ways, videos[1], killed=options.kill))


def _videos(options: argparse.Namespace, folder: Path) -> tuple[Path, int]:
    """A folder with links to the videos, the first ``--most`` of them by name, and how many there are."""
    place = folder / "videos"
    place.mkdir()
    found = sorted(path for path in options.videos.iterdir() if path.suffix in {".mp4", ".mkv", ".avi", ".webm"})
    for path in found[: options.most]:
        (place / path.name).symlink_to(path.resolve())
    if not found:
        sys.exit(f"{options.videos} holds no video")
    return place, len(found[: options.most])


def _command(videos: Path, way: Way, options: argparse.Namespace) -> list[str]:
    command = [sys.executable, "-m", "vadpipe", "extract", str(videos), "--out", str(way.store), "--weights", "random"]
    command += ["--device", "cpu", "--dtype", options.dtype, "--streams", options.streams, "--json", "-q"]
    return [*command, "--engine", "ray"] if way.name == "ray" else command


def _run(command: list[str], way: Way, *, kill: bool) -> None:
    """Give a command; where it is to be killed, once it has stored something, and give it again."""
    process, before = _start(command, way), len(_tracks(way.store))
    while kill and process.poll() is None:
        time.sleep(0.05)
        if len(_tracks(way.store)) > before and (victims := _victims(process, way)):
            way.stored_at_kill.append(len(_tracks(way.store)))
            print(f"{way.name}: killed: {', '.join(_title(pid)[:60] for pid in victims)}", flush=True)
            for pid in victims:
                _kill(pid)
            way.kills, kill = way.kills + 1, False
    code = process.wait()
    if code:
        print(f"{way.name}: ended with {code}, given again", flush=True)
        code = _start(command, way).wait()
    if code:
        sys.exit(f"{way.name}: {' '.join(command)} ended with {code}")


def _start(command: list[str], way: Way) -> subprocess.Popen[bytes]:
    way.runs += 1
    schedulers = ("SLURM_ARRAY_", "JOB_COMPLETION_INDEX")  # may tell a shard of their own
    environ = {name: value for name, value in os.environ.items() if not name.startswith(schedulers)}
    return subprocess.Popen(command, cwd=ROOT, env=environ, start_new_session=True, stdout=subprocess.DEVNULL)


def _victims(process: subprocess.Popen[bytes], way: Way) -> list[int]:
    """Process numbers: the command with all below it, or one worker of its Ray cluster."""
    below = _below(process.pid)
    if way.name != "ray":
        return [process.pid, *below]
    return [pid for pid in below if _is_worker(_title(pid))][:1]


def _below(pid: int) -> list[int]:
    """All descendants of a process."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue  # it ended meanwhile
            parents.setdefault(parent, []).append(int(entry.name))
    found, todo = list[int](), [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def _title(pid: int) -> str:
    """Command line; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _is_worker(title: str) -> bool:
    return title.startswith(_RAY_WORKER) and not any(name in title for name in _RAY_OTHERS)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself
        os.kill(pid, signal.SIGKILL)


def _tracks(store: Path) -> list[Path]:
    return list(store.glob("*/[0-9a-f][0-9a-f]/*.h5"))


def _compare(ways: list[Way], videos: int, *, killed: bool) -> int:
    """Print the table; 1 where a store is not the first one's equal, or a kill that was asked for did not come."""
    for way in ways:
        command = [sys.executable, "-m", "vadpipe", "store", "gc", str(way.store), "--delete", "-q"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    contents = [{path.relative_to(way.store): path.read_bytes() for path in _files(way.store)} for way in ways]
    print("\n| way | kills (SIGKILL) | stored then | commands | seconds | tracks | bytes | differ from the first |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    wrong = 0
    for way, content in zip(ways, contents, strict=True):
        names = content.keys() | contents[0].keys()
        differ = sum(content.get(name) != contents[0].get(name) for name in names)
        tracks = sum(name.suffix == ".h5" for name in content)
        wrong += differ + (tracks < videos) + (killed and not way.kills)
        at = f"{', '.join(map(str, way.stored_at_kill))} of {videos}" if way.kills else "–"
        size = sum(map(len, content.values()))
        name = {"local": "one command", "shards": f"{SHARDS} shards, one after the other", "ray": "`--engine ray`"}
        facts = f"{way.kills} | {at} | {way.runs} | {way.seconds:.0f} | {tracks} | {size:,} | {differ} files"
        print(f"| {name[way.name]} | {facts} |")
    return 1 if wrong else 0


def _files(store: Path) -> list[Path]:
    return [path for path in store.rglob("*") if path.is_file()]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", type=Path, help="folder of videos")
    parser.add_argument("--kill", action="store_true", help="kill each way, and each shard, in the middle")
    parser.add_argument("--most", type=int, help="only the first so many videos, by name")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--streams", default="clip")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--folder", type=Path, help="where to work; by default the system's temporary folder")
    parser.add_argument("--keep", type=Path, help="copy the stores here")
    options = parser.parse_args()
    if unknown := [way for way in options.ways.split(",") if way not in WAYS]:
        parser.error(f"--ways: got {unknown[0]}, expected some of {', '.join(WAYS)}")
    return options


if __name__ == "__main__":
    main()
