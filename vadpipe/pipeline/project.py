"""Where things are when a command is given no arguments: the conventions of a project folder.

``features/`` (or ``--features``); labels in ``labels.csv`` in the folder or in ``videos/``, in ``manifest.jsonl`` in
the folder or in ``features/``, or as folders ``videos/<label>/``; ``annotations.txt`` beside the labels;
``runs/<name>/``. Whatever is missing is said, with the command that makes it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vadpipe.datasets.folder import labels_from_folders, read_labels
from vadpipe.datasets.ground_truth import read_truth, truth_of_records
from vadpipe.datasets.spans import compare_lengths
from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import SPLITS, VideoRecord, read_manifest
from vadpipe.outside import read_json
from vadpipe.spec import FeatureSpec
from vadpipe.store import MANIFEST, FeatureStore
from vadpipe.tracks import TimeGrid

SEEN_FILE = "videos.json"
"""In a run folder: ids that the head was trained and selected on."""


def find_labels(given: Path | None, project: Path, features: Path | None = None) -> tuple[list[VideoRecord], Path]:
    """Records from ``labels.csv``, a ``manifest.jsonl`` or label folders, and where they were found.

    ``features`` is the store, where imported features have their manifest; None means ``project/features``.
    """
    if given is not None:
        return _read_labels(given), given
    tables = [project / "labels.csv", project / "videos" / "labels.csv", project / MANIFEST]
    for place in (*tables, (features or project / "features") / MANIFEST):
        if place.is_file():
            return _read_labels(place), place
    videos = project / "videos"
    if videos.is_dir() and any(path.is_dir() for path in videos.iterdir()):
        return labels_from_folders(videos), videos
    raise UsageError(
        f"no labels: expected {project / 'labels.csv'} with the columns video,label, or folders "
        f"{videos}/<label>/; or pass --labels, labels.csv or manifest.jsonl"
    )


def _read_labels(place: Path) -> list[VideoRecord]:
    if place.is_dir():
        return labels_from_folders(place)
    return read_manifest(place) if place.suffix.lower() == ".jsonl" else read_labels(place)


def find_annotations(given: Path | None, labels: Path) -> Path | None:
    """Return ``given``, or ``annotations.txt`` beside the labels where there is one."""
    if given is not None:
        return given
    beside = (labels if labels.is_dir() else labels.parent) / "annotations.txt"
    return beside if beside.is_file() else None


def find_spec(store: FeatureStore, wanted: str, option: str = "--stream") -> FeatureSpec:
    """Return the only stored specification of stream ``wanted``, or of that folder; ``option`` is what asked for it."""
    specs = store.specs()
    if not specs:
        raise UsageError(f"no features under {store.root}; run: vadpipe extract videos/ --out {store.root}")
    fitting = [spec for spec in specs if wanted in (spec.stream, spec.folder)]
    if len(fitting) != 1:
        folders = ", ".join(spec.folder for spec in specs)
        raise UsageError(f"{option} {wanted}: {len(fitting)} fit; {store.root} holds {folders}; name one of these")
    return fitting[0]


def stored_records(
    records: Sequence[VideoRecord], store: FeatureStore, spec: FeatureSpec
) -> tuple[list[VideoRecord], list[str]]:
    """(records that have features, ids that have none); :class:`DataError` where nothing is left."""
    ids = set(store.ids(spec))
    present = [record for record in records if record.id in ids]
    if not present:
        raise DataError(
            f"none of the {len(records)} labelled videos has features in {store.root / spec.folder}; "
            f"labels name {records[0].id!r}, features {next(iter(sorted(ids)), 'nothing')!r}"
        )
    return present, [record.id for record in records if record.id not in ids]


def with_truth(
    records: Sequence[VideoRecord],
    store: FeatureStore,
    spec: FeatureSpec,
    annotations: Path | None,
    order: Path | None = None,
    differences: dict[str, int] | None = None,
) -> tuple[list[VideoRecord], list[str]]:
    """Records with their true intervals filled in, clipped to each video's length; and notes for the user.

    Without ``annotations``, intervals that the records have already (``manifest.jsonl``) are fitted to the features;
    with them, they are replaced. Anomalous videos that the file does not mention keep no intervals: their truth is
    unknown. ``order`` is the list that an array of truth follows.

    The features' length counts. Every length that a record states is compared with it: up to one snippet is noted, and
    ``differences`` gets id -> frames that the features have more; :class:`DataError` with the names for more.
    """
    if annotations is None and not any(record.intervals for record in records):
        return list(records), []
    grids: dict[str, TimeGrid] = {record.id: store.grid(spec, record.id) for record in records}
    by_id = {record.id: record for record in records}
    stated = {record.id: record.num_frames for record in records if record.num_frames is not None}
    notes = [f"labels: {note}" for note in compare_lengths(stated, grids, "labels")]
    if differences is not None:
        differences |= {name: by for name, frames in stated.items() if (by := grids[name].num_frames - frames)}
    if annotations is None:
        told = [replace(record, num_frames=None) for record in records]  # compared above
        truth = truth_of_records(told, by_id, grids, "labels", notes)
    else:
        truth = read_truth(annotations, by_id, grids, notes, order)
    fitted = [
        replace(record, intervals=truth.get(record.id, ()), num_frames=grids[record.id].num_frames)
        for record in records
    ]
    return fitted, notes


def find_run(given: Path | None, project: Path, option: str = "--run") -> Path:
    """Return ``given``, or the only finished run under ``runs/``; with several, the newest is not guessed.

    ``option`` is what the user may name it with.
    """
    if given is not None:
        if not (given / "config.json").is_file():
            raise UsageError(f"{option} {given}: no trained head there; expected a folder with a config.json")
        return given
    finished = sorted(path.parent for path in (project / "runs").glob("*/config.json"))
    if len(finished) == 1:
        return finished[0]
    if not finished:
        raise UsageError(f"no trained head under {project / 'runs'}; run vadpipe train first, or pass {option}")
    names = ", ".join(path.name for path in finished)
    raise UsageError(f"several trained heads under {project / 'runs'} ({names}); pass {option} with one of them")


def clear_run(folder: Path) -> None:
    """Remove an earlier run for ``--restart``; refuses a folder that is not a run."""
    if not folder.exists():
        return
    if folder.is_symlink():
        raise UsageError(f"--restart: {folder} is a link; name the folder that it leads to")
    known = {
        "state.safetensors",
        "metrics.jsonl",
        "config.json",
        "model.safetensors",
        "model.next.safetensors",  # a kill in the middle of a replacement leaves it
        "README.md",
        "curve.png",
        "tensorboard",
        SEEN_FILE,
        "calibration.json",  # of the head that goes
    }
    names = {path.name for path in folder.iterdir() if not (path.name.startswith(".") and path.name.endswith(".tmp"))}
    if strange := sorted(names - known - {"evaluation.json"}):
        raise UsageError(f"--restart: {folder} holds {', '.join(strange[:5])}, which no run wrote; remove it yourself")
    shutil.rmtree(folder)


def test_records(
    run: Path,
    store: FeatureStore,
    spec: FeatureSpec,
    labels: Path | None,
    annotations: Path | None,
    split: str,
    allow_seen: bool,
    say: Callable[[str], None],
    order: Path | None = None,  # noqa: PT028  # this is no test: it is about the test split
    differences: dict[str, int] | None = None,  # noqa: PT028  # as above
) -> list[VideoRecord]:
    """Records to evaluate ``run`` on, with their truth; refuses videos that the head has seen in training.

    ``order`` is the list that ``annotations`` follow where they are an array without ids; ``differences`` is filled as
    :func:`with_truth` does.

    Labels without a split column hold one set; then all of them are taken, whatever ``split`` says.
    """
    if split not in (*SPLITS, "all"):
        raise UsageError(f"--split: got {split!r}, expected {', '.join(SPLITS)} or all")
    records, found = find_labels(labels, Path(), store.root)
    truth = find_annotations(annotations, found)
    if order is not None and truth is None:
        raise UsageError(f"--order {order} is the order of an array of truth, and there is none; pass --annotations")
    if split != "all" and any(record.split != "train" for record in records):
        records = [record for record in records if record.split == split]
    if not records:
        raise UsageError(f"--split {split}: no such record in {found}")
    records, without = stored_records(records, store, spec)
    if without:
        say(f"warning: {len(without)} videos have no features and are left out: {', '.join(without[:5])}")
    seen = {video for part in seen_parts(run).values() for video in part}
    known = [record.id for record in records if record.id in seen]
    if known and not allow_seen:
        raise UsageError(
            f"{len(known)} of {len(records)} videos were used to train or select this head ({known[0]!r} …); "
            "pass the test labels, or --allow-seen to measure the fit on them"
        )
    records, notes = with_truth(records, store, spec, truth, order, differences)
    for note in notes:
        say(f"note: {note}")
    return records


def seen_parts(run: Path) -> dict[str, list[str]]:
    """Part (``train``, ``val``, ``teacher``) -> ids that a head has seen there; nothing for a head from elsewhere."""
    try:
        told = read_json(run / SEEN_FILE)
        return {str(part): [str(video) for video in videos] for part, videos in told.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{run / SEEN_FILE} cannot be read: {error}") from error
