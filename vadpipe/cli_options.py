"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import click

from vadpipe.cli_complete import GivenPath, RunFolder, decoder_names, one_of
from vadpipe.errors import DataError, UsageError
from vadpipe.pipeline.device import check_device_name
from vadpipe.pipeline.device import resolve_device as resolve_device


def _check_device(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        check_device_name(value)
    except UsageError as error:
        raise click.BadParameter(str(error).removeprefix("device: ")) from error
    return value


PATH = GivenPath(path_type=Path)
RUN = RunFolder(path_type=Path)
features_option = click.option(
    "--features", type=PATH, default=Path("features"), show_default=True, help="Feature store."
)
device_option = click.option(
    "--device", default="auto", show_default=True, callback=_check_device, help="auto, cpu, cuda or cuda:N."
)
shard_option = click.option(
    "--shard",
    metavar="I/N",
    help="Take part I (from 0) of N of the videos, by a digest of their ids; auto/N: I from Slurm or Kubernetes; none: "
    "all.  [default: what a Slurm array says]",
)
engine_option = click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray: on a Ray cluster, an encoder for each GPU (or node) and decoders beside it; needs the extra ray.",
)
ray_address_option = click.option(
    "--ray-address",
    metavar="HOST:PORT",
    help="Ray cluster to join, or auto.  [default: RAY_ADDRESS, else one is started here for the command]",
)
retry_option = click.option(
    "--retry-quarantined", is_flag=True, help="Try videos again that killed their process in each attempt."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress, only results and errors.")
labels_option = click.option(
    "--labels", type=PATH, help="labels.csv (video,label), manifest.jsonl, or a folder of label folders."
)
annotations_option = click.option("--annotations", type=PATH, help="Frames of the true incidents.")
decoder_option = click.option(
    "--decoder",
    default="pyav",
    show_default=True,
    shell_complete=one_of(decoder_names),
    help="pyav, decord or torchcodec.",
)
jobs_option = click.option(
    "--jobs", type=click.IntRange(1), default=2, show_default=True, help="Decoder processes at once."
)
limit_option = click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=VALUE",
    help="What one video may cost, e.g. max_corrupt_share=0.5: stall_s, wall_s, memory_bytes, max_pixels, "
    "max_duration_s, max_frames, queue_slots, max_output_bytes, max_corrupt_share (0 … 1); once for each.",
)
stream_weights_option = click.option(
    "--weights",
    multiple=True,
    help="Of the encoders: random[:SEED] (untrained, for trying things out), a published name, or STREAM=FILE; "
    "once for each stream.  [default: the published ones]",
)
weights_option = click.option("--weights", help="openai, a file, or random[:SEED] (untrained, for trying things out).")


def chosen_engine(settings: Mapping[str, Any]) -> dict[str, str | None]:
    """The device, and the address of the Ray cluster, of a command; with Ray the device is found by each worker."""
    from vadpipe.pipeline.on_ray.cluster import check_engine

    engine, device = settings["engine"], settings["device"]
    address = check_engine(engine, settings["ray_address"], device, settings.get("gpus"))
    return {"device": resolve_device(device) if engine == "local" else device, "ray_address": address}


_Command = TypeVar("_Command", bound=Callable[..., object])


def _together(*options: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """One decorator of several options, which the help lists in this order."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


reading_options = _together(
    click.option(
        "--accept", multiple=True, metavar="FIELD", help="Field of the feature specification that may differ."
    ),
    stream_weights_option,
    decoder_option,
    click.option(
        "--decode-device",
        type=click.Choice(["cpu", "cuda"]),
        help="Where pictures are decoded.  [default: as those of the head's features]",
    ),
    limit_option,
    device_option,
)
"""How a command that has a head makes features of videos."""

engine_options = _together(engine_option, ray_address_option, retry_option)


def frame_rate(text: str | None) -> Fraction | None:
    """Exact value of ``--fps``, None where it is not given; :class:`UsageError` unless it is a positive number."""
    from vadpipe.manifest import parse_fps

    try:
        rate = None if text is None else parse_fps(text)
    except DataError as error:
        raise UsageError(f"--fps: {str(error).removeprefix('fps: ')}") from error
    if rate is not None and rate <= 0:
        raise UsageError(f"--fps: got {text}, expected a positive number")
    return rate
