"""What ``vadpipe detect`` does around :func:`vadpipe.pipeline.detect.detect_video`: many videos, heads, files."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vadpipe.detection import Detection
from vadpipe.errors import DataError, UsageError, VideoError
from vadpipe.extractors import Extractor
from vadpipe.manifest import video_id
from vadpipe.pipeline.detect import DetectOptions, detect_video, extractor_for, is_computable
from vadpipe.pipeline.detecting.guarded import guarded_files
from vadpipe.pipeline.detecting.heads import Heads, load_heads
from vadpipe.pipeline.detecting.inputs import shared_ids
from vadpipe.pipeline.detecting.outputs import Outputs, Watch
from vadpipe.pipeline.detecting.places import Places
from vadpipe.pipeline.detecting.request import DetectRequest, Extras
from vadpipe.pipeline.extract import ExtractOptions, Step
from vadpipe.pipeline.quarantine import Quarantine
from vadpipe.pipeline.videos import said_of
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore

__all__ = ["DetectRequest", "DetectSummary", "Extras", "Found", "Watch", "detect_each", "detect_run"]

Found = tuple[str, Path, Detection | VideoError | DataError]
"""Name and file of a video, and its detection, or why there is none."""


@dataclass(slots=True)
class DetectSummary:
    """What a run did.

    found
        Detections with their JSON content, in the order of the videos; of a run they are on the disk, and each is read
        when it is looked at.
    written
        Files, the JSON of each video among them.
    failed, lost
        Videos that could not be used, and why; outputs that could not be written, a sentence each.
    ended
        What ended it before its time: an interrupt, a termination, a JSON or a store that could not be written. What
        was finished is here and on the disk; the caller tells of that and raises it again.
    """

    found: Sequence[tuple[Detection, dict[str, Any]]] = ()
    written: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    ended: BaseException | None = None


def detect_run(
    request: DetectRequest,
    watch: Watch | None = None,
    say: Callable[[str], None] | None = None,
) -> DetectSummary:
    """Detect in every video; one that fails is reported and costs itself only, and so does a file beside the JSON.

    What ends the run does so after all that is about the finished videos was written, and is ``ended``; with nothing
    finished it goes on to the caller.
    """
    watch, say = watch or _Nobody(), say or _not_said
    guarded = guarded_files(request)
    # said before any work
    places = Places(request.videos, request.out, request.extras, request.picture, guarded, request.shard)
    if others := places.of_other_divisions():
        say(f"warning: {others[0]} and {len(others) - 1} more are of another number of shards; together with those of "
            "this one they tell of videos twice, so remove them")  # fmt: skip
    outputs = Outputs(places, request.extras, request.picture, say, request.limits)
    heads = load_heads(request.here, say)
    summary = DetectSummary(written=outputs.written, lost=outputs.failed)
    try:
        with closing(detect_each(request, heads, watch, say)) as results:  # ends a cluster of its own
            for name, path, result in results:
                if isinstance(result, Detection):
                    outputs.keep(name, path, result)
                    outputs.add(name, path, result, watch)
                    watch.end(result)
                else:
                    summary.failed[name] = str(result)
                    watch.end(None)
    except BaseException as error:  # SystemExit of a termination, too
        if not outputs.kept:
            raise
        summary.ended = error
    summary.found = outputs.found()
    try:
        outputs.finish(watch)
    except BaseException as error:
        if not summary.found:
            raise
        summary.ended = summary.ended or error
    return summary


def detect_each(
    request: DetectRequest, heads: Heads, watch: Watch, say: Callable[[str], None]
) -> Generator[Found, None, None]:
    """Name, file and detection of every video, or why there is none, which is said too; writes nothing but features.

    In the order of the videos, with Ray in that in which they are done. Begins each video for ``watch``; the caller
    ends it. Videos that the quarantine of ``request.features`` names fail where they would have to be decoded.
    ``heads``: of ``request.here``.
    """
    _check_shared_ids(request, heads, say)
    quarantine = Quarantine(request.features)
    over = {} if request.retry_quarantined else quarantine.passed_over(request.videos.values())
    with closing(_each(replace(request, passed_over=over), heads, watch, quarantine, say)) as results:
        for name, path, result in results:
            if isinstance(result, Detection):
                if path not in over:  # else its features were stored, and nothing was decoded
                    quarantine.release(path)
            else:
                say(f"failed: {said_of(path, result)}")
            yield name, path, result


def _each(
    request: DetectRequest, heads: Heads, watch: Watch, quarantine: Quarantine, say: Callable[[str], None]
) -> Generator[Found, None, None]:
    if request.engine == "ray":
        from vadpipe.pipeline.on_ray.detect import detect_each_on_ray

        yield from detect_each_on_ray(request, watch, quarantine, say)
        return
    options = detect_options(request, heads)
    ids = {video_id(path) for path in request.videos.values()}
    one_each = len(ids) == len(request.videos)
    picture = needed_extractor(heads.trained.spec, options, ids, one_each=one_each)
    sound = needed_extractor(heads.trained.audio_spec, options, ids, one_each=one_each)
    for name, path in request.videos.items():
        watch.begin(name)
        try:
            yield name, path, detect_one(name, path, heads, options, watch, (picture, sound))
        except (VideoError, DataError) as error:
            yield name, path, error


def detect_one(
    name: str,
    path: Path,
    heads: Heads,
    options: DetectOptions,
    watch: Watch,
    extractors: tuple[Extractor | None, Extractor | None] = (None, None),
) -> Detection:
    """:func:`vadpipe.pipeline.detect.detect_video` of a video that is called ``name``; tells ``watch`` of its steps."""
    frames = shares = 0.0

    def on_step(step: Step) -> None:
        nonlocal frames, shares
        frames, shares = frames + step.frames, shares + step.videos
        if shares > 0:
            watch.step("features", frames, frames / shares)  # exact but for the last snippet, which may be short

    detection = detect_video(
        path,
        heads.trained,
        options,
        extractors[0],
        student=heads.student,
        audio_extractor=extractors[1],
        on_step=on_step,
    )
    return replace(detection, clip=replace(detection.clip, id=name))


def detect_options(request: DetectRequest, heads: Heads, encoders: dict[str, Extractor] | None = None) -> DetectOptions:
    """What every video of a request is looked at with; ``encoders`` that were built before are used again."""
    return DetectOptions(
        FeatureStore(request.features) if request.features else None,
        heads.weights,
        request.device,
        frozenset(request.accept),
        _extract_options(request, heads.trained.spec),
        heads.calibrations,
        {} if encoders is None else encoders,
    )


def _extract_options(request: DetectRequest, spec: FeatureSpec) -> ExtractOptions:
    """How the features that are not stored are made: pictures decoded on the device that the head's came from."""
    where = request.decode_device or spec.decode_device
    if where == "cuda" and request.device.startswith("cuda"):
        where = request.device  # the GPU of the encoder decodes
    return ExtractOptions(
        spec.frames_per_snippet, request.decoder, 1, request.limits, where, passed_over=request.passed_over
    )


