"""``vadpipe features``: compare, describe and export features."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vadpipe.cli_options import PATH, json_option, labels_option, quiet_option
from vadpipe.cli_output import print_json, print_table, progress, say
from vadpipe.errors import UsageError

if TYPE_CHECKING:
    from vadpipe.pipeline.features.compare_features import Comparison
    from vadpipe.pipeline.features.compare_rows import RowComparison
    from vadpipe.pipeline.features.info import StreamInfo

_NAMED = 20  # lines of one kind that are spelt out; --json has all


@click.group(name="features")
def features_group() -> None:
    """Compare, describe and export features.

    \b
    Examples:
      vadpipe features info features
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines


@features_group.command(name="compare", short_help="Say whether two sources hold the same.")
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option("--stream", "streams", multiple=True, help="Stream in the stores; given twice: A's, then B's.")
@click.option("--spec-hash", "hashes", multiple=True, help="Beginning of a specification's digest; twice: A's, B's.")
@click.option("--picture", type=PATH, help="Draw the cosines, and the cosine against the lag, into a .png, .svg, .pdf.")
@json_option
@quiet_option
def compare_command(
    a: Path,
    b: Path,
    streams: tuple[str, ...],
    hashes: tuple[str, ...],
    picture: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say whether A and B hold the same features, and if not, how they differ.

    Each is a feature store, one of its folders, a folder of .npy, or one file. Rows of the same video are compared:
    cosine, norm, largest difference, and whether one side is some rows late. Exit code 3 where files cannot be used.

    \b
    Examples:
      vadpipe features compare features/clip-1a2b3c4d features/clip-5e6f7a8b
      vadpipe features compare features released/ --stream clip --picture compared.png
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.features.compare_features import compare_features
    from vadpipe.pipeline.features.sources import open_source

    (stream_a, stream_b), (hash_a, hash_b) = _two(streams, "--stream"), _two(hashes, "--spec-hash")
    one, other = open_source(a, stream_a, hash_a), open_source(b, stream_b, hash_b)
    with progress(quiet) as bars:
        task = bars.add_task("videos", total=None, note="")
        found = compare_features(one, other, lambda _, total: bars.update(task, total=total, advance=1))
    for name, reason in found.failed.items():
        say(f"failed: {name}: {reason}")
    if picture is not None:
        from vadpipe.pipeline.features.compare_picture import draw_comparison

        draw_comparison(picture, found)
        say(f"wrote {picture}")
    print_json(found.to_mapping()) if as_json else _print_comparison(found)
    if found.failed:
        sys.exit(3 if found.videos else 1)


def _two(values: tuple[str, ...], option: str) -> tuple[str | None, str | None]:
    if len(values) > 2:
        raise UsageError(f"{option}: given {len(values)} times, expected once for both, or twice for A and B")
    return (values[0], values[-1]) if values else (None, None)


def _print_comparison(found: Comparison) -> None:
    for side, names in (("A", found.only_a), ("B", found.only_b)):
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            say(f"only in {side}: {', '.join(names[:_NAMED])}{more}")
    for name, (mine, theirs) in found.spec_differences.items():
        say(f"specification: {name}: {mine!r} in A, {theirs!r} in B")
    if found.other_grids:
        few = ", ".join(found.other_grids[:3])
        say(f"time: the rows of {len(found.other_grids)} videos lie at other times in A and B, e.g. {few}")
    if found.other_states:
        say(f"sound: {found.other_states} rows hold another state of sound in A than in B")
    columns = ["video", "A", "B", "mean", "median", "min", "best lag", "norm B/A", "largest diff.", "verdict"]
    rows = [_cells(name, item) for name, item in list(found.videos.items())[:_NAMED]]
    print_table(f"{found.a} (A) and {found.b} (B), cosine of each row", columns, rows)
    if len(found.videos) > _NAMED:
        say(f"{len(found.videos) - _NAMED} more videos are not listed; --json has all")
    figures = found.summary()
    rows = [[name.replace("_", " "), _number(value)] for name, value in figures.items() if name != "verdict"]
    print_table(found.verdict, ["over all videos", ""], rows)


def _cells(name: str, item: RowComparison) -> list[str]:
    sides = [f"{dtype} {shape}" for dtype, shape in ((item.dtype_a, item.shape_a), (item.dtype_b, item.shape_b))]
    cosines = [_number(value) for value in (item.cosine_mean, item.cosine_median, item.cosine_min)]
    lag = f"{item.lag:+d}: {_number(item.lag_cosine)}" if item.lag else "0"
    return [name, *sides, *cosines, lag, _number(item.norm_ratio), _number(item.max_abs_difference), item.verdict]


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.2e}"
    return "–" if value is None else str(value)


