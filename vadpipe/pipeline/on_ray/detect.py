"""Detection on a Ray cluster: actors hold heads and encoders; what is found comes back to the driver, which writes it.

An actor looks at one video after the other, as a process without Ray does; features that are stored are read where
they are, and those that are missing are made and stored by the actor, with a decoder that is a task on its node.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from vadpipe.detection import Detection
from vadpipe.errors import DataError, VideoError
from vadpipe.pipeline.detecting.heads import load_heads
from vadpipe.pipeline.detecting.outputs import Watch
from vadpipe.pipeline.detecting.request import DetectRequest, Extras
from vadpipe.pipeline.detecting.run import Found, detect_one, detect_options
from vadpipe.pipeline.on_ray.actor import Died, Tell, Video
from vadpipe.pipeline.on_ray.cluster import cluster, places
from vadpipe.pipeline.on_ray.deaths import lost_error
from vadpipe.pipeline.on_ray.decode import DecodeWorkerDied, TaskReader
from vadpipe.pipeline.on_ray.pool import Gone, Lost, Pool
from vadpipe.pipeline.quarantine import Quarantine
from vadpipe.spec import FeatureSpec
from vadpipe.whole_file import make_folder


@dataclass(frozen=True, slots=True)
class At:
    """Where an actor is; total 0: it has begun with the video."""

    name: str
    what: str = ""
    done: float = 0.0
    total: float = 0.0


class DetectWork:
    """What an actor does: :func:`vadpipe.pipeline.detecting.run.detect_one` for each video."""

    def __init__(self, device: str, request: DetectRequest) -> None:
        request = replace(request, device=device)
        self._heads = load_heads(request, _nobody)
        options = detect_options(request, self._heads)
        self._options = replace(options, extract=replace(options.extract, open_with=TaskReader))

    @property
    def specs(self) -> tuple[FeatureSpec, ...]:
        """Of the head's features, which its encoders have to make."""
        trained = self._heads.trained
        return tuple(spec for spec in (trained.spec, trained.audio_spec) if spec is not None)

    def run(self, videos: Iterator[Video], tell: Tell) -> None:
        """Look at each video, and tell of it: a detection, or a :class:`VideoError` or :class:`DataError`."""
        for name, path in videos:
            watch = _Told(name, tell)
            watch.begin(name)
            try:
                tell(name, detect_one(name, path, self._heads, self._options, watch))
            except DecodeWorkerDied as error:
                tell(name, Died(str(error)))
            except (VideoError, DataError) as error:
                tell(name, error)


def make_work(device: str, request: DetectRequest) -> DetectWork:
    """What :class:`vadpipe.pipeline.on_ray.pool.Pool` calls in each actor."""
    return DetectWork(device, request)


def detect_each_on_ray(
    request: DetectRequest, watch: Watch, quarantine: Quarantine, say: Callable[[str], None]
) -> Generator[Found, None, None]:
    """As :func:`vadpipe.pipeline.detecting.run.detect_each`, by the actors of a cluster, as the videos are done."""
    if not request.videos:
        return
    with cluster(request.ray_address, 1, request.device) as nodes:
        if request.features is not None:
            make_folder(request.features.absolute())  # every node has to see it
        known = (request.run, request.student, request.features, request.categories)
        alike = replace(request, videos={}, extras=Extras())
        make = partial(make_work, request=alike)
        seen = [path for path in known if path is not None]
        heard = None if request.ray_address is None else say
        pool = Pool(places(nodes, request.device), make, request.videos, seen, heard)
        yield from found_with(pool, request, watch, quarantine)


def found_with(
    pool: Pool, request: DetectRequest, watch: Watch, quarantine: Quarantine
) -> Generator[Found, None, None]:
    """What :func:`detect_each_on_ray` does with a pool whose actors do a :class:`DetectWork`; they end with it."""
    shown: dict[int, str] = {}  # actor -> its video; progress is that of one of them
    with closing(iter(pool)) as heard:
        for said in heard:
            match said.what:
                case At(name=name, total=0):
                    watch.begin(name)
                    shown[said.actor] = name
                case At(what=what, done=done, total=total):
                    if said.actor == min(shown, default=None):
                        watch.begin(shown[said.actor])  # again: others may have begun or ended meanwhile
                        watch.step(what, done, total)
                case Gone():
                    shown.pop(said.actor, None)
                case Lost(name, path, reason, attempts, is_at_fault):
                    watch.begin(name)
                    yield name, path, lost_error(path, reason, attempts, quarantine if is_at_fault else None)
                case Detection() | VideoError() | DataError():
                    watch.begin(said.name)
                    shown.pop(said.actor, None)
                    found = _owned(said.what) if isinstance(said.what, Detection) else said.what
                    yield said.name, request.videos[said.name], found


def _owned(detection: Detection) -> Detection:
    """The detection with arrays of its own: those that come from Ray fill its shared memory as long as they live."""
    scores = detection.scores
    own = replace(scores, anomaly=np.array(scores.anomaly), categories=np.array(scores.categories))
    return replace(detection, scores=own)


class _Told:
    """A :class:`Watch` in an actor; the driver ends videos."""

    def __init__(self, name: str, tell: Tell) -> None:
        self._name, self._tell = name, tell

    def begin(self, name: str) -> None:
        self._tell("", At(name))

    def step(self, what: str, done: float, total: float) -> None:
        self._tell("", At(self._name, what, done, total))

    def end(self, detection: Detection | None) -> None:
        raise RuntimeError(f"the driver ends {self._name}, with {detection}")


def _nobody(_text: str) -> None:
    """The driver has said it."""
