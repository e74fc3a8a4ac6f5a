"""``vadpipe detect --html``: pages that show detections to people, each one file that needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from vadpipe.detection import Detection
from vadpipe.errors import UsageError, VideoError
from vadpipe.pipeline.pages.index import IndexLine, index_page, rank
from vadpipe.pipeline.pages.media import (
    PICTURES,
    check_embeddable,
    pictures_of,
    player_for,
    too_large,
    unplayable,
    waveform_of,
)
from vadpipe.pipeline.pages.page import PageParts, video_page
from vadpipe.pipeline.pages.payload import Peak, peaks_of
from vadpipe.store import safe_name
from vadpipe.track_file import atomic_write, atomic_write_parts
from vadpipe.tracks import FloatArray, Interval


@dataclass(frozen=True, slots=True)
class ReportEntry:
    """One video of a report.

    path
        The video file, for the player, the pictures and the sound; None where there is none at hand.
    truth
        Annotated intervals, shown beside those found.
    """

    path: Path | None
    detection: Detection
    truth: tuple[Interval, ...] = ()


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was read from a video file for its page, and what could not be."""

    pictures: tuple[tuple[Peak, str], ...] = ()
    wave: FloatArray | None = None
    problems: tuple[str, ...] = ()


def write_html(
    entries: Sequence[ReportEntry],
    out: Path,
    *,
    embed: bool = False,
    on_page: Callable[[int], None] | None = None,
    is_index: bool = False,
) -> list[Path]:
    """Write a report; returns the files written, ``out`` first.

    One entry: ``out`` is its page, unless ``is_index``. Several: ``out`` is an index, the most anomalous video first,
    and the pages are beside it in ``<stem>_files/``. The player refers to the video file by its relative path, or holds
    the whole of it with ``embed``. What cannot be read from a video (pictures, sound) is said on its page, as is that
    one of several is too large to embed and referred to. ``on_page`` gets the total after each page.

    :class:`UsageError` for no entry, an ``out`` that does not end in .html, and a single video that is too large to
    embed, all before anything is written.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{out}: got suffix {out.suffix!r}, expected .html")
    if not entries:
        raise UsageError(f"{out}: a report needs at least one video whose detection worked")
    if len(entries) == 1 and not is_index:
        if embed:
            check_embeddable(entries[0].path, entries[0].detection.clip.codec)
        _write_page(entries[0], out, embed=embed)
        if on_page is not None:
            on_page(1)
        return [out]
    return _write_many(entries, out, embed, on_page)


def _write_many(
    entries: Sequence[ReportEntry], out: Path, embed: bool, on_page: Callable[[int], None] | None
) -> list[Path]:
    """The index is written while the pages are, and appears after the last of them; one entry is held at a time."""
    ranks = [rank(entry.detection) for entry in entries]
    order = sorted(range(len(entries)), key=ranks.__getitem__)
    ranks = [ranks[place] for place in order]
    folder = out.with_name(f"{out.stem}_files")
    names = _names([one.name for one in ranks])
    back = ("All videos", f"../{_quoted(out.name)}")

    def lines() -> Iterator[IndexLine]:
        for number, (place, name) in enumerate(zip(order, names, strict=True)):
            links = [back]
            if number:
                links.append(("Previous video", _quoted(names[number - 1])))
            if number + 1 < len(names):
                links.append(("Next video", _quoted(names[number + 1])))
            entry = entries[place]
            seen = _write_page(entry, folder / name, embed=embed, links=tuple(links))
            picture = seen.pictures[0][1] if seen.pictures else ""
            yield IndexLine(entry.detection, f"{_quoted(folder.name)}/{_quoted(name)}", picture)
            if on_page is not None:
                on_page(len(entries))

    atomic_write_parts(out, index_page(ranks, lines()))
    return [out, *(folder / name for name in names)]


def _quoted(name: str) -> str:
    """A file name as part of an address; any bytes of it come through."""
    return quote(os.fsencode(name))


def _names(ids: Sequence[str]) -> list[str]:
    """File names of the pages: from the ids, safe on any file system, different where ids are the same."""
    stems = [Path(safe_name(video)).stem for video in ids]
    taken = dict.fromkeys(stems, 0)  # how many names are a stem, or begin with it and an underscore
    names: list[str] = []
    for stem in stems:
        name = f"{stem}_{taken[stem] + 1}" if taken[stem] else stem
        for begun in (name, *(name[:at] for at, char in enumerate(name) if char == "_")):
            if begun in taken:
                taken[begun] += 1
        names.append(f"{name}.html")
    return names


def _write_page(entry: ReportEntry, page: Path, *, embed: bool, links: tuple[tuple[str, str], ...] = ()) -> _Seen:
    seen, path = _look(entry), entry.path
    if embed and path is not None and not unplayable(path, entry.detection.clip) and (large := too_large(path)):
        embed = False
        seen = replace(seen, problems=(*seen.problems, f"not embedded, the page refers to the file: {large}"))
    player = player_for(entry.path, entry.detection.clip, page, embed=embed)
    parts = PageParts(entry.detection, entry.truth, player, seen.pictures, seen.wave, seen.problems, links)
    atomic_write(page, video_page(parts))
    return seen


def _look(entry: ReportEntry) -> _Seen:
    """Pictures of the peaks and the sound's outline; a file that gives none costs the page these, and says so."""
    if entry.path is None:
        return _Seen()
    peaks = peaks_of(entry.detection, PICTURES)
    problems: tuple[str, ...] = ()
    pictures: tuple[tuple[Peak, str], ...] = ()
    wave = None
    try:
        pictures = tuple(zip(peaks, pictures_of(entry.path, [peak.at_s for peak in peaks]), strict=True))
    except (VideoError, UsageError) as error:
        problems += (f"no pictures of the peaks: {error}",)
    try:
        wave = (
            waveform_of(entry.path, entry.detection.scores.grid.duration_s) if entry.detection.clip.has_audio else None
        )
    except (VideoError, UsageError) as error:
        problems += (f"no outline of the sound: {error}",)
    return _Seen(pictures, wave, problems)