@features_group.command(name="info", short_help="Say what a feature store holds.")
@click.argument("store", type=PATH, default=Path("features"))
@click.option("--stream", help="This stream alone.")
@json_option
@quiet_option
def info_command(store: Path, stream: str | None, as_json: bool, quiet: bool) -> None:
    """Say what the feature STORE holds: specifications, videos, rows, hours, and what its sound was.

    Reads attributes; values are verified by whoever reads them. Exit code 3 where files are damaged.

    \b
    Examples:
      vadpipe features info
      vadpipe features info features --stream clip --json
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.features.info import features_info

    with progress(quiet) as bars:
        task = bars.add_task("files", total=None, note="")
        streams = features_info(store, stream, lambda done, total: bars.update(task, completed=done, total=total))
    for info in streams:
        for name, reason in info.damaged.items():
            say(f"damaged: {name}: {reason}")
    if as_json:
        print_json([info.to_mapping() for info in streams])
    else:
        for info in streams:
            print_table(f"{info.folder}", ["", ""], _info_rows(info))
    if any(info.damaged for info in streams):
        sys.exit(3)


def _info_rows(info: StreamInfo) -> list[list[str]]:
    spec = info.spec
    if spec is None:
        return [["videos", "none can be read"], ["damaged files", f"{len(info.damaged)}"]]
    trained = "UNTRAINED: seeded random weights" if spec.untrained else spec.weights
    rows = [["stream", spec.stream], ["model", spec.model], ["weights", trained]]
    rows += [["sha256 of the weights", spec.weights_sha256 or "unknown"]]
    rows += [["videos", f"{info.videos}"], ["rows", f"{info.rows}"], ["columns", f"{spec.dim}"]]
    rows += [["hours", f"{info.seconds / 3600:.2f}"], ["size", f"{info.file_bytes / 1e6:.1f} MB"]]
    rows += [["crops", ", ".join(f"{crops} in {videos} videos" for crops, videos in sorted(info.crops.items()))]]
    rows += [["stored as", ", ".join(info.dtypes)], ["computed in", spec.dtype]]
    rows += [["frames per row", f"{spec.frames_per_snippet}, at frame {spec.offset}"]]
    rows += [["geometry", f"{spec.geometry} {spec.interpolation}".strip() or "–"], ["window", spec.audio_window or "–"]]
    rows += [["decoder", f"{spec.decoder} {spec.decoder_version} on {spec.decode_device}" if spec.decoder else "–"]]
    rows += [[f"sound {state}", f"{count} rows"] for state, count in info.sound_states.most_common()]
    rows += [["damaged packets", f"{info.corrupt_packets}"], ["damaged files", f"{len(info.damaged)}"]]
    return rows


@features_group.command(name="export", short_help="Write features as .npy files.")
@click.argument("store", type=PATH)
@click.option("--out", type=PATH, required=True, help="A new folder, or one that an earlier export left.")
@click.option("--stream", help="Which stream of the store.")
@click.option("--spec-hash", help="Beginning of its specification's digest.")
@click.option("--dtype", default="stored", show_default=True, help="stored, float16 or float32.")
@labels_option
@json_option
@quiet_option
def export_command(
    store: Path,
    out: Path,
    stream: str | None,
    spec_hash: str | None,
    dtype: str,
    labels: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the features of STORE as <id>.npy, or <id>__0.npy … for crops, with a manifest.jsonl.

    Labels come from --labels, else from the store's own manifest.jsonl. Exit code 3 where videos cannot be exported.

    \b
    Examples:
      vadpipe features export features --stream clip --out exported
      vadpipe import features exported --stream clip-other --labels exported/manifest.jsonl --crops all
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.features.export_features import export_features, labels_of
    from vadpipe.pipeline.features.sources import open_source

    source = open_source(store, stream, spec_hash)
    records = labels_of(source, labels)
    with progress(quiet) as bars:
        task = bars.add_task("videos", total=None, note="")
        done = export_features(
            source, out, records, dtype=dtype, notify=lambda _, total: bars.update(task, total=total, advance=1)
        )
    for note in done.notes:
        say(f"note: {note}")
    for name, reason in done.failed.items():
        say(f"failed: {name}: {reason}")
    if as_json:
        told = {"spec": done.spec.folder, "out": str(out), "files": done.done, "failed": done.failed}
        print_json({**told, "unlabelled": done.unlabelled, "notes": done.notes})
    else:
        rows = [["videos", f"{len(done.done)}"], ["files", f"{sum(done.done.values())}"]]
        print_table(f"{done.spec.folder} in {out}", ["", ""], [*rows, ["failed", f"{len(done.failed)}"]])
    if done.failed:
        sys.exit(3 if done.done else 1)
