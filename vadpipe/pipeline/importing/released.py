"""``vadpipe import features --list …``: features as they were released, with their lists, without any video.

The lists say which videos there are, their labels, and the names of their feature files, one a crop; these are looked
for, by exact name, anywhere under one folder. Beside the features a ``manifest.jsonl`` is written, where train and
evaluate find labels and splits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from vadpipe.datasets import DATASETS
from vadpipe.datasets.ground_truth import names_no_videos, read_truth
from vadpipe.datasets.lists import ListedVideo, read_list
from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import SPLITS, VideoRecord, read_manifest, unique_ids, write_manifest
from vadpipe.pipeline.importing.features import (
    Imported,
    ImportJob,
    ImportSummary,
    common_columns,
    import_tracks,
    imported_spec,
)
from vadpipe.pipeline.importing.released_files import Located, choose_crops, left_over, scan
from vadpipe.pipeline.importing.video_lengths import Lengths, video_lengths
from vadpipe.spec import FeatureSpec
from vadpipe.store import MANIFEST, FeatureStore

Files = Mapping[str, list[Path]]


@dataclass(frozen=True, slots=True)
class ReleasedRequest:
    """What to import.

    lists
        ``train=FILE``, ``val=FILE``, ``test=FILE``, or ``FILE`` for a training list.
    root, audio_root
        Folders to look for feature files in, at any depth; audio_root None means root.
    stream, audio_stream
        Names of the streams; audio None leaves audio features out.
    crops, test_crops
        ``first`` or ``all`` of the crops that the lists name, or numbers such as ``0,5``, listed or not.
    fps, frames_per_snippet
        None for the data set's own.
    lengths
        Records that state num_frames (and fps) of some videos.
    videos
        Files of some videos, whose own length and rate go before all others.
    annotations
        True incidents, for the manifest.
    """

    dataset: str
    lists: tuple[str, ...]
    root: Path
    audio_root: Path | None = None
    stream: str | None = None
    audio_stream: str | None = None
    crops: str = "first"
    test_crops: str = "all"
    fps: Fraction | None = None
    frames_per_snippet: int | None = None
    lengths: tuple[VideoRecord, ...] = ()
    videos: Mapping[str, Path] = field(default_factory=dict)
    annotations: Path | None = None
    jobs: int = 4


@dataclass(slots=True)
class ReleasedSummary:
    """Results by stream, the visual one first; where the manifest is; notes for people.

    extra
        Names of .npy files that no list names; further crops of listed videos are only counted, in a note.
    """

    streams: list[ImportSummary]
    manifest: Path
    extra: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def import_released(
    request: ReleasedRequest,
    store: FeatureStore,
    notify: Callable[[FeatureSpec, Imported, int], None] | None = None,
    looked: Callable[[int, int], None] | None = None,
) -> ReleasedSummary:
    """Import the features of all lists; a rerun imports what is missing or has changed.

    A video whose files are missing or cannot be used costs itself only (:class:`ImportSummary`). ``notify(spec, result,
    number of videos)`` follows each, ``looked(done, total)`` each video file. :class:`UsageError` or
    :class:`DataError` where the request or a list is wrong, or none of the listed files is there.
    """
    summary = ReleasedSummary([], store.root / MANIFEST)
    listed = _listed(request, summary.notes)
    of_files = _lengths_of_files(listed, request, summary.notes, looked)
    request = replace(request, lengths=(*request.lengths, *of_files.told(v.record for v in listed)))
    videos, time = _placed_in_time(listed, request, summary.notes)
    earlier = _earlier_records(summary.manifest, request.dataset)
    crops = choose_crops(videos, request.crops, request.test_crops)
    files = scan(request.root, skip=request.audio_root)
    sounds = files if request.audio_root is None else scan(request.audio_root)
    visual = _visual(videos, {video.record.id: crops.names(video) for video in videos}, files, of_files.boundaries)
    step = request.frames_per_snippet or DATASETS[request.dataset].frames_per_snippet
    name = request.stream or f"released-{request.dataset}"
    plan = [(_spec(name, f"released, {crops}", time, step, visual, request.root), visual)]
    if request.audio_stream is not None:
        audio, place = _audio(videos, visual, sounds), request.audio_root or request.root
        plan.append((_spec(request.audio_stream, "released, audio", time, step, audio, place), audio))
    elif any(video.audio_file for video in videos):
        summary.notes.append("the lists name audio features too; --audio-stream NAME imports them")
    for spec, located in plan:
        summary.streams.append(_import(spec, located, store, request.jobs, notify))
    taken = {path.name for _, located in plan for job in located.jobs for path in job.files}
    summary.extra, further = left_over(sorted({*files, *sounds}), videos, taken)
    if further:
        summary.notes.append(f"{further} files of further crops or unusable videos were left out")
    records = _merged(earlier, [video.record for video in videos])
    store.root.mkdir(parents=True, exist_ok=True)  # not there where no video could be imported
    write_manifest(summary.manifest, records)
    if request.annotations is not None:  # read last: a fault in them leaves all the rest done
        records = _with_truth(records, request, request.annotations, store, plan[0][0], summary.notes)
        write_manifest(summary.manifest, records)
    return summary


def _listed(request: ReleasedRequest, notes: list[str]) -> list[ListedVideo]:
    """Videos of all lists; an unknown data set, a video in two lists and lists without feature files are refused."""
    videos: list[ListedVideo] = []
    for text in request.lists:
        split, path = _split_and_path(text)
        if not split:
            if "test" in Path(path).name.lower():
                raise UsageError(f"--list {path}: its name says test; write test={path} (or train={path} if it is not)")
            notes.append(f"{path} is taken as the training list; write test=FILE or val=FILE for others")
        more = read_list(path, request.dataset, split or "train")
        if nameless := [video.record.id for video in more if not video.files]:
            raise DataError(f"{path} names no feature files, e.g. of {nameless[0]!r}; expected a list of .npy files")
        videos += more
    unique_ids([video.record for video in videos], "the lists together")
    return videos


def _lengths_of_files(
    videos: Sequence[ListedVideo], request: ReleasedRequest, notes: list[str], looked: Callable[[int, int], None] | None
) -> Lengths:
    """What the files of the listed videos say, where there are any."""
    lengths = Lengths.of_records(request.lengths)
    names = [video.record.id for video in videos if video.record.id in request.videos]
    step = request.frames_per_snippet or DATASETS[request.dataset].frames_per_snippet
    found = video_lengths({name: request.videos[name] for name in names}, request.jobs, looked, step)
    lengths.add(found)
    notes += [*lengths.notes, *(f"{name}: its length is not known: {why}" for name, why in lengths.failed.items())]
    return found


def _placed_in_time(
    videos: Sequence[ListedVideo], request: ReleasedRequest, notes: list[str]
) -> tuple[list[ListedVideo], str]:
    """Videos with the lengths and rates that are known, and in words how the others' rows are placed in time."""
    lengths = {record.id: record for record in request.lengths if record.num_frames is not None}
    nominal = request.fps or DATASETS[request.dataset].fps
    placed, assumed = [], 0
    for video in videos:
        known = lengths.get(video.record.id, video.record)
        fps = (known.fps if known is not video.record else None) or nominal
        if fps is None:
            raise UsageError(f"{video.record.id!r}: the data set has no frame rate of its own; pass --fps")
        assumed += known.num_frames is None
        placed.append(replace(video, record=replace(video.record, num_frames=known.num_frames, fps=fps)))
    if assumed:
        step = request.frames_per_snippet or DATASETS[request.dataset].frames_per_snippet
        notes.append(
            f"{assumed} of {len(placed)} videos: their true number of frames is not known; taken as rows x {step}, "
            f"at {nominal} frames/s"
        )
    # the same words with and without known lengths: a test list with lengths has to fit a training list without
    return placed, f"frames: as labelled, else rows, at {nominal or 'the labels'} fps"


