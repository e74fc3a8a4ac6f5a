"""``vadpipe detect``: a video -> intervals and frame scores. :func:`detect_video` is the whole way of one clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from vadpipe.calibration import Calibration
from vadpipe.detection import AudioUse, Detection
from vadpipe.errors import UsageError, VideoError
from vadpipe.extractors import EXTRACTORS, Extractor, create, geometry, media
from vadpipe.extractors.cuda_decode import check_device, check_encoder
from vadpipe.extractors.video_file import vanishing
from vadpipe.extractors.weights import is_named
from vadpipe.manifest import video_id
from vadpipe.models.checkpoint import TrainedHead
from vadpipe.pipeline.detecting.report import SCHEMA_FILE, provenance, report, write_report
from vadpipe.pipeline.extract import Extracted, ExtractOptions, Failed, Step, extract_tracks, feature_spec
from vadpipe.pipeline.intervals import find_intervals
from vadpipe.pipeline.score import score_track
from vadpipe.sound import heard_rows, without_sound
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, VideoClip

__all__ = [
    "SCHEMA_FILE",
    "DetectOptions",
    "detect_video",
    "extractor_for",
    "is_computable",
    "provenance",
    "report",
    "write_report",
]


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """Where features may come from and go to.

    store
        Looked in first and written to; None: features are not kept.
    weights
        Stream -> choice, where it is not the one that the head's features were made with by name.
    accept
        Fields of the feature specification that may differ from the head's; each difference becomes a warning.
    calibrations
        Digest of a head's weights -> its calibration.
    encoders
        Digest of a specification -> its encoder, for those that were not passed in: built at the first video that
        needs it, then kept for the others.
    """

    store: FeatureStore | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    accept: frozenset[str] = frozenset()
    extract: ExtractOptions = field(default_factory=ExtractOptions)
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    encoders: dict[str, Extractor] = field(default_factory=dict, repr=False)


def detect_video(
    path: Path,
    trained: TrainedHead,
    options: DetectOptions,
    extractor: Extractor | None = None,
    *,
    student: TrainedHead | None = None,
    audio_extractor: Extractor | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Detection:
    """Find the incidents in one video.

    The extractors may be passed in to be shared between videos (see :func:`extractor_for`); they are only needed where
    the store does not hold the features. ``student``, of the same picture features, scores a video without sound in
    place of an audio-visual head. ``on_step`` is told what was encoded, nothing where all features are stored.
    """
    specs = _wanted_specs(path, trained, student, options)
    clip, tracks = _features(path, specs, options, (extractor, audio_extractor), on_step)
    warnings = tuple(dict.fromkeys(text for track in tracks for text in track.warnings))  # stored ones have them too
    for wanted, given, kind in zip(specs, tracks, ("features", "audio features")[: len(specs)], strict=True):
        warnings += wanted.require(given.spec, f"the {kind} of {clip.id!r}", options.accept)
    track, sound = tracks[0], tracks[1] if len(tracks) == 2 else None
    trained, audio, notes = _choose_head(clip, trained, student, sound)
    warnings += notes
    if not audio.used:
        sound = None
    settings, calibration = trained.config.detect, options.calibrations.get(trained.sha256)
    if lacks_sound(trained, audio):
        calibration = None
    scores = score_track(trained.head, track, trained.classes, settings.window, sound, settings.overlap)
    scores = replace(scores, zero_shot=trained.zero_shot)
    intervals = find_intervals(scores, settings, calibration)
    return Detection(
        clip,
        intervals,
        scores,
        provenance(trained),
        warnings + _cautions(trained, track) + _calibration_cautions(trained, options, audio),
        audio,
        asdict(settings),
        trained.zero_shot,
        calibration,
    )


def _cautions(trained: TrainedHead, track: FeatureTrack) -> tuple[str, ...]:
    """What a reader of the scores has to know."""
    said = tuple(
        f"the encoder has untrained weights ({spec.weights}): scores mean nothing in practice"
        for spec in (trained.spec, trained.audio_spec)
        if spec is not None and spec.untrained
    )
    if trained.caution:
        said += (trained.caution,)
    said += trained.notes
    if track.corrupt_packets:
        said += (f"{track.corrupt_packets} damaged packets were skipped",)
    return said


def lacks_sound(trained: TrainedHead, audio: AudioUse) -> bool:
    """True where an audio-visual head had to score a picture alone; its calibration, made with sound, says nothing."""
    return trained.audio_spec is not None and not audio.used


def _calibration_cautions(trained: TrainedHead, options: DetectOptions, audio: AudioUse) -> tuple[str, ...]:
    """Where the promised rate of false alarms does not hold: for another head, without sound, for other settings."""
    calibration = options.calibrations.get(trained.sha256)
    if calibration is None:
        known = options.calibrations
        return (f"{trained.config.head}, which scored this video, has no calibration",) if known else ()
    if lacks_sound(trained, audio):
        return ("the calibration is of videos with sound and was not applied: every interval is reported",)
    now = asdict(trained.config.detect)
    others = [
        f"{name} = {now[name]:g}, not {value:g}"
        for name, value in calibration.settings.items()
        if name in now and now[name] != value
    ]
    if not others:
        return ()
    return (f"not calibrated for these settings ({', '.join(others)}): the rate of false alarms is not known",)


def _wanted_specs(
    path: Path, trained: TrainedHead, student: TrainedHead | None, options: DetectOptions
) -> tuple[FeatureSpec, ...]:
    """The features to look for or to compute: picture, then sound where the head uses it and the video may have it.

    Nothing is computed yet. A video with an audio stream whose features cannot be had is a :class:`VideoError`, never
    a reason to go on without them.
    """
    spec = trained.audio_spec
    if spec is None:
        return (trained.spec,)
    clip = _probe(path, options)
    stored = _stored(clip, spec, options) is not None
    if clip.has_audio and not stored and not is_computable(spec):
        instead = "; or score the picture alone, with the student's run folder as --run" if student else ""
        raise VideoError(
            f"the head needs {spec.folder} features of the sound, which are not stored and cannot be computed "
            f"here; import them with vadpipe import features and pass --features{instead}"
        )
    return (trained.spec, spec) if clip.has_audio or stored else (trained.spec,)


def _choose_head(
    clip: VideoClip, trained: TrainedHead, student: TrainedHead | None, sound: FeatureTrack | None
) -> tuple[TrainedHead, AudioUse, tuple[str, ...]]:
    """The head that scores this video, whether its sound counts, and what to warn of."""
    if trained.audio_spec is None:
        return trained, AudioUse(), ()
    lacking = "" if sound is None or sound.states is None else without_sound(sound.states)
    if sound is not None and (sound.states is None or heard_rows(sound.states).any()):
        said = f"scored by {trained.config.head} with {trained.audio_spec.folder}"
        return trained, AudioUse(used=True, reason=f"{said}; {lacking}" if lacking else said), ()
    missing = "the video has no audio stream"
    if clip.has_audio:  # nothing is lacking where there is no snippet that could be without sound
        missing = f"the video has an audio stream, but {lacking or 'no frames, so no snippet has sound'}"
    if student is not None:
        said = f"{missing}: scored by the student, {student.config.head}, which needs none"
        return student, AudioUse(reason=said), ((said,) if clip.has_audio else ())
    if getattr(trained.config.model, "modality", "") == "audio":
        raise VideoError(f"{missing}, and this head looks at nothing else")
    said = f"{missing} and the run has no student: scored by {trained.config.head} without sound"
    return trained, AudioUse(reason=said), (f"{said}; such scores are less reliable, pass --student",)


def is_computable(spec: FeatureSpec) -> bool:
    """True where this version has an encoder for such features; imported ones can only be read from a store."""
    return spec.stream in EXTRACTORS and spec.model != "imported"


def _features(
    path: Path,
    specs: tuple[FeatureSpec, ...],
    options: DetectOptions,
    extractors: tuple[Extractor | None, ...],
    on_step: Callable[[Step], None] | None,
) -> tuple[VideoClip, tuple[FeatureTrack, ...]]:
    """Features of each specification: stored ones of this very file, or fresh ones, which are then stored.

    All that is missing comes from one decode of the video. An encoder that is None is built where it is needed.
    """
    stored: list[FeatureTrack | None] = [None] * len(specs)
    if options.store is not None and any(options.store.path(spec, video_id(path)).is_file() for spec in specs):
        clip = _probe(path, options)
        stored = [_stored(clip, spec, options) for spec in specs]
    missing = [place for place, track in enumerate(stored) if track is None]
    if not missing:
        return clip, tuple(track for track in stored if track is not None)
    encoders = [extractors[place] or _kept_extractor(specs[place], options) for place in missing]
    result = _extracted(path, encoders, options, on_step)
    fresh = dict(zip(missing, result.tracks, strict=True))
    tracks = tuple(track or fresh[place] for place, track in enumerate(stored))
    return result.clip, tracks


def _probe(path: Path, options: DetectOptions) -> VideoClip:
    with vanishing(path):  # after its encoders were built it may be gone, which is no reason to end the run
        return media.probe(path, decoder=options.extract.decoder, limits=options.extract.limits)


def _stored(clip: VideoClip, spec: FeatureSpec, options: DetectOptions) -> FeatureTrack | None:
    track = options.store.stored(spec, clip.id) if options.store is not None else None
    if track is None or spec.model == "imported":  # imported: the source is no video
        return track
    return track if track.source_sha256 in ("", clip.sha256) else None


def _extracted(
    path: Path, extractors: list[Extractor], options: DetectOptions, on_step: Callable[[Step], None] | None
) -> Extracted:
    with closing(extract_tracks([path], extractors, options.extract, on_step)) as results:
        result = next(results)
    if isinstance(result, Failed):
        raise result.error
    for track in result.tracks:
        if options.store is not None:
            options.store.write(track, mtime_ns=result.mtime_ns)
    return result


def _kept_extractor(spec: FeatureSpec, options: DetectOptions) -> Extractor:
    if spec.digest not in options.encoders:
        options.encoders[spec.digest] = extractor_for(spec, options)
    return options.encoders[spec.digest]


def extractor_for(spec: FeatureSpec, options: DetectOptions) -> Extractor:
    """The encoder that makes the features a head was trained on; checks its specification before any decoding."""
    if spec.model == "imported":
        raise UsageError(
            f"the head was trained on imported features ({spec.stream}), which vadpipe cannot compute from a video; "
            "import this video's features and pass --features"
        )
    weights = options.weights.get(spec.stream)
    if weights is None and not is_named(spec.weights):
        raise UsageError(f"the head's features were made with weights {spec.weights}; pass --weights with that file")
    if not spec.audio_window:
        check_device(options.extract.decoder, options.extract.decode_device)
        check_encoder(options.extract.decode_device, options.device)
    extractor = create(
        spec.stream, weights=weights or spec.weights, device=options.device, dtype=spec.dtype, crops=_crops(spec)
    )
    spec.require(feature_spec(extractor, options.extract), "this extraction", options.accept)
    return extractor


def _crops(spec: FeatureSpec) -> str:
    """The choice of crops that gives this specification's geometry."""
    count = geometry.crops(spec.geometry) if spec.geometry in geometry.GEOMETRIES else 1
    return "center" if count == 1 else str(count)
