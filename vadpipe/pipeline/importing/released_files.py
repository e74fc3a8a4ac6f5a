"""Which feature files of a released list are meant, and where they are: crops by number, files by exact name."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vadpipe.datasets.lists import ListedVideo, crop_number
from vadpipe.errors import UsageError
from vadpipe.pipeline.importing.features import ImportJob, crop_numbers

_CROP = re.compile(r"__([0-9])\.npy\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CropChoice:
    """Crop numbers of training (and validation) videos and of test videos."""

    train: tuple[int, ...]
    test: tuple[int, ...]

    def __str__(self) -> str:
        words = f"crops {','.join(map(str, self.train))}"
        return words if self.test == self.train else f"{words}; test {','.join(map(str, self.test))}"

    def names(self, video: ListedVideo) -> tuple[str, ...]:
        """File names of a video's chosen crops; one that is not listed is ``<listed stem>__<crop>.npy``."""
        listed = {crop_number(name): name for name in video.files}
        stem = _stem(video.files[0])
        wanted = self.test if video.record.split == "test" else self.train
        return tuple(listed.get(crop, f"{stem}__{crop}.npy") for crop in wanted)


@dataclass(slots=True)
class Located:
    """Videos of one stream whose files are all there, and the others: id -> file names, id -> reason."""

    jobs: list[ImportJob] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def find(self, video: str, names: Sequence[str], files: Mapping[str, list[Path]]) -> tuple[Path, ...]:
        """Paths of ``names``; () where one is nowhere or in several places, which is noted for ``video``."""
        if gone := [name for name in names if name not in files]:
            self.missing[video] = ", ".join(gone)
            return ()
        for name in names:
            if len(files[name]) > 1:
                places = " and ".join(str(path) for path in files[name][:3])
                self.failed[video] = f"{name} is there {len(files[name])} times, {places}; narrow the folder"
                return ()
        return tuple(files[name][0] for name in names)


def choose_crops(videos: Sequence[ListedVideo], train: str, test: str) -> CropChoice:
    """Turn ``first``, ``all`` or numbers such as ``0,5`` into crop numbers, those listed anywhere in a split.

    A split that is not imported now takes the numbers given for it, or else those of the other one: the choice is part
    of the feature specification, and that has to be the same for both.
    """
    crops: dict[bool, set[int]] = {True: set(), False: set()}
    for video in videos:
        crops[video.record.split == "test"].update(crop_number(name) for name in video.files)
    chosen = {is_test: crop_numbers(text, crops[is_test]) for is_test, text in ((False, train), (True, test))}
    return CropChoice(chosen[False] or chosen[True], chosen[True] or chosen[False])


def scan(root: Path, skip: Path | None = None) -> dict[str, list[Path]]:
    """Name -> paths of every ``.npy`` file that :func:`walk` finds under ``root``."""
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder; expected the folder that holds the released .npy files")
    found: dict[str, list[Path]] = {}
    for path in walk(root, (".npy",), skip):
        found.setdefault(path.name, []).append(path)
    return found


def walk(root: Path, suffixes: Collection[str], skip: Path | None = None, *, hidden: bool = False) -> Iterator[Path]:
    """Files under ``root`` with one of ``suffixes``, in lower case; links to folders are followed, circles are not.

    Hidden folders, what is under ``skip``, and hidden files are passed over; with ``hidden``, these are not: an export
    of an id that begins with a dot is one. Bytes of names that are not UTF-8 become lone surrogates, which no list
    holds.
    """
    seen = {_identity(skip)} if skip is not None and skip.is_dir() else set()
    for folder, inner, names in os.walk(root, followlinks=True):
        if (identity := _identity(folder)) in seen:
            inner.clear()
            continue
        seen.add(identity)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            if (hidden or not name.startswith(".")) and Path(name).suffix.lower() in suffixes:
                yield Path(folder) / name


def left_over(files: Iterable[str], videos: Sequence[ListedVideo], taken: set[str]) -> tuple[list[str], int]:
    """Names that no list knows, sorted; and how many further crops of listed videos were not taken."""
    named = {name for video in videos for name in (*video.files, video.audio_file or "")}
    stems = {_stem(name) for video in videos for name in video.files}
    sounds = {video.audio_file for video in videos}
    extra, crops = [], 0
    for name in files:
        if name in taken or name in sounds:
            continue
        if name in named or _stem(name) in stems:
            crops += 1
        else:
            extra.append(name)
    return sorted(extra), crops


def _stem(name: str) -> str:
    return name[: -len("__0.npy")] if _CROP.search(name) else name[: -len(".npy")]


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116  # os.walk gives text
    return status.st_dev, status.st_ino
