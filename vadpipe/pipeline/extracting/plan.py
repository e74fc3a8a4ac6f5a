"""What an extraction is asked for: options, the streams with their specifications, and one decode for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vadpipe.errors import UsageError, VideoError
from vadpipe.extractors import Extractor, geometry, media
from vadpipe.spec import FeatureSpec


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """How to decode.

    frames_per_snippet, decoder
        Snippet length in frames; name of the decoder.
    jobs
        Videos decoded at once.
    limits
        Of each decoder.
    decode_device
        ``cpu``: in child processes; ``cuda`` or ``cuda:1``: by that GPU's video decoder, pictures stay on it.
    open_with
        What decodes on the processor: ``open_with(task, request, options)`` is a
        :class:`vadpipe.pipeline.extracting.assemble.Reader`; None: a child of this process.
    passed_over
        Videos that are not to be decoded, and what is said of each that would have to be.
    """

    frames_per_snippet: int = 16
    decoder: str = "pyav"
    jobs: int = 2
    limits: media.Limits = field(default_factory=media.Limits)
    decode_device: str = "cpu"
    open_with: Callable[[Task, media.Request, ExtractOptions], Any] | None = None
    passed_over: Mapping[Path, VideoError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A video and the places of the streams that are wanted of it; none: it has nothing to be done.

    Equal to itself only: one file may be asked for twice.
    """

    path: Path
    wanted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """A video that could not be used, and why."""

    path: Path
    error: VideoError


@dataclass(frozen=True, slots=True)
class Stream:
    """One encoder of a run, the specification of its rows, and the crops of each row (1: none apart)."""

    extractor: Extractor
    spec: FeatureSpec
    crops: int


@dataclass(frozen=True, slots=True)
class Feed:
    """What one decode has to give, and who is fed with it; numbers are places in the run's streams.

    by_view
        For each view of the request, the streams that take its pictures.
    by_window
        Seconds of a window of sound -> the streams that take such windows.
    """

    request: media.Request
    by_view: tuple[tuple[int, ...], ...]
    by_window: dict[float, tuple[int, ...]]


def feature_spec(extractor: Extractor, options: ExtractOptions) -> FeatureSpec:
    """Specification of the features that this extractor makes with these options."""
    version = media.decoder_version(options.decoder)
    device = options.decode_device.partition(":")[0]
    return extractor.spec(options.frames_per_snippet, options.decoder, version, device)


def plan_streams(extractors: Sequence[Extractor], options: ExtractOptions) -> tuple[Stream, ...]:
    """Check that the encoders can be fed together; :class:`UsageError` where they cannot, before anything starts."""
    if not extractors:
        raise UsageError("no stream to extract: name at least one")
    streams = []
    for extractor in extractors:
        needs, spec = extractor.needs, feature_spec(extractor, options)
        if needs.frames not in (1, options.frames_per_snippet):
            raise UsageError(
                f"stream {spec.stream}: got snippets of {options.frames_per_snippet} frames, expected {needs.frames}, "
                f"which its network takes: use --stride {needs.frames}"
            )
        streams.append(Stream(extractor, spec, geometry.crops(needs.geometry) if needs.geometry else 1))
    names = [stream.spec.folder for stream in streams]
    if len(set(names)) < len(names):
        raise UsageError(f"streams: got {', '.join(names)}, expected each one once")
    rates = sorted({extractor.needs.audio_rate for extractor in extractors} - {0})
    if len(rates) > 1:
        raise UsageError(f"streams: they need sound of {rates} Hz, and one decode gives one rate: extract them apart")
    return tuple(streams)


def plan_feed(streams: Sequence[Stream], wanted: Sequence[int], frames_per_snippet: int) -> Feed:
    """One decode for the streams at the places ``wanted``; equal views are made once."""
    by_view: dict[media.View, list[int]] = {}
    by_window: dict[float, list[int]] = {}
    rate = 0
    for place in sorted(wanted):
        needs = streams[place].extractor.needs
        if needs.geometry:
            by_view.setdefault(media.View(needs.geometry, needs.frames > 1), []).append(place)
        if needs.audio_rate:
            rate = needs.audio_rate
            by_window.setdefault(needs.window_s, []).append(place)
    request = media.Request(frames_per_snippet, 0, tuple(by_view), rate)
    return Feed(request, tuple(map(tuple, by_view.values())), {key: tuple(value) for key, value in by_window.items()})