def _visual(
    videos: Sequence[ListedVideo],
    names: Mapping[str, tuple[str, ...]],
    files: Files,
    boundaries: Mapping[str, tuple[float, ...]],
) -> Located:
    located = Located()
    for video in videos:
        record = video.record
        if (paths := located.find(record.id, names[record.id], files)) and record.fps is not None:
            edges = boundaries.get(record.id, ())
            located.jobs.append(ImportJob(record.id, paths, record.num_frames, record.fps, boundaries=edges))
    return located


def _audio(videos: Sequence[ListedVideo], visual: Located, files: Files) -> Located:
    """Audio of the videos that have visual features: their rows count, so that both streams have one grid."""
    if not any(video.audio_file for video in videos):
        raise UsageError("--audio-stream: no list has a column audio_path")
    jobs = {job.id: job for job in visual.jobs}
    located = Located()
    for video in videos:
        job = jobs.get(video.record.id)
        if job is None or video.audio_file is None:
            continue
        if paths := located.find(job.id, (video.audio_file,), files):
            located.jobs.append(replace(job, files=paths, rows_of=job.files[0]))
    return located


def _spec(stream: str, crops: str, time: str, step: int, located: Located, root: Path) -> FeatureSpec:
    """Specification of a stream; :class:`DataError` where no video of it can be imported."""
    if not located.jobs:
        for video, reason in located.failed.items():
            raise DataError(f"{stream}: no video can be imported; {video!r}: {reason}")
        example = next(iter(located.missing.values()), "")
        raise DataError(
            f"{stream}: none of the {len(located.missing)} listed videos has its files under {root}; "
            f"looked for {example}, for instance"
        )
    dim = common_columns([path for job in located.jobs for path in job.files])
    return imported_spec(stream, dim, step, crops=crops, time=time)


