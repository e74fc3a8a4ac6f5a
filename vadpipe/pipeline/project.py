"""Where things are when a command is given no arguments: the conventions of a project folder.

``features/`` (or ``--features``), ``labels.csv`` in the folder or in ``videos/`` or label folders ``videos/<label>/``,
``annotations.txt`` beside the labels, ``runs/<name>/``. Whatever is missing is said, with the command that makes it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vadpipe.datasets.annotations import read_annotations
from vadpipe.datasets.folder import labels_from_folders, read_labels
from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import TimeGrid

SEEN_FILE = "videos.json"
"""In a run folder: ids that the head was trained and selected on."""


def find_labels(given: Path | None, project: Path) -> tuple[list[VideoRecord], Path]:
    """Records from ``labels.csv`` or label folders, and where they were found."""
    if given is not None:
        return (labels_from_folders(given) if given.is_dir() else read_labels(given)), given
    for place in (project / "labels.csv", project / "videos" / "labels.csv"):
        if place.is_file():
            return read_labels(place), place
    videos = project / "videos"
    if videos.is_dir() and any(path.is_dir() for path in videos.iterdir()):
        return labels_from_folders(videos), videos
    raise UsageError(
        f"no labels: expected {project / 'labels.csv'} with the columns video,label, or folders "
        f"{videos}/<label>/; or pass --labels"
    )


def find_annotations(given: Path | None, labels: Path) -> Path | None:
    """Return ``given``, or ``annotations.txt`` beside the labels where there is one."""
    if given is not None:
        return given
    beside = (labels if labels.is_dir() else labels.parent) / "annotations.txt"
    return beside if beside.is_file() else None


def find_spec(store: FeatureStore, wanted: str) -> FeatureSpec:
    """Return the only stored specification of stream ``wanted`` (or whose folder name starts with it)."""
    specs = store.specs()
    if not specs:
        raise UsageError(f"no features under {store.root}; run: vadpipe extract videos/ --out {store.root}")
    fitting = [spec for spec in specs if wanted in (spec.stream, spec.folder)]
    if len(fitting) != 1:
        folders = ", ".join(spec.folder for spec in specs)
        raise UsageError(f"--stream {wanted}: {len(fitting)} fit; {store.root} holds {folders}; name one of these")
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
    records: Sequence[VideoRecord], store: FeatureStore, spec: FeatureSpec, annotations: Path | None
) -> tuple[list[VideoRecord], list[str]]:
    """Records with their true intervals filled in, clipped to each video's length; and notes for the user.

    Anomalous videos that the file does not mention keep no intervals: their truth is unknown.
    """
    if annotations is None:
        return list(records), []
    grids: dict[str, TimeGrid] = {record.id: store.read(spec, record.id).grid for record in records}
    notes: list[str] = []
    truth = read_annotations(annotations, {record.id: record for record in records}, grids, notes)
    return [replace(record, intervals=truth.get(record.id, ())) for record in records], notes


def find_run(given: Path | None, project: Path) -> Path:
    """Return ``given``, or the only finished run under ``runs/``; with several, the newest is not guessed."""
    if given is not None:
        return given
    finished = sorted(path.parent for path in (project / "runs").glob("*/config.json"))
    if len(finished) == 1:
        return finished[0]
    if not finished:
        raise UsageError(f"no trained head under {project / 'runs'}; run vadpipe train first, or pass --run")
    names = ", ".join(path.name for path in finished)
    raise UsageError(f"several trained heads under {project / 'runs'} ({names}); pass --run with one of them")


def clear_run(folder: Path) -> None:
    """Remove an earlier run for ``--restart``; refuses a folder that is not a run."""
    if not folder.exists():
        return
    known = {
        "state.safetensors",
        "metrics.jsonl",
        "config.json",
        "model.safetensors",
        "README.md",
        "curve.png",
        SEEN_FILE,
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
) -> list[VideoRecord]:
    """Records to evaluate ``run`` on, with their truth; refuses videos that the head has seen in training.

    Labels without a split column hold one set; then all of them are taken, whatever ``split`` says.
    """
    records, found = find_labels(labels, Path())
    if split != "all" and any(record.split != "train" for record in records):
        records = [record for record in records if record.split == split]
    if not records:
        raise UsageError(f"--split {split}: no such record in {found}")
    records, without = stored_records(records, store, spec)
    if without:
        say(f"warning: {len(without)} videos have no features and are left out: {', '.join(without[:5])}")
    seen = _seen(run)
    known = [record.id for record in records if record.id in seen]
    if known and not allow_seen:
        raise UsageError(
            f"{len(known)} of {len(records)} videos were used to train or select this head ({known[0]!r} …); "
            "pass the test labels, or --allow-seen to measure the fit on them"
        )
    records, notes = with_truth(records, store, spec, find_annotations(annotations, found))
    for note in notes:
        say(f"note: {note}")
    return records


def _seen(run: Path) -> set[str]:
    try:
        told = json.loads((run / SEEN_FILE).read_text(encoding="utf-8"))
        return {str(video) for part in told.values() for video in part}
    except FileNotFoundError:
        return set()  # a head from elsewhere: what it has seen is not known
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{run / SEEN_FILE} cannot be read: {error}") from error
