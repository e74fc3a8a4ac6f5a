"""Extraction on a Ray cluster: encoders are actors, decoders are tasks beside them; each actor writes its tracks."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from vadpipe.extractors import Extractor
from vadpipe.pipeline.extract import ExtractOptions, ExtractSummary, Outcome, Step, extract
from vadpipe.pipeline.extracting.devices import decoding_on
from vadpipe.pipeline.extracting.plan import feature_spec
from vadpipe.pipeline.on_ray.actor import Died, Tell, Video
from vadpipe.pipeline.on_ray.cluster import cluster, places
from vadpipe.pipeline.on_ray.deaths import lost_error
from vadpipe.pipeline.on_ray.decode import DecodeWorkerDied, TaskReader
from vadpipe.pipeline.on_ray.pool import Gone, Lost, Pool
from vadpipe.pipeline.quarantine import Quarantine
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.whole_file import make_folder

Build = Callable[[str], Sequence[Extractor]]


class ExtractWork:
    """What an actor does: :func:`vadpipe.pipeline.extract.extract`, with decoders that are tasks on its node."""

    def __init__(self, device: str, build: Build, root: Path, options: ExtractOptions) -> None:
        self._extractors, self._store = build(device), FeatureStore(root)
        self._options = replace(decoding_on(device, options), open_with=TaskReader)

    @property
    def specs(self) -> tuple[FeatureSpec, ...]:
        """Of its encoders' features."""
        return tuple(feature_spec(extractor, self._options) for extractor in self._extractors)

    def run(self, videos: Iterator[Video], tell: Tell) -> None:
        """Extract what is missing of each video, and tell of outcomes and steps."""

        def notify(outcome: Outcome) -> None:
            error = outcome.error
            tell(outcome.name, Died(str(error)) if isinstance(error, DecodeWorkerDied) else outcome)

        extract(videos, self._store, self._extractors, self._options, notify, lambda step: tell("", step))


def make_work(device: str, build: Build, root: Path, options: ExtractOptions) -> ExtractWork:
    """What :class:`vadpipe.pipeline.on_ray.pool.Pool` calls in each actor."""
    return ExtractWork(device, build, root, options)


def extract_on_ray(
    address: str | None,
    device: str,
    build: Build,
    videos: Mapping[str, Path],
    root: Path,
    options: ExtractOptions,
    quarantine: Quarantine,
    notify: Callable[[Outcome], None],
    on_step: Callable[[Step], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> ExtractSummary:
    """:func:`vadpipe.pipeline.extract.extract` by the actors of a cluster; the same files, outcomes and figures.

    address, device
        As of :func:`vadpipe.pipeline.on_ray.cluster.cluster` and :func:`vadpipe.pipeline.on_ray.cluster.places`.
    build
        Makes the encoders for a device; picklable, as are ``options``, of which ``jobs`` holds for each encoder.
    quarantine
        Takes the videos that are lost.
    say
        Hears what is waited for, where the cluster at the address is busy.
    """
    began = time.monotonic()
    if not videos:
        return ExtractSummary()
    with cluster(address, options.jobs, device) as nodes:
        make_folder(root.absolute())  # every node has to see it
        make = partial(make_work, build=build, root=root, options=options)
        pool = Pool(places(nodes, device), make, videos, (root,), None if address is None else say)
        summary = extract_with(pool, quarantine, notify, on_step)
    summary.seconds = time.monotonic() - began
    return summary


def extract_with(
    pool: Pool, quarantine: Quarantine, notify: Callable[[Outcome], None], on_step: Callable[[Step], None] | None = None
) -> ExtractSummary:
    """What :func:`extract_on_ray` does with a pool whose actors do an :class:`ExtractWork`; the actors end with it."""
    summary = ExtractSummary()
    for outcome in _outcomes(pool, quarantine, on_step or _nobody):
        summary.add(outcome)
        notify(outcome)
    return summary


def _outcomes(pool: Pool, quarantine: Quarantine, on_step: Callable[[Step], None]) -> Iterator[Outcome]:
    """Outcomes as they come; the steps of an actor that died are taken back, but for the videos that it finished."""
    begun: defaultdict[int, float] = defaultdict(float)  # actor -> parts of videos that are not finished
    with closing(iter(pool)) as heard:
        for said in heard:
            match said.what:
                case Step(videos=parts):
                    begun[said.actor] += parts
                    on_step(said.what)
                case Gone():
                    on_step(Step(0, 0.0, -begun.pop(said.actor, 0.0)))
                case Outcome():
                    made = said.what.error is None and not said.what.kept
                    begun[said.actor] -= made
                    yield said.what
                case Lost(name, path, reason, attempts, is_at_fault):
                    error = lost_error(path, reason, attempts, quarantine if is_at_fault else None)
                    yield Outcome(name, path, error=error)


def _nobody(_step: Step) -> None:
    """Nobody wants to know the progress."""
