"""``vadpipe import …``: bring in what other tools made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vadpipe.cli_options import PATH, annotations_option, frame_rate, json_option, labels_option, quiet_option
from vadpipe.cli_output import print_json, print_table, progress, say
from vadpipe.errors import UsageError

if TYPE_CHECKING:
    from vadpipe.pipeline.importing.features import Imported, ImportSummary
    from vadpipe.pipeline.importing.released import ReleasedSummary
    from vadpipe.store import FeatureStore

_NAMED = 20  # lines of one kind that are spelt out; the rest is a number
_LIST_ONLY = ("root", "audio_root", "audio_stream", "test_crops", "fps", "annotations", "dataset")


@click.group(name="import")
def import_group() -> None:
    """Bring in what other tools made.

    Features, labels and trained heads.

    \b
    Examples:
      vadpipe import features DIR --stream NAME --labels labels.csv
      vadpipe import checkpoint model_xd.pth
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines


@import_group.command(name="features", short_help="Import features as .npy files.")
@click.argument("folder", type=PATH, required=False)
@click.option("--dataset", help="Data set of the lists, e.g. xd_violence.")
@click.option("--list", "lists", multiple=True, metavar="[SPLIT=]FILE", help="Released list; train unless test=FILE.")
@click.option("--root", type=PATH, help="Folder that holds the listed .npy files, at any depth.")
@click.option("--stream", help="A name for where these features come from.  [default with --list: released-<dataset>]")
@click.option("--crops", metavar="WHICH", help="Crops (of training videos): first, all, or e.g. 0,5.  [default: first]")
@click.option("--test-crops", metavar="WHICH", help="Crops of test videos.  [default: all that the test list names]")
@click.option("--audio-stream", help="Also import the lists' audio features, under this name.")
@click.option("--audio-root", type=PATH, help="Folder of the audio features.  [default: --root]")
@click.option("--fps", help="Frame rate where no labels say it, e.g. 24 or 30000/1001.  [default: the data set's]")
@click.option("--stride", type=click.IntRange(1), help="Frames per row.  [default: the data set's, 16]")
@labels_option
@click.option("--videos", type=PATH, help="Folder of the videos, whose own length T is checked against.")
@annotations_option
@click.option("--out", type=PATH, default=Path("features"), show_default=True, help="Feature store to write to.")
@click.option("--jobs", type=click.IntRange(1), default=4, show_default=True, help="Files in work at once.")
@json_option
@quiet_option
def import_features(folder: Path | None, lists: tuple[str, ...], as_json: bool, quiet: bool, **options: Any) -> None:
    """Import features: FOLDER/<id>.npy with --labels or --videos, or released features with their lists.

    Every file is (T, D); crops are <id>__0.npy … <id>__9.npy. T may be one more or less than the video's length asks
    for. A labels.csv needs the columns frames and fps here. A rerun imports only what is missing or changed. Exit code
    3 where listed files are missing or cannot be used. With lists, OUT/manifest.jsonl holds labels and splits: pass it
    to train and evaluate as --labels.

    \b
    Examples:
      vadpipe import features DIR --stream NAME --labels labels.csv
      vadpipe import features DIR --stream NAME --videos VIDEOS --crops all
      vadpipe import features --dataset xd_violence --root DIR --list xd_CLIP_rgb.csv --list test=xd_CLIP_rgbtest.csv
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.store import FeatureStore

    store = FeatureStore(options.pop("out"))
    if (folder is None) == (not lists):
        raise UsageError("give either a FOLDER with --labels or --videos, or --list with --dataset and --root")
    if folder is None:
        _from_lists(store, lists, as_json, quiet, options)
        return
    if given := [name for name in _LIST_ONLY if options[name] is not None]:
        raise UsageError(f"--{given[0].replace('_', '-')} belongs to --list, not to a folder")
    _from_folder(store, folder, as_json, quiet, options)


def _from_folder(store: FeatureStore, folder: Path, as_json: bool, quiet: bool, options: dict[str, Any]) -> None:
    from vadpipe.pipeline.importing.folder import import_folder
    from vadpipe.pipeline.project import find_labels

    if options["stream"] is None:
        raise UsageError("--stream: give the features a name for where they come from")
    videos = _videos(options["videos"])
    records = () if videos and options["labels"] is None else find_labels(options["labels"], Path())[0]
    with _progress(quiet) as (notify, looked):
        summary = import_folder(
            folder,
            store,
            records,
            options["stream"],
            options["stride"] or 16,
            videos=videos,
            crops=options["crops"] or "first",
            jobs=options["jobs"],
            notify=notify,
            looked=looked,
        )
    _say_some("note", summary.notes)
    _say_some("missing", [f"{name} has no {files} in {folder}" for name, files in summary.missing.items()])
    if as_json:
        print_json(_stream_json(summary))
    else:
        _print_stream(summary, store.root, ["files without label, left out", f"{len(summary.unlabelled)}"])
    if summary.failed or summary.missing:
        sys.exit(3 if summary.done or summary.kept else 1)


def _from_lists(
    store: FeatureStore, lists: tuple[str, ...], as_json: bool, quiet: bool, options: dict[str, Any]
) -> None:
    from vadpipe.pipeline.importing.released import ReleasedRequest, import_released
    from vadpipe.pipeline.project import find_labels

    for name in ("dataset", "root"):
        if options[name] is None:
            raise UsageError(f"--list needs --{name} too")
    labels, fps, stride = options.pop("labels"), options.pop("fps"), options.pop("stride")
    options["lengths"] = tuple(find_labels(labels, Path())[0]) if labels is not None else ()
    options["fps"], options["videos"] = frame_rate(fps), _videos(options["videos"])
    given = {name: value for name, value in options.items() if value is not None}
    request = ReleasedRequest(lists=lists, frames_per_snippet=stride, **given)
    say(f"looking for .npy files under {request.root}")
    with _progress(quiet) as (notify, looked):
        summary = import_released(
            request, store, lambda spec, result, total: notify(result, total, spec.stream), looked
        )
    _say_released(summary, request.root)
    if as_json:
        content = [_stream_json(part) for part in summary.streams]
        print_json({"streams": content, "extra": summary.extra, "manifest": str(summary.manifest)})
    else:
        for part in summary.streams:
            _print_stream(part, store.root, ["files that no list names", f"{len(summary.extra)}"])
    if any(part.failed or part.missing for part in summary.streams):
        sys.exit(3 if any(part.done or part.kept for part in summary.streams) else 1)


@contextmanager
def _progress(quiet: bool) -> Iterator[tuple[Callable[..., None], Callable[[int, int], None]]]:
    """One bar a stream, and one for the looks at videos.

    The first yielded function takes (result, number of videos, stream) and says failures at once; the second (videos
    looked at, of how many).
    """
    with progress(quiet) as bars:
        tasks: dict[str, Any] = {}

        def notify(result: Imported, total: int, stream: str = "videos") -> None:
            if stream not in tasks:
                tasks[stream] = bars.add_task(stream, total=total, note="")
            bars.advance(tasks[stream])
            if result.state == "failed":
                say(f"failed: {result.id}: {result.text}")

        def looked(done: int, total: int) -> None:
            if "lengths" not in tasks:
                tasks["lengths"] = bars.add_task("lengths of videos", total=total, note="")
            bars.update(tasks["lengths"], completed=done)

        yield notify, looked


def _videos(folder: Path | None) -> dict[str, Path]:
    from vadpipe.pipeline.videos import find_videos

    refused: dict[str, str] = {}
    found = {} if folder is None else find_videos([folder], refused)
    _say_some("note", [f"{path}: left out: {reason}" for path, reason in refused.items()])
    return found


def _say_released(summary: ReleasedSummary, root: Path) -> None:
    _say_some("note", summary.notes)
    for part in summary.streams:
        _say_some("note", [f"{part.spec.stream}: {text}" for text in part.notes])
        _say_some("missing", [f"{part.spec.stream}: {name}: {files}" for name, files in part.missing.items()])
    _say_some("extra", [f"{name} under {root} is on no list" for name in summary.extra])
    say(f"labels and splits: {summary.manifest}")


def _say_some(kind: str, lines: Sequence[str]) -> None:
    for line in lines[:_NAMED]:
        say(f"{kind}: {line}")
    if len(lines) > _NAMED:
        say(f"{kind}: … and {len(lines) - _NAMED} more; --json names all")


def _stream_json(part: ImportSummary) -> dict[str, Any]:
    content = {"spec": part.spec.folder, "done": part.done, "kept": part.kept, "missing": list(part.missing)}
    return content | {"failed": part.failed, "unlabelled": part.unlabelled, "notes": part.notes}


def _print_stream(part: ImportSummary, out: Path, last: list[str]) -> None:
    rows = [["imported", f"{len(part.done)}"], ["already there", f"{len(part.kept)}"]]
    rows += [["failed", f"{len(part.failed)}"], ["without file", f"{len(part.missing)}"], last]
    print_table(f"{part.spec.folder} in {out}", ["", "videos"], rows)
