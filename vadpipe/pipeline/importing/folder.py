"""``vadpipe import features FOLDER``: ``<id>.npy`` or ``<id>__<crop>.npy``, as long as labels or the videos say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from vadpipe.datasets.lists import crop_number
from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord, video_id
from vadpipe.pipeline.features.export_files import STATES_ENDING, exported_window
from vadpipe.pipeline.importing.features import (
    Imported,
    ImportJob,
    ImportSummary,
    common_columns,
    crop_numbers,
    import_tracks,
    imported_spec,
)
from vadpipe.pipeline.importing.video_lengths import Lengths, video_lengths
from vadpipe.store import FeatureStore

Crops = Mapping[int, Path]


def import_folder(
    folder: Path,
    store: FeatureStore,
    records: Sequence[VideoRecord],
    stream: str,
    frames_per_snippet: int = 16,
    *,
    videos: Mapping[str, Path] | None = None,
    crops: str = "first",
    jobs: int = 4,
    notify: Callable[[Imported, int], None] | None = None,
    looked: Callable[[int, int], None] | None = None,
) -> ImportSummary:
    """Import ``<folder>/<id>.npy`` of every record; ids match exactly.

    records, videos
        Which ids there are and how long they are. A length is the video's where its file is given, else the record's;
        one of both may be empty. ``looked(done, total)`` follows the look at each video file.
    crops
        ``first`` or ``all`` of those that the videos have in the folder, or numbers such as ``0,5``: the same for all
        videos. Several become an axis of the track; a video that lacks one of them is missing.

    Where a file has one row more or less than the video's snippets (the usual rounding of released features), the last
    row is dropped or repeated and a note says so; a larger difference fails that video, as does one whose length is not
    known. :class:`DataError` where no length is known.

    Of a folder that vadpipe exported from features of sound, the states come along; a video that lacks them fails.
    """
    files, odd = _files_by_id(folder)
    lengths = Lengths.of_records(records)
    if videos:
        here = {name: path for name, path in videos.items() if name in files}
        lengths.add(video_lengths(here, jobs, looked, frames_per_snippet))
    known = dict.fromkeys([*(record.id for record in records), *(videos or ())])
    wanted = crop_numbers(crops, {crop for name in known for crop in files.get(name, {})}) or (0,)
    # crop 0 alone is what a specification without words means, as files without crop numbers have it
    spec_crops = "" if crops == "first" and wanted == (0,) else f"crops {','.join(map(str, wanted))}"
    dim = common_columns([path for present in files.values() for path in present.values()])
    spec = imported_spec(stream, dim, frames_per_snippet, crops=spec_crops, window=exported_window(folder))
    summary = ImportSummary(spec, unlabelled=[*sorted(files.keys() - known.keys()), *odd], notes=list(lengths.notes))
    todo = _jobs(known, files, wanted, lengths, summary)
    further = sum(map(len, files.values())) - sum(len(job.files) for job in todo) if crops == "first" else 0
    further -= sum(len(files[name]) for name in (*summary.unlabelled, *summary.failed) if name in files)
    if further > 0:
        summary.notes.append(f"{further} files of further crops were left out; crop {wanted[0]} of each video is used")
    if odd:
        summary.notes.append(f"{len(odd)} files have names that can be no id and were left out, e.g. {odd[0]!r}")
    if notify is not None:
        for name, reason in summary.failed.items():
            notify(Imported(name, "failed", reason), len(todo) + len(summary.failed))
    import_tracks(todo, store, summary, jobs=jobs, notify=notify)
    return summary


def _jobs(
    known: Mapping[str, None],
    files: Mapping[str, Crops],
    wanted: tuple[int, ...],
    lengths: Lengths,
    summary: ImportSummary,
) -> list[ImportJob]:
    """What can be imported; what cannot goes to ``missing`` or ``failed`` of the summary."""
    found: list[tuple[str, tuple[Path, ...], tuple[int, Fraction]]] = []
    for name in sorted(known):
        present = files.get(name, {})
        if not present or (gone := [crop for crop in wanted if crop not in present]):
            summary.missing[name] = ", ".join(f"{name}__{crop}.npy" for crop in gone) if present else f"{name}.npy"
        elif name in lengths.known:
            paths = tuple(present[crop] for crop in wanted)
            found.append((name, paths, lengths.known[name]))
        else:
            summary.failed[name] = lengths.failed.get(
                name, f"{name!r}: the labels need the columns frames and fps to place rows in time, or give --videos"
            )
    if summary.failed and not found:
        raise DataError(next(iter(summary.failed.values())))
    edges = lengths.boundaries
    jobs = [ImportJob(name, paths, *length, boundaries=edges.get(name, ())) for name, paths, length in found]
    if not summary.spec.audio_window:
        return jobs
    places = {job.id: job.files[0].with_name(f"{job.id}{STATES_ENDING}") for job in jobs}
    return [replace(job, states=places[job.id]) if places[job.id].is_file() else job for job in jobs]


def _files_by_id(folder: Path) -> tuple[dict[str, dict[int, Path]], list[str]]:
    """Id -> crop -> file, a name without a crop being crop 0; and names that can be no id."""
    files: dict[str, dict[int, Path]] = {}
    odd = []
    for path in sorted(folder.glob("*.npy")):
        try:
            crops = files.setdefault(video_id(path), {})
        except DataError:  # a line feed, or bytes that are not UTF-8: no label can mean it
            odd.append(path.name)
            continue
        if crops.setdefault(crop_number(path.name), path) != path:
            raise DataError(f"{path} and {crops[0]} are the same crop of one video; remove one")
    if not files:
        raise UsageError(f"{folder} holds no .npy file")
    return files, odd
