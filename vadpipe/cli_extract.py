"""``vadpipe extract``, and how it shows where it is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vadpipe.cli_complete import some_of, stream_names
from vadpipe.cli_options import (
    PATH,
    decoder_option,
    device_option,
    engine_options,
    jobs_option,
    json_option,
    limit_option,
    quiet_option,
    resolve_device,
    shard_option,
    stream_weights_option,
)
from vadpipe.cli_output import console, print_json, print_summary, progress, say
from vadpipe.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from vadpipe.pipeline.extract import Outcome, Step
    from vadpipe.pipeline.shard import Shard

_LINE_EVERY_S = 5.0


@click.command(short_help="Compute features of videos into the store.")
@click.argument("videos", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, default=Path("features"), show_default=True, help="Feature store to write to.")
@click.option(
    "--streams",
    "--stream",
    default="clip",
    show_default=True,
    shell_complete=some_of(stream_names),
    help="Kinds of features, one decode for all: clip, i3d-inception, i3d-r50, c3d, wav2clip, joined by commas.",
)
@click.option(
    "--crops",
    type=click.Choice(["center", "5", "10"]),
    default="center",
    show_default=True,
    help="Parts of each picture, a row each; 5 and 10 for clip and the i3d kinds.",
)
@stream_weights_option
@click.option("--dtype", default="float32", show_default=True, help="float32, or bfloat16 where the machine has it.")
@click.option(
    "--stride", type=click.IntRange(1), default=16, show_default=True, help="Frames per snippet; 16 for i3d and c3d."
)
@click.option("--batch-size", type=click.IntRange(1), help="Items per encoder batch.  [default: what suits each]")
@decoder_option
@click.option(
    "--decode-device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="cuda: by the GPU's video decoder, pictures stay there; needs --decoder torchcodec.",
)
@limit_option
@jobs_option
@device_option
@click.option("--gpus", help="all, or numbers such as 0,1: one encoder on each, the videos shared among them.")
@shard_option
@engine_options
@json_option
@quiet_option
def extract(videos: tuple[Path, ...], quiet: bool, as_json: bool, **settings: Any) -> None:
    """Compute features of VIDEOS (files or folders) into the store; a rerun does only what is missing.

    Each video is decoded once, in a process that can be killed, for all the streams that are asked for. One that
    cannot be decoded is named with its reason and costs itself only. Weights are downloaded once: vadpipe weights.

    \b
    Examples:
      vadpipe extract videos/
      vadpipe extract a.mp4 b.mkv --out features --weights random
      vadpipe extract videos/ --streams clip,wav2clip --jobs 4
      vadpipe extract videos/ --streams i3d-inception --crops 5 --dtype bfloat16 --gpus all
      vadpipe extract videos/ --shard 3/64
      vadpipe extract videos/ --engine ray --jobs 8
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.shard import choose_shard
    from vadpipe.pipeline.videos import find_videos

    refused: dict[str, str] = {}
    shard = choose_shard(settings.pop("shard"), videos, os.environ, say)
    found = find_videos(videos, refused)
    if shard is not None:
        everything, found, refused = len(found), shard.videos(found), shard.refused(refused)
        shard.say_taken(len(found), everything, say)
    request = _request(found, settings)
    from vadpipe.pipeline.extracting.run import extract_run

    for reason in refused.values():
        say(f"failed: {reason}")
    if untrained := [stream for stream, choice in request.weights.items() if choice.partition(":")[0] == "random"]:
        say(f"note: seeded random weights, not pretrained ones: {', '.join(untrained)}")
    if shard is not None and not found:
        say(f"note: none of the videos belongs to shard {shard}")
    with _shown(len(found), quiet, shard) as shown:
        summary = extract_run(request, shown.finished, shown.step, say)
    summary.failed |= refused
    if as_json:
        told = {name: getattr(summary, name) for name in summary.__slots__}
        print_json({**told, "shard": None if shard is None else str(shard)})
    else:
        print_summary(summary, request.out, shard)
    if summary.failed:
        sys.exit(3 if summary.done or summary.kept else 1)


