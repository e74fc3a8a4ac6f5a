"""What ``vadpipe extract`` does around :func:`vadpipe.pipeline.extract.extract`: streams, weights, devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vadpipe.errors import StoreError, UsageError
from vadpipe.extractors import EXTRACTORS, SNIPPET_FRAMES, Extractor, create, media
from vadpipe.extractors.cuda_decode import check_device, check_encoder
from vadpipe.extractors.limits import Limits
from vadpipe.extractors.weights import default_weights, resolve
from vadpipe.pipeline.extract import ExtractOptions, ExtractSummary, Outcome, Step
from vadpipe.pipeline.extracting.devices import extract_on
from vadpipe.pipeline.quarantine import Quarantine
from vadpipe.store import FeatureStore
from vadpipe.whole_file import disk_reason, make_folder


@dataclass(frozen=True, slots=True)
class ExtractRequest:
    """Id -> file of the videos, and the command's options.

    streams, weights
        Names of :data:`vadpipe.extractors.EXTRACTORS`; stream -> choice of weights, for each of them.
    batch_size
        Items each network sees at once; None: what suits it.
    devices
        Of the encoders, e.g. ``("cuda:0", "cuda:1")``; a process each where there are several.
    decode_device
        ``cpu``, or ``cuda``: each device decodes for itself.
    limits
        Of each decoder.
    engine, ray_address
        ``local``, or ``ray``: on the cluster at the address, by default one of its own on this machine; ``devices`` is
        then one of ``auto``, ``cpu`` and ``cuda``, and ``jobs`` holds for each encoder.
    retry_quarantined
        Decode videos again that are in the store's :class:`vadpipe.pipeline.quarantine.Quarantine`.
    """

    videos: Mapping[str, Path]
    out: Path
    streams: tuple[str, ...] = ("clip",)
    weights: Mapping[str, str] = field(default_factory=dict)
    dtype: str = "float32"
    crops: str = "center"
    batch_size: int | None = None
    frames_per_snippet: int = 16
    decoder: str = "pyav"
    decode_device: str = "cpu"
    jobs: int = 2
    devices: tuple[str, ...] = ("cpu",)
    limits: Limits = field(default_factory=Limits)
    engine: str = "local"
    ray_address: str | None = None
    retry_quarantined: bool = False


def check_request(streams: tuple[str, ...], frames_per_snippet: int, decoder: str, decode_device: str) -> None:
    """Raise :class:`UsageError` for what is wrong whatever the weights and devices are; imports no torch."""
    if unknown := [name for name in streams if name not in EXTRACTORS]:
        raise UsageError(f"--streams: got {', '.join(unknown)}, expected some of {', '.join(EXTRACTORS)}")
    if not streams or len(set(streams)) < len(streams):
        raise UsageError(f"--streams: got {', '.join(streams) or 'none'}, expected each stream once")
    for name in streams:
        if SNIPPET_FRAMES.get(name, frames_per_snippet) != frames_per_snippet:
            raise UsageError(
                f"--stride {frames_per_snippet}: {name} takes all frames of a snippet and was trained on "
                f"{SNIPPET_FRAMES[name]}; use --stride {SNIPPET_FRAMES[name]}, or extract it apart from the others"
            )
    check_device(decoder, decode_device)
    media.decoder_version(decoder)


def build_extractors(
    device: str,
    streams: tuple[str, ...],
    weights: Mapping[str, str],
    dtype: str,
    crops: str,
    batch_size: int | None,
) -> list[Extractor]:
    """The encoders of ``streams`` on ``device``; arguments and errors as of :func:`vadpipe.extractors.create`."""
    return [
        create(name, weights=weights.get(name), device=device, dtype=dtype, crops=crops, batch_size=batch_size)
        for name in streams
    ]


def extract_run(
    request: ExtractRequest,
    notify: Callable[[Outcome], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> ExtractSummary:
    """Extract what is missing; ``say`` hears what else a person has to know.

    Errors as of :func:`vadpipe.pipeline.extracting.devices.extract_on`, and with Ray those of
    :class:`vadpipe.pipeline.on_ray.pool.Pool` and :func:`vadpipe.pipeline.on_ray.cluster.cluster`.

    Videos that the store's quarantine names fail where they would have to be decoded, whatever the engine; those whose
    features are all stored need none.
    """
    check_request(request.streams, request.frames_per_snippet, request.decoder, request.decode_device)
    for device in request.devices:
        check_encoder(request.decode_device, device)
    quarantine = Quarantine(request.out)

    def tell(outcome: Outcome) -> None:
        if outcome.error is None and not outcome.kept:
            quarantine.release(outcome.path)
        if notify is not None:
            notify(outcome)

    summary = _extract(request, quarantine, tell, on_step, say)
    _make_store(request.out)
    return summary


def _make_store(out: Path) -> None:
    """The folder is there even where no video comes into it: what packs the store of an empty shard finds one."""
    try:
        make_folder(out)
    except OSError as error:
        raise StoreError(f"cannot make {out}: {disk_reason(error)}") from error


def _extract(
    request: ExtractRequest,
    quarantine: Quarantine,
    notify: Callable[[Outcome], None],
    on_step: Callable[[Step], None] | None,
    say: Callable[[str], None] | None,
) -> ExtractSummary:
    build = partial(
        build_extractors,
        streams=request.streams,
        weights=dict(request.weights),
        dtype=request.dtype,
        crops=request.crops,
        batch_size=request.batch_size,
    )
    options = ExtractOptions(
        request.frames_per_snippet,
        request.decoder,
        request.jobs,
        request.limits,
        request.decode_device,
        passed_over={} if request.retry_quarantined else quarantine.passed_over(request.videos.values()),
    )
    own_cluster = request.engine == "ray" and request.ray_address is None
    if len(request.devices) > 1 or own_cluster:  # here, so that what is missing is downloaded once, not by each process
        for stream in request.streams:
            resolve(request.weights.get(stream) or default_weights(stream))
    if request.engine == "ray":
        from vadpipe.pipeline.on_ray.extract import extract_on_ray

        where = request.ray_address, request.devices[0]
        return extract_on_ray(*where, build, request.videos, request.out, options, quarantine, notify, on_step, say)
    return extract_on(request.devices, build, request.videos, FeatureStore(request.out), options, notify, on_step)
