"""``vadpipe detect``: a video -> intervals and frame scores. :func:`detect_video` is the whole way of one clip."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vadpipe.errors import UsageError, VideoError
from vadpipe.extractors import EXTRACTORS, Extractor, create, media
from vadpipe.manifest import video_id
from vadpipe.models.checkpoint import TrainedHead
from vadpipe.pipeline.extract import ExtractOptions, Failed, extract_tracks, feature_spec
from vadpipe.pipeline.intervals import find_intervals
from vadpipe.pipeline.score import score_track
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.track_file import atomic_write
from vadpipe.tracks import AudioUse, Detection, FeatureTrack, VideoClip

SCHEMA = "vadpipe.intervals/1"
SCHEMA_FILE = Path(__file__).parent.parent / "schemas" / "intervals-1.json"


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """Where features may come from and go to.

    store
        Looked in first and written to; None: features are not kept.
    accept
        Fields of the feature specification that may differ from the head's; each difference becomes a warning.
    """

    store: FeatureStore | None = None
    weights: str | None = None
    device: str = "cpu"
    accept: frozenset[str] = frozenset()
    extract: ExtractOptions = field(default_factory=ExtractOptions)


def detect_video(
    path: Path,
    trained: TrainedHead,
    options: DetectOptions,
    extractor: Extractor | None = None,
    *,
    student: TrainedHead | None = None,
    audio_extractor: Extractor | None = None,
) -> Detection:
    """Find the incidents in one video.

    The extractors may be passed in to be shared between videos (see :func:`extractor_for`); they are only needed where
    the store does not hold the features. ``student`` scores a video without sound in place of an audio-visual head.
    """
    trained, sound, audio, notes = _choose_head(path, trained, student, options, audio_extractor)
    clip, track, warnings = _features(path, trained.spec, options, extractor)
    warnings += trained.spec.require(track.spec, f"the features of {clip.id!r}", options.accept) + notes
    scores = score_track(trained.head, track, trained.classes, trained.config.detect.window, sound)
    intervals = find_intervals(scores, trained.config.detect)
    for spec in (trained.spec, trained.audio_spec):
        if spec is not None and spec.untrained:
            warnings += (f"the encoder has untrained weights ({spec.weights}): scores mean nothing in practice",)
    if trained.caution:
        warnings += (trained.caution,)
    if track.corrupt_packets:
        warnings += (f"{track.corrupt_packets} damaged packets were skipped",)
    return Detection(clip, intervals, scores, provenance(trained), warnings, audio, asdict(trained.config.detect))


def _choose_head(
    path: Path,
    trained: TrainedHead,
    student: TrainedHead | None,
    options: DetectOptions,
    extractor: Extractor | None,
) -> tuple[TrainedHead, FeatureTrack | None, AudioUse, tuple[str, ...]]:
    """The head that scores this video, its features of the sound, and what to say about it.

    Sound is looked for before anything is computed. A video with an audio stream whose features cannot be had is a
    :class:`VideoError`, never a reason to go on without them.
    """
    spec = trained.audio_spec
    if spec is None:
        return trained, None, AudioUse(), ()
    clip = media.probe(path, decoder=options.extract.decoder, limits=options.extract.limits)
    track = _stored(clip, spec, options)
    notes: tuple[str, ...] = ()
    if track is None and clip.has_audio:
        if not is_computable(spec):
            instead = "; or score the picture alone, with the student's run folder as --run" if student else ""
            raise VideoError(
                f"the head needs {spec.folder} features of the sound, which are not stored and cannot be computed "
                f"here; import them with vadpipe import features and pass --features{instead}"
            )
        _, track, notes = _extracted(path, spec, options, extractor)
    if track is not None:
        notes += spec.require(track.spec, f"the audio features of {clip.id!r}", options.accept)
        return trained, track, AudioUse(used=True, reason=f"scored by {trained.config.head} with {spec.folder}"), notes
    if student is not None:
        said = f"the video has no audio stream: scored by the student, {student.config.head}, which needs none"
        return student, None, AudioUse(reason=said), ()
    if getattr(trained.config.model, "modality", "") == "audio":
        raise VideoError("the video has no audio stream, and this head looks at nothing else")
    said = f"the video has no audio stream and the run has no student: scored by {trained.config.head} without sound"
    return trained, None, AudioUse(reason=said), (f"{said}; such scores are less reliable, pass --student",)


def is_computable(spec: FeatureSpec) -> bool:
    """True where this version has an encoder for such features; imported ones can only be read from a store."""
    return spec.stream in EXTRACTORS and spec.model != "imported"


def _features(
    path: Path, spec: FeatureSpec, options: DetectOptions, extractor: Extractor | None
) -> tuple[VideoClip, FeatureTrack, tuple[str, ...]]:
    """Stored features of this very file, or fresh ones, which are then stored where there is a store."""
    if options.store is not None and options.store.path(spec, video_id(path)).is_file():
        clip = media.probe(path, decoder=options.extract.decoder, limits=options.extract.limits)
        if (track := _stored(clip, spec, options)) is not None:
            return clip, track, ()
    return _extracted(path, spec, options, extractor)


def _stored(clip: VideoClip, spec: FeatureSpec, options: DetectOptions) -> FeatureTrack | None:
    track = options.store.stored(spec, clip.id) if options.store is not None else None
    if track is None or spec.model == "imported":  # imported: the source is no video
        return track
    return track if track.source_sha256 in ("", clip.sha256) else None


def _extracted(
    path: Path, spec: FeatureSpec, options: DetectOptions, extractor: Extractor | None
) -> tuple[VideoClip, FeatureTrack, tuple[str, ...]]:
    with closing(extract_tracks([path], extractor or extractor_for(spec, options), options.extract)) as results:
        result = next(results)
    if isinstance(result, Failed):
        raise result.error
    if options.store is not None:
        options.store.write(result.track, mtime_ns=path.stat().st_mtime_ns)
    return result.clip, result.track, result.warnings


def extractor_for(spec: FeatureSpec, options: DetectOptions) -> Extractor:
    """The encoder that makes the features a head was trained on; checks its specification before any decoding."""
    if spec.model == "imported":
        raise UsageError(
            f"the head was trained on imported features ({spec.stream}), which vadpipe cannot compute from a video; "
            "import this video's features and pass --features"
        )
    if options.weights is None and not spec.named_weights:
        raise UsageError(f"the head's features were made with weights {spec.weights}; pass --weights with that file")
    extractor = create(spec.stream, weights=options.weights or spec.weights, device=options.device, dtype=spec.dtype)
    spec.require(feature_spec(extractor, options.extract), "this extraction", options.accept)
    return extractor


def provenance(trained: TrainedHead) -> dict[str, Any]:
    """What a result says about the model that made it."""
    told = {
        "name": trained.config.head,
        "sha256": trained.sha256,
        "spec": {"digest": trained.spec.digest, **asdict(trained.spec)},
        "categories": list(trained.classes),
        "selection": trained.selection,
    }
    if trained.audio_spec is not None:
        told["audio_spec"] = {"digest": trained.audio_spec.digest, **asdict(trained.audio_spec)}
    return told


def report(detection: Detection, scores_file: str) -> dict[str, Any]:
    """The content of ``intervals.json`` (``vadpipe.intervals/1``)."""
    clip = detection.clip
    return {
        "schema": SCHEMA,
        "video": {
            "id": clip.id,
            "path": clip.path,
            "fps": float(clip.fps),
            "vfr": clip.vfr,
            "frames": detection.scores.grid.num_frames,
            "duration_s": clip.duration_s,
            "sha256": clip.sha256,
        },
        "model": detection.provenance,
        "params": detection.params,
        "audio": asdict(detection.audio),
        "intervals": [
            {
                "start_s": round(item.start_s, 4),
                "end_s": round(item.end_s, 4),
                "start_frame": item.start_frame,
                "end_frame": item.end_frame,
                "label": item.category,
                "score": round(item.score, 6),
            }
            for item in detection.intervals
        ],
        "frame_scores": {"file": scores_file},
        "warnings": list(detection.warnings),
    }


def write_report(detection: Detection, out: Path, draw: Callable[[Path], None] | None = None) -> dict[str, Any]:
    """Write ``out`` (JSON) and ``<stem>.scores.npz`` beside it; returns the JSON's content.

    The .npz holds ``anomaly`` (N,) per frame, ``categories`` (N, C) per frame and ``labels`` (C,), all without pickles.
    """
    scores = detection.scores
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        anomaly=scores.per_frame(),
        categories=scores.grid.per_frame(scores.categories),
        labels=np.array(scores.labels),
    )
    scores_path = out.with_name(f"{out.stem}.scores.npz")
    atomic_write(scores_path, buffer.getvalue())
    content = report(detection, scores_path.name)
    atomic_write(out, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
    if draw is not None:
        draw(out.with_suffix(".png"))
    return content
