"""Writes that are killed, or refused by the disk, at every one of their changes of the file system.

``python -m tests.crash_cases kill FOLDER CASE …`` runs cases in a process of its own, which has one thread, and prints
their figures as JSON; with the number of an error instead of ``kill``, the disk refuses. After each kill: who reads
sees the old or the new, whole; ``gc`` removes what was left; a rerun gives the new. After each refusal the same, with
one clear error and nothing left at all.
"""

from __future__ import annotations

import errno
import json
import shutil
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.test_store import SPEC, track
from tests.traced import Call, trace, unsafe_order
from vadpipe.pipeline.storing.files import check_file, places, spec_folders
from vadpipe.pipeline.storing.gc import GcRequest, find_garbage, remove
from vadpipe.pipeline.storing.pack import PACK, files_to_pack, pack_store, read_pack
from vadpipe.pipeline.storing.unpack import shards_of, unpack
from vadpipe.pipeline.storing.verify import verify
from vadpipe.store import FeatureStore


class Case(ABC):
    """A write in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FeatureStore(folder / "store")

    @abstractmethod
    def prepare(self) -> None:
        """Make what is there before."""

    @abstractmethod
    def act(self) -> None:
        """The write."""

    @abstractmethod
    def look(self) -> str:
        """What a reader sees: ``old``, ``new``, or ``part`` of several files; AssertionError for anything else."""


class StoreWrite(Case):
    """A track under a new id."""

    frames = 40
    before: int | None = None

    def prepare(self) -> None:
        self.store.write(track("other", seed=7))
        if self.before is not None:
            self.store.write(track("clip", self.frames, seed=self.before))

    def act(self) -> None:
        self.store.write(track("clip", self.frames, seed=1))

    def look(self) -> str:
        there = self.store.stored(SPEC, "clip")
        assert self.store.ids(SPEC) == (["other"] if there is None else ["clip", "other"])
        assert not (self.store.root / SPEC.folder / "quarantine").exists(), "a reader met half a file"
        if there is None:
            assert self.before is None
            return "old"
        seeds = [seed for seed in (self.before, 1) if seed is not None]
        return {self.before: "old", 1: "new"}[
            next(seed for seed in seeds if (there.data == track("clip", self.frames, seed=seed).data).all())
        ]


class StoreReplace(StoreWrite):
    """A track over an older one of the same id."""

    before = 0


class IndexRebuild(Case):
    """The index, made anew from the files."""

    def prepare(self) -> None:
        for name in ("a", "b", "c"):
            self.store.write(track(name))

    def act(self) -> None:
        self.store.rebuild_index(SPEC)

    def look(self) -> str:
        assert sorted(self.store.index(SPEC)) == ["a", "b", "c"]
        return "new"


class Checkpoint(Case):
    """A trained head with its text tower."""

    before = False

    def __init__(self, folder: Path) -> None:
        from tests.models.test_checkpoint import TOKENS, tower

        super().__init__(folder)
        self.run = folder / "runs" / "run"
        self.made, self.tower = _small_head(), (tower(), TOKENS)

    def prepare(self) -> None:
        self.folder.mkdir()
        if self.before:
            self._save("old")

    def act(self) -> None:
        self._save("new")

    def look(self) -> str:
        from vadpipe.models.checkpoint import load_head

        if not (self.run / "config.json").exists():
            assert not self.before
            return "old"
        load_head(self.run, with_tower=True)  # its digest is checked too
        loaded = load_head(self.run)
        told = str(loaded.selection)
        assert all((value == _shift(told)).all() for value in loaded.head.state_dict().values())
        return told

    def _save(self, told: str) -> None:
        from vadpipe.models.checkpoint import save_head

        for value in self.made.head.state_dict().values():
            value.fill_(_shift(told))
        for value in self.tower[0].state_dict().values():
            value.fill_(_shift(told))
        save_head(self.run, replace(self.made, selection=told), self.tower)


class CheckpointReplace(Checkpoint):
    """A trained head over another."""

    before = True


@cache
def _small_head() -> Any:
    from tests.models.test_checkpoint import saved

    with TemporaryDirectory() as folder:
        return saved(Path(folder))


def _shift(told: str) -> int:
    return {"old": 1, "new": 2}[told]


class State(Case):
    """The state of a training run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.run = folder / "runs" / "run"
        self.head = _small_head().head

    def prepare(self) -> None:
        self._state(1).save(self.run)

    def act(self) -> None:
        self._state(2).save(self.run)

    def look(self) -> str:
        from vadpipe.config import TrainConfig
        from vadpipe.pipeline.training.state import TrainState

        state = TrainState.resume_or_start(self.run, self.head, TrainConfig(), "print")
        assert all((value == state.epoch).all() for value in state.head.state_dict().values())
        assert state.history == [{"epoch": float(state.epoch)}]
        return {1: "old", 2: "new"}[state.epoch]

    def _state(self, epoch: int) -> Any:
        from vadpipe.config import TrainConfig
        from vadpipe.pipeline.training.state import TrainState

        state = TrainState.resume_or_start(self.folder / "nothing", self.head, TrainConfig(), "print")
        for value in self.head.state_dict().values():
            value.fill_(epoch)
        state.epoch, state.history = epoch, [{"epoch": float(epoch)}]
        return state


