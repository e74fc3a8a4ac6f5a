"""``from vadpipe import detect, extract, train, evaluate, load``: the commands as functions, with the same defaults.

Paths may be strings. Nothing is printed: results are values, progress and remarks go to callbacks, and every expected
failure is a :class:`vadpipe.errors.VadpipeError`. Importing this module imports no torch; calling its functions does.
docs/python.md shows them at work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from vadpipe.api_given import (
    AnyPath,
    Bars,
    Counted,
    LoadOptions,
    OnNote,
    OnProgress,
    Progress,
    Settings,
    Weights,
    checked_limits,
    choices,
    merged_settings,
    nobody,
    path_or_none,
    paths,
)
from vadpipe.config import RunConfig
from vadpipe.errors import UsageError
from vadpipe.pipeline.device import resolve_device

if TYPE_CHECKING:
    from vadpipe.api_model import Model
    from vadpipe.detection import Detection
    from vadpipe.pipeline.evaluating.result import Evaluation
    from vadpipe.pipeline.extract import ExtractSummary
    from vadpipe.pipeline.train import FitResult

__all__ = ["LoadOptions", "Progress", "Settings", "detect", "evaluate", "extract", "load", "train"]


def extract(
    videos: AnyPath | Iterable[AnyPath],
    out: AnyPath = "features",
    *,
    streams: str | Sequence[str] = "clip",
    weights: Weights = None,
    crops: str = "center",
    dtype: str = "float32",
    stride: int = 16,
    batch_size: int | None = None,
    decoder: str = "pyav",
    decode_device: str = "cpu",
    limits: Mapping[str, float] | None = None,
    jobs: int = 2,
    device: str = "auto",
    gpus: str | None = None,
    engine: str = "local",
    ray_address: str | None = None,
    retry_quarantined: bool = False,
    on_progress: OnProgress | None = None,
) -> ExtractSummary:
    """Compute features of ``videos`` (files or folders) into the store ``out``; a rerun does only what is missing.

    streams, stride, limits
        Kinds of features; frames per snippet; what one video may cost, by the names of ``Limits``.
    device, gpus
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; or ``all`` or ``0,1`` for an encoder on each of several GPUs.
    engine, ray_address, retry_quarantined
        ``ray``: on a Ray cluster, one of its own or the one at the address (docs/clusters.md); try videos again that
        killed their process.
    on_progress
        Told of videos, in parts.

    A video that cannot be used is in ``failed`` of the result, with its reason, and costs itself only.
    Errors: :class:`vadpipe.errors.UsageError`; :class:`vadpipe.errors.WeightsError` where weights cannot be had.
    """
    from vadpipe.extractors.weights import parse_weights
    from vadpipe.pipeline.extracting.devices import gpu_devices
    from vadpipe.pipeline.extracting.run import ExtractRequest, check_request, extract_run
    from vadpipe.pipeline.on_ray.cluster import check_engine
    from vadpipe.pipeline.videos import find_videos

    names = (streams,) if isinstance(streams, str) else tuple(streams)
    names = tuple(part.strip() for name in names for part in name.split(","))
    refused: dict[str, str] = {}
    found = find_videos(paths(videos), refused)
    check_request(names, stride, decoder, decode_device)
    if gpus is not None and device != "auto":
        raise UsageError(f"gpus {gpus} and device {device}: give one of them")
    address = check_engine(engine, ray_address, device, gpus)
    devices: tuple[str, ...] = (device,)
    if engine == "local":
        devices = (resolve_device(device),) if gpus is None else gpu_devices(gpus)
    request = ExtractRequest(
        found,
        Path(out),
        names,
        parse_weights(choices(weights), names),
        dtype,
        crops,
        batch_size,
        stride,
        decoder,
        decode_device,
        jobs,
        devices,
        checked_limits(limits),
        engine,
        address,
        retry_quarantined,
    )
    counted = Counted("videos", len(found), on_progress)
    summary = extract_run(request, on_step=lambda step: counted.add(step.videos))
    summary.failed |= refused
    return summary


def train(
    config: AnyPath | RunConfig | None = None,
    *,
    features: AnyPath = "features",
    labels: AnyPath | None = None,
    annotations: AnyPath | None = None,
    out: AnyPath | None = None,
    seed: int = 0,
    restart: bool = False,
    weights: str | None = None,
    teacher: AnyPath | None = None,
    device: str = "auto",
    on_progress: OnProgress | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    on_note: OnNote | None = None,
    **overrides: Unpack[Settings],
) -> FitResult:
    """Train a head on stored features and video-level labels; the same call again resumes, or returns what is there.

    config, overrides
        TOML file or :class:`vadpipe.config.RunConfig`; single settings of it, ``head="vadclip", train={"epochs": 5}``.
    labels, annotations, out
        None: looked for in the current folder; ``runs/<head>-<stream>-seed<seed>``.
    on_progress, on_epoch, on_note
        Told of epochs, in parts; an epoch's figures; remarks such as videos that are left out.

    The result's ``trained.folder`` is the run folder. Errors: :class:`vadpipe.errors.UsageError` and
    :class:`vadpipe.errors.DataError` for what is wrong with settings, labels or features.
    """
    from vadpipe.pipeline.training.data import TrainRequest, find_training_data
    from vadpipe.pipeline.training.run import train_run

    settings = merged_settings(config, overrides)
    request = TrainRequest(
        settings,
        Path(features),
        path_or_none(labels),
        path_or_none(annotations),
        path_or_none(out),
        seed,
        restart,
        weights,
        path_or_none(teacher),
    )
    data = find_training_data(request, on_note)
    counted = Counted("epochs", settings.train.epochs, on_progress)
    return train_run(data, resolve_device(device), on_epoch, on_step=counted.set)


def evaluate(
    run: AnyPath | None = None,
    *,
    features: AnyPath = "features",
    labels: AnyPath | None = None,
    annotations: AnyPath | None = None,
    order: AnyPath | None = None,
    split: str = "test",
    allow_seen: bool = False,
    threshold: float = 0.5,
    bootstrap: int = 1000,
    seed: int = 0,
    device: str = "auto",
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
) -> Evaluation:
    """Compare the head in ``run`` with known incidents: frame AP and AUC, mAP@IoU, false alarms, chance beside each.

    run, labels, annotations
        None: the only run under ``runs/``; looked for in the current folder.
    bootstrap, seed
        Draws of the 95 % intervals, 0 for none; seed of the draws.
    on_progress, on_note
        Told of videos; remarks that a reader of the figures has to know.

    :class:`vadpipe.errors.UsageError` where videos were used to train or select this head, unless ``allow_seen``.
    """
    from vadpipe.pipeline.evaluate import EvaluateOptions
    from vadpipe.pipeline.evaluating.run import EvaluateRequest, evaluate_runs
    from vadpipe.pipeline.project import find_run

    request = EvaluateRequest(
        (find_run(path_or_none(run), Path(), "run"),),
        Path(features),
        path_or_none(labels),
        path_or_none(annotations),
        path_or_none(order),
        split,
        allow_seen,
        options=EvaluateOptions(threshold, bootstrap, seed),
    )
    (report,) = evaluate_runs(request, resolve_device(device), Bars(on_progress), on_note or nobody)
    return report.evaluation


def load(run: AnyPath | None = None, **options: Unpack[LoadOptions]) -> Model:
    """A trained head, ready to look at videos: ``load("runs/x").detect("clip.mp4")``.

    run, student
        Run folder, None for the only one under ``runs/``; that of the head for videos without sound, None for
        ``student/`` in the run folder, where there is one.
    features
        Store to look in first and to keep features in; None keeps none.
    weights
        Of the encoders, where they are not those that the head's features were made with by name.
    categories, calibration
        TOML file of own categories; a file of ``vadpipe calibrate``, ``"none"``, or None for the run's own.
    settings
        Of :class:`vadpipe.config.DetectConfig`, e.g. ``{"r_ano": 0.3, "min_length_s": 1}``.
    accept
        Fields of the feature specification that may differ from the head's; each difference becomes a warning.
    decoder, decode_device, limits, device
        As for :func:`extract`; ``decode_device`` None is that of the head's features.

    The encoder is built at the first video whose features are not stored, and kept. Errors:
    :class:`vadpipe.errors.CheckpointError` for a damaged head, :class:`vadpipe.errors.UsageError`.
    """
    from vadpipe.api_model import Model

    return Model.load(run, options)


def detect(
    video: AnyPath,
    run: AnyPath | None = None,
    *,
    on_progress: OnProgress | None = None,
    **options: Unpack[LoadOptions],
) -> Detection:
    """Find the incidents in one video: ``load(run, **options).detect(video)``; for several, load once.

    :class:`vadpipe.errors.VideoError` where the video cannot be used.
    """
    return load(run, **options).detect(video, on_progress=on_progress)
