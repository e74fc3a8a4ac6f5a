"""Which videos ``vadpipe detect`` is about: files, folders and glob patterns, and a name of its own for each."""

from __future__ import annotations

import glob
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vadpipe.errors import DataError, UsageError
from vadpipe.extractors.containers import is_video_file
from vadpipe.manifest import MAX_ID_CHARS, MEDIA_SUFFIXES, check_id, video_id
from vadpipe.pipeline.videos import looking_at, missing
from vadpipe.redact import is_address

_NO_VIDEO_SUFFIXES = frozenset({".m4a", ".m4b", ".m4r", ".mka", ".wma", ".weba", ".oga", ".heic", ".heif", ".avif"})
"""Sound and pictures in containers of video; such a file is looked at where it is named."""

_ALSO_OTHERS = frozenset({".ts"})  # TypeScript; a transport stream is known by its bytes


def find_inputs(
    places: Sequence[Path], refused: dict[str, str] | None = None, outputs: Sequence[Path] = ()
) -> dict[str, Path]:
    """Name -> file, in the order given; a file that is given twice is there once.

    places
        Files, taken whatever they are called; folders, searched at any depth for files that have the suffix of a video
        or begin as one does; and patterns with ``*``, ``**``, ``?`` and ``[…]``, where no file has that very name.
    refused
        Gets path -> reason of files whose names cannot be ids; without it such a file is a :class:`DataError`.
    outputs
        Where videos will be written: files and folders that a search of folders and patterns passes over.

    A name is the video's id (:func:`vadpipe.manifest.video_id`); where several files have the same, the folders that
    tell them apart stand before it. :class:`UsageError` for a place that is not there, or holds no video.
    """
    by_id: dict[str, list[Path]] = {}
    for path in dict.fromkeys(_files(places, outputs)):
        try:
            name = video_id(path)
        except DataError as error:
            if refused is None:
                raise
            refused[str(path)] = str(error)
            continue
        by_id.setdefault(name, []).append(path)
    by_id = {name: _different(paths) for name, paths in by_id.items()}
    taken = {name for name, paths in by_id.items() if len(paths) == 1}
    found: dict[str, Path] = {}
    for name, paths in by_id.items():
        names = [name] if len(paths) == 1 else _told_apart(name, paths, taken)
        taken |= set(names)
        found |= dict(zip(names, paths, strict=True))
    return found


def shared_ids(videos: Mapping[str, Path]) -> dict[str, list[Path]]:
    """Id -> files, for the ids that several of the videos have: these share one place in a feature store."""
    by_id: dict[str, list[Path]] = {}
    for path in videos.values():
        by_id.setdefault(video_id(path), []).append(path)
    return {name: paths for name, paths in by_id.items() if len(paths) > 1}


def _different(paths: list[Path]) -> list[Path]:
    """Each file once, the first of its names."""
    if len(paths) == 1:
        return paths
    first: dict[Path, Path] = {}
    for path in paths:
        try:
            real = path.resolve()
        except (OSError, RuntimeError):  # a loop of links: a video of its own, which will fail
            real = path
        first.setdefault(real, path)
    return list(first.values())


def _files(places: Sequence[Path], outputs: Sequence[Path]) -> Iterator[Path]:
    for place in places:
        with looking_at(place):
            yield from _files_at(place, outputs)


def _files_at(place: Path, outputs: Sequence[Path]) -> list[Path]:
    if place.is_symlink() or place.exists():
        return _files_in(place, outputs) if place.is_dir() else [place]
    if not glob.has_magic(str(place)) or is_address(str(place)):
        raise UsageError(missing(place))
    fixed = tuple(itertools.takewhile(lambda part: not glob.has_magic(part), place.parts))
    hidden = _Outputs(Path(*fixed), outputs)
    start = Path(place.anchor)
    matches = sorted(path for path in set(_matches(start, place.relative_to(start).parts)) if path not in hidden)
    if not matches:
        raise UsageError(f"{place} matches no file; a pattern in quotes is matched from this folder")
    files = [path for path in matches if not path.is_dir()]
    found = {path for path in files if _is_wanted(path)}
    for folder in (path for path in matches if path.is_dir()):
        found |= {path for path in _search(folder) if path not in hidden}
    if not (found or files):
        raise UsageError(f"{place} matches only folders that hold no video")
    return sorted(found) or files  # where nothing else matches, these were asked for


def _matches(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """What a pattern matches in ``folder``. ``**`` stands for folders at any depth, links to folders not among them.

    At the end of the pattern it stands for the files in these. (The standard library's follows such links, and two of
    them that lead back to where they are have it search for ever.)
    """
    if "**" not in parts:
        found = glob.glob(os.path.join(*parts), root_dir=folder)  # noqa: PTH118, PTH207  # Path.glob knows no such root
        yield from (folder / name for name in found)
        return
    at = parts.index("**")
    rest = list(itertools.dropwhile(lambda part: part == "**", parts[at:]))
    for top in _matches(folder, parts[:at]) if at else [folder]:
        for below, folders, files in os.walk(top):
            folders[:] = [name for name in folders if not name.startswith(".")]
            if rest:
                yield from _matches(Path(below), rest)
            else:
                yield from (Path(below) / name for name in files if not name.startswith("."))


class _Outputs:
    """What an earlier run of the same command may have written: files, and all in folders, of what is searched."""

    def __init__(self, searched: Path, outputs: Sequence[Path]) -> None:
        base = searched.resolve()
        places = [path.resolve() for path in outputs]
        # a folder that is searched itself is no place apart; its videos are refused as targets later
        self._places = [place for place in places if place != base and place.is_relative_to(base)]

    def __contains__(self, path: Path) -> bool:
        real = path.parent.resolve() / path.name if self._places else path
        return any(real.is_relative_to(place) for place in self._places)


def _files_in(folder: Path, outputs: Sequence[Path]) -> list[Path]:
    hidden = _Outputs(folder, outputs)
    files = [path for path in _search(folder) if path not in hidden]
    if not files:
        raise UsageError(f"{folder} holds no video: no name with one of {', '.join(sorted(MEDIA_SUFFIXES))}, and no "
                         "file that begins as a video does")  # fmt: skip
    return files


def _search(folder: Path) -> list[Path]:
    """Videos in a folder, at any depth; links to folders are not followed."""
    return sorted(path for path in folder.rglob("*") if not _is_hidden(path, folder) and _is_wanted(path))


def _is_wanted(path: Path) -> bool:
    """A dangling link called a video is wanted: it is reported as one that cannot be read."""
    kind = path.suffix.lower()
    if kind in _NO_VIDEO_SUFFIXES:
        return False
    if kind in MEDIA_SUFFIXES - _ALSO_OTHERS and not path.is_dir():
        return True
    return is_video_file(path)


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
    return list(itertools.islice((each for each in numbered if each not in taken), len(paths)))


def _is_id(name: str) -> bool:
    try:
        return len(check_id(name)) <= MAX_ID_CHARS // 4  # it becomes part of a file's name
    except DataError:
        return False