def _check_shared_ids(request: DetectRequest, heads: Heads, say: Callable[[str], None]) -> None:
    """Features are stored by id alone; computed ones know their file by its digest, imported ones do not."""
    if request.features is None or not (shared := shared_ids(request.videos)):
        return
    name, paths = next(iter(shared.items()))
    told = f"{paths[0]} and {paths[1]} have one id in the store, {name!r}"
    specs = (heads.trained.spec, heads.trained.audio_spec)
    if any(spec is not None and spec.model == "imported" for spec in specs):
        raise UsageError(f"{told}, so that imported features of one would be taken for the other's; rename one")
    say(f"note: {told}, where the features of only one of them are kept")


def needed_extractor(
    spec: FeatureSpec | None, options: DetectOptions, ids: Iterable[str], *, one_each: bool = True
) -> Extractor | None:
    """The encoder, before any video is looked at; None where all is stored, or where this version has no encoder.

    ``one_each``: each id is of one video; of several with one id the store holds no more than one.
    """
    if spec is None or not is_computable(spec):
        return None
    if options.store is not None and one_each and set(ids) <= set(options.store.ids(spec)):
        return None
    return extractor_for(spec, options)


class _Nobody:
    """Wants to know nothing."""

    def begin(self, name: str) -> None:
        """As :class:`Watch` says."""

    def step(self, what: str, done: float, total: float) -> None:
        """As :class:`Watch` says."""

    def end(self, detection: Detection | None) -> None:
        """As :class:`Watch` says."""


def _not_said(_text: str) -> None:
    """Nobody wants to hear it."""