def _request(found: dict[str, Path], settings: dict[str, Any]) -> Any:
    """The request; everything wrong with it that can be known without torch is said before torch is imported."""
    from vadpipe.pipeline.extracting.run import ExtractRequest, check_request

    streams = tuple(name for name in settings["streams"].replace(" ", "").split(",") if name)
    size = settings["batch_size"]
    if size is not None and size < 4 and "clip" in streams:
        raise UsageError(f"--batch-size: got {size}, expected at least 4 for clip")
    check_request(streams, settings["stride"], settings["decoder"], settings["decode_device"])
    if settings["gpus"] and settings["device"] != "auto":
        raise UsageError(f"--gpus {settings['gpus']} and --device {settings['device']}: give one of them")
    from vadpipe.extractors.limits import parse_limits
    from vadpipe.extractors.weights import parse_weights
    from vadpipe.pipeline.on_ray.cluster import check_engine

    engine, device = settings["engine"], settings["device"]
    address = check_engine(engine, settings["ray_address"], device, settings["gpus"])
    limits, weights = parse_limits(settings["limits"]), parse_weights(settings["weights"], streams)
    return ExtractRequest(
        found,
        settings["out"],
        streams,
        weights,
        settings["dtype"],
        settings["crops"],
        size,
        settings["stride"],
        settings["decoder"],
        settings["decode_device"],
        settings["jobs"],
        _devices(settings["gpus"], device) if engine == "local" else (device,),
        limits,
        engine,
        address,
        settings["retry_quarantined"],
    )


def _devices(gpus: str | None, device: str) -> tuple[str, ...]:
    if not gpus:
        return (resolve_device(device),)
    from vadpipe.pipeline.extracting.devices import gpu_devices

    return gpu_devices(gpus)


@contextmanager
def _shown(videos: int, quiet: bool, shard: Shard | None) -> Iterator[Shown]:
    with progress(quiet) as bars:
        shown = Shown(videos, bars, shard=shard)
        if not quiet and not console(stderr=True).is_terminal:
            shown.line = say
        yield shown


class Shown:
    """Where an extraction is: videos, frames per second, time left, failures; as a bar, or as a line now and then.

    line
        Where plain lines go; None: nowhere.
    """

    def __init__(
        self, videos: int, bars: Progress, now: Callable[[], float] = time.monotonic, shard: Shard | None = None
    ) -> None:
        self.line: Callable[[str], None] | None = None
        self._videos, self._bars, self._now = videos, bars, now
        self._whose = "" if shard is None else f" of shard {shard}"
        self._task = bars.add_task(f"videos{self._whose}", total=videos, note="")
        self._began = self._said = now()
        self._ended = self._kept = self._failed = 0
        self._computed = self._frames = 0.0  # videos, in parts, and frames that this run has encoded

    def step(self, step: Step) -> None:
        """Count what was encoded."""
        self._frames += step.frames
        self._computed += step.videos
        self._show()

    def finished(self, outcome: Outcome) -> None:
        """Count a video; say why where it failed."""
        self._ended += 1
        self._kept += outcome.kept
        if outcome.error is not None:
            self._failed += 1
            from vadpipe.pipeline.videos import said_of

            say(f"failed: {said_of(outcome.path, outcome.error)}")
        self._show()

    def _show(self) -> None:
        seconds = max(self._now() - self._began, 1e-9)
        failed = f", {self._failed} failed" if self._failed else ""
        note = f"{self._frames / seconds:.0f} frames/s{failed}"
        done = max(min(self._computed + self._kept + self._failed, self._videos), self._ended)
        self._bars.update(self._task, completed=done, note=note)
        if self.line is not None and self._now() - self._said >= _LINE_EVERY_S:
            self._said = self._now()
            computed = max(done - self._kept, 1e-9)
            minutes, left_s = divmod(round(seconds * (self._videos - done) / computed), 60)
            left = f"{minutes // 60}:{minutes % 60:02}:{left_s:02}"
            self.line(f"{self._ended} of {self._videos} videos{self._whose}, {note}, {left} left")