def _import(
    spec: FeatureSpec,
    located: Located,
    store: FeatureStore,
    jobs: int,
    notify: Callable[[FeatureSpec, Imported, int], None] | None,
) -> ImportSummary:
    summary = ImportSummary(spec, failed=dict(located.failed), missing=dict(located.missing))

    def finished(result: Imported, total: int) -> None:
        if notify is not None:
            notify(spec, result, total + len(located.failed))

    for name, reason in located.failed.items():
        finished(Imported(name, "failed", reason), len(located.jobs))
    import_tracks(located.jobs, store, summary, jobs=jobs, notify=finished)
    return summary


def _earlier_records(manifest: Path, dataset: str) -> dict[str, VideoRecord]:
    """Records that an earlier import left; :class:`UsageError` where they are of another data set."""
    if not manifest.is_file():
        return {}
    records = {record.id: record for record in read_manifest(manifest)}
    classes = set(DATASETS[dataset].classes)
    strange = sorted({label for record in records.values() for label in record.labels} - classes)
    if strange and DATASETS[dataset].anomalies:
        raise UsageError(f"{manifest} lists videos labelled {strange[0]!r}, no class of {dataset}; give another --out")
    return records


def _merged(earlier: Mapping[str, VideoRecord], records: Sequence[VideoRecord]) -> list[VideoRecord]:
    """``records`` and those earlier ones that they do not replace; truth that is only in the earlier ones is kept."""
    new = {record.id: record for record in records}
    for name, record in new.items():
        old = earlier.get(name)
        if old is not None and old.labels == record.labels and not record.intervals:
            new[name] = replace(record, intervals=old.intervals)
    return list({**earlier, **new}.values())


def _with_truth(
    records: list[VideoRecord],
    request: ReleasedRequest,
    annotations: Path,
    store: FeatureStore,
    spec: FeatureSpec,
    notes: list[str],
) -> list[VideoRecord]:
    """Records with the true incidents of the test videos, or of all where none is a test video.

    Arrays of truth name no videos: they follow the order of the test list.
    """
    stored = set(store.ids(spec))
    tested = [record for record in records if record.split == "test"] or records
    known = {record.id: record for record in tested if record.id in stored}
    grids = {name: store.grid(spec, name) for name in known}
    tests = [path for split, path in map(_split_and_path, request.lists) if split == "test"]
    order = tests[0] if names_no_videos(annotations) and len(tests) == 1 else None
    truth = read_truth(annotations, known, grids, notes, order)
    return [replace(record, intervals=truth.get(record.id, record.intervals)) for record in records]


def _split_and_path(text: str) -> tuple[str, str]:
    """Split (empty where none is said) and path of one ``--list``; a path may hold ``=`` itself."""
    split, sign, path = text.partition("=")
    return (split, path) if sign and split in SPLITS else ("", text)
