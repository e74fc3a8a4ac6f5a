"""Which videos ``vadpipe detect`` is about: files, folders and glob patterns, and a name of its own for each."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vadpipe.errors import DataError, UsageError
from vadpipe.extractors.containers import is_video_file
from vadpipe.manifest import MAX_ID_CHARS, MEDIA_SUFFIXES, check_id, video_id


def find_inputs(places: Sequence[Path], refused: dict[str, str] | None = None) -> dict[str, Path]:
    """Name -> file, in the order given; a file that is given twice is there once.

    places
        Files, taken whatever they are called; folders, searched at any depth for files that have the suffix of a video
        or begin as one does; and patterns with ``*``, ``**``, ``?`` and ``[…]``, where no file has that very name.
    refused
        Gets path -> reason of files whose names cannot be ids; without it such a file is a :class:`DataError`.

    A name is the video's id (:func:`vadpipe.manifest.video_id`); where several files have the same, the folders that
    tell them apart stand before it. :class:`UsageError` for a place that is not there, or holds no video.
    """
    by_id: dict[str, list[Path]] = {}
    for path in dict.fromkeys(_files(places)):
        try:
            known = by_id.setdefault(video_id(path), [])
        except DataError as error:
            if refused is None:
                raise
            refused[str(path)] = str(error)
            continue
        if not any(_is_same(path, other) for other in known):
            known.append(path)
    taken = {name for name, paths in by_id.items() if len(paths) == 1}
    found: dict[str, Path] = {}
    for name, paths in by_id.items():
        names = [name] if len(paths) == 1 else _told_apart(name, paths, taken)
        taken |= set(names)
        found |= dict(zip(names, paths, strict=True))
    return found


def shared_ids(videos: Mapping[str, Path]) -> dict[str, list[Path]]:
    """Id -> files, for the ids that several of the videos have: these share one place in a feature store."""
    counts = Counter(video_id(path) for path in videos.values())
    return {
        name: [path for path in videos.values() if video_id(path) == name] for name, many in counts.items() if many > 1
    }


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.resolve() == other.resolve()
    except (OSError, RuntimeError):  # a loop of links: two videos, each of which will fail
        return False


def _files(places: Sequence[Path]) -> Iterator[Path]:
    for place in places:
        if place.exists() or place.is_symlink():
            yield from _files_in(place) if place.is_dir() else [place]
            continue
        if not glob.has_magic(str(place)):
            raise UsageError(f"{place} does not exist")
        # not Path.glob, which wants the pattern and its folder apart
        matches = sorted(Path(text) for text in glob.glob(str(place), recursive=True))  # noqa: PTH207
        if not matches:
            raise UsageError(f"{place} matches no file; a pattern in quotes is matched from this folder")
        videos = [path for path in matches if path.is_dir() or _is_wanted(path)]
        for path in videos or matches:
            if not path.is_dir():
                yield path
            elif not any(other.is_relative_to(path) for other in videos if other != path):
                yield from _files_in(path)  # with ** the folders match beside what they hold


def _files_in(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if not _is_hidden(path, folder) and _is_wanted(path))
    if not files:
        raise UsageError(f"{folder} holds no video: no name with one of {', '.join(sorted(MEDIA_SUFFIXES))}, and no "
                         "file that begins as a video does")  # fmt: skip
    return files


def _is_wanted(path: Path) -> bool:
    """A dangling link called a video is wanted: it is reported as one that cannot be read."""
    return (path.suffix.lower() in MEDIA_SUFFIXES and not path.is_dir()) or is_video_file(path)


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _told_apart(name: str, paths: Sequence[Path], taken: set[str]) -> list[str]:
    """Names for files that have one id: ``cam1_x`` and ``cam2_x``; ``x.mkv`` and ``x.mp4`` in one folder.

    In front stand the folders below the innermost one that holds all of them.
    """
    folders = [path.absolute().parent for path in paths]
    top = os.path.commonpath(folders)
    fronts = ["_".join((*folder.relative_to(top).parts, "")) for folder in folders]
    several = Counter(fronts)
    names = [f"{front}{path.name if several[front] > 1 else name}" for front, path in zip(fronts, paths, strict=True)]
    if len(set(names)) == len(names) and not taken & set(names) and all(map(_is_id, names)):
        return names
    numbered = (f"{name}-{number}" for number in range(1, len(paths) + len(taken) + 1))
    return [each for each in numbered if each not in taken][: len(paths)]


def _is_id(name: str) -> bool:
    try:
        return len(check_id(name)) <= MAX_ID_CHARS // 4  # it becomes part of a file's name
    except DataError:
        return False
