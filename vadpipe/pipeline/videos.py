"""Which files a command is about: named files and what folders hold, by id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import MEDIA_SUFFIXES, video_id
from vadpipe.redact import host_of, is_address, redacted

_MOST_SAID = 120  # characters of a path in a message


def find_videos(places: Sequence[Path], refused: dict[str, str] | None = None) -> dict[str, Path]:
    """Id -> file. A named file is taken whatever its suffix; folders are searched for known suffixes, at any depth.

    A file whose name cannot be an id goes to ``refused`` (path -> reason), or is a :class:`DataError` without one.
    """
    found: dict[str, Path] = {}
    for path in _files(places):
        try:
            name = video_id(path)
        except DataError as error:
            if refused is None:
                raise
            refused[str(path)] = str(error)
            continue
        if name in found and found[name].resolve() != path.resolve():
            raise UsageError(f"two videos have the id {name!r}: {found[name]} and {path}; rename one")
        found[name] = path
    return found


def _files(places: Sequence[Path]) -> Iterator[Path]:
    for place in places:
        with looking_at(place):
            yield from _files_at(place)


def _files_at(place: Path) -> list[Path]:
    if place.is_dir():
        files = sorted(path for path in place.rglob("*") if path.suffix.lower() in MEDIA_SUFFIXES)
        if not files:
            raise UsageError(f"{place} holds no video ({', '.join(sorted(MEDIA_SUFFIXES))})")
        return files
    if not place.exists():
        raise UsageError(missing(place))
    return [place]


def missing(place: Path) -> str:
    """What to say of a place that is not there: an address is no file, and none is opened."""
    if not is_address(str(place)):
        return f"{place} does not exist"
    return (
        f"{host_of(str(place))} is an address, and vadpipe opens files only. Record it first, for example with "
        "ffmpeg -i ADDRESS -t 600 -c copy clip.mkv, and give the file"
    )


@contextmanager
def looking_at(place: Path | str) -> Iterator[None]:
    """:class:`UsageError` where the system does not even look: a name that is too long, a folder that is closed."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:  # of a zero byte; of a loop of links
        told = str(place) if len(str(place)) < _MOST_SAID else f"{str(place)[:_MOST_SAID]} …"
        raise UsageError(f"{told}: the system refuses to look ({getattr(error, 'strerror', None) or error})") from error


def said_of(path: Path, error: Exception) -> str:
    """What went wrong with a video, with its path in front once, as it was given: many messages name it themselves."""
    text = str(error)
    for name in (f"{path}: ", f"{path.absolute()}: "):
        text = text.removeprefix(redacted(name))
    return f"{path}: {text}"