class Pack(Case):
    """A pack of three shards."""

    names = ("a", "b", "c")

    def prepare(self) -> None:
        for name in self.names:
            self.store.write(track(name))

    def act(self) -> None:
        files = files_to_pack(self.store.root)
        pack_store(self.store.root, files, self.folder / "pack", shard_bytes=files[0][1])

    def look(self) -> str:
        pack = self.folder / "pack"
        shards = sorted(pack.glob("shard-*.tar"))
        assert sum(files for _, files in shards_of(shards)) <= len(self.names)  # each that is there is whole
        if not (pack / PACK).exists():
            return "part" if shards else "old"
        assert verify(pack).fine
        assert sum(shard.files for shard in read_pack(pack)) == len(self.names)
        return "new"


class Unpack(Pack):
    """A pack into another store."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.out = FeatureStore(folder / "out")

    def prepare(self) -> None:
        super().prepare()
        super().act()

    def act(self) -> None:
        shards = [path for path, _ in shards_of([self.folder / "pack"])]
        assert not unpack(shards, self.out).failed

    def look(self) -> str:
        root = self.out.root
        there = [place for folder in spec_folders(root) for place in places(folder)] if root.exists() else []
        for place in there:
            check_file(root / place, place)
            assert (root / place).read_bytes() == (self.store.root / place).read_bytes()
        if there:
            assert len(self.out.ids(SPEC)) == len(there)
        return {0: "old", len(self.names): "new"}.get(len(there), "part")


class Unused(Pack):
    """The removal of features that no run uses."""

    def prepare(self) -> None:
        for name in self.names[:2]:
            self.store.write(track(name))
            self.store.write(replace(track(name), spec=replace(SPEC, model="older")))
        head = {"schema": "vadpipe.head/1", "spec": json.loads(SPEC.to_json())}
        (self.folder / "runs").mkdir()
        (self.folder / "runs" / "config.json").write_text(json.dumps(head))

    def act(self) -> None:
        remove(find_garbage(GcRequest(self.store.root, (self.folder / "runs",), unused=True)))

    def look(self) -> str:
        assert self.store.ids(SPEC) == list(self.names[:2])
        for folder in spec_folders(self.store.root):
            for place in places(folder):
                check_file(self.store.root / place, place)
        left = len(list(self.store.root.glob("*/*/*.h5")))
        return {2: "new", 4: "old"}.get(left, "part")


_TAKING = {"write", "mkdir", "open", "truncate"}  # what needs room on the disk

CASES: dict[str, Callable[[Path], Case]] = {
    "store write": StoreWrite,
    "store replace": StoreReplace,
    "index rebuild": IndexRebuild,
    "checkpoint": Checkpoint,
    "checkpoint replace": CheckpointReplace,
    "train state": State,
    "pack": Pack,
    "unpack": Unpack,
    "gc --unused": Unused,
}


def kill_everywhere(case: str, folder: Path, frames: int = 40) -> dict[str, Any]:
    """Kill at the first change, at the second … until one run ends by itself; figures of all."""
    kills, seen, leftovers = Counter[str](), Counter[str](), 0
    folder.mkdir()
    _made(case, folder / "before", frames).prepare()
    for number in count(1):
        place = folder / f"{number}"
        shutil.copytree(folder / "before", place)
        made = _made(case, place, frames)
        done = trace(made.act, number)
        if not done.killed:
            assert made.look() == "new"
            assert unsafe_order(done.calls) == []
            shutil.rmtree(folder)
            return {"case": case, "kills": kills, "seen": seen, "leftovers": leftovers, "lost": 0}
        kills[done.calls[-1].name] += 1
        seen[made.look()] += 1
        leftovers += _tidied(place)
        made.act()
        assert made.look() == "new", number
        assert list(place.rglob("*.tmp")) == []
        shutil.rmtree(place)
    raise AssertionError("count ends")


def _made(case: str, place: Path, frames: int) -> Case:
    made = CASES[case](place)
    if isinstance(made, StoreWrite):
        made.frames = frames
    return made


def refuse_everywhere(case: str, folder: Path, number: int = errno.ENOSPC) -> dict[str, Any]:
    """As :func:`kill_everywhere`, but from the n-th change on the disk refuses to take anything: full, over quota."""
    errors, seen = Counter[str](), Counter[str]()
    folder.mkdir()
    _made(case, folder / "before", 40).prepare()
    for first in count(1):
        place = folder / f"{first}"
        shutil.copytree(folder / "before", place)
        made = _made(case, place, 40)
        done = trace(made.act, refuse=partial(_from, first, number))
        if len(done.calls) < first:
            shutil.rmtree(folder)
            return {"case": case, "refusals": errors, "seen": seen}
        errors[done.error.partition(str(place))[0] + "…" + done.error.rpartition(":")[2]] += 1
        seen[made.look()] += 1
        assert list(place.rglob("*.tmp")) == [], "what it had begun is left"
        made.act()
        assert made.look() == "new", number
        shutil.rmtree(place)
    raise AssertionError("count ends")


def _from(first: int, error: int, number: int, call: Call) -> int:
    return error if number >= first and call.name in _TAKING else 0


def _tidied(place: Path) -> int:
    left = len(list(place.rglob("*.tmp")))
    for root in (place / "store", place / "out", place / "pack"):
        if root.exists():
            remove(find_garbage(GcRequest(root)))
    if (place / "runs").exists():
        (place / "empty").mkdir()
        remove(find_garbage(GcRequest(place / "empty", (place / "runs",))))
    assert list(place.rglob("*.tmp")) == [], "gc left something"
    return left


if __name__ == "__main__":
    what, where, *cases = sys.argv[1:]
    run = kill_everywhere if what == "kill" else partial(refuse_everywhere, number=int(what))
    print(json.dumps([run(case, Path(where) / case.replace(" ", "-")) for case in cases]))
