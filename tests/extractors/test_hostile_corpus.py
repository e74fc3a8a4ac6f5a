"""Two thousand damaged videos: each is read or refused for one plain reason, and nothing is left of it.

Every file has a child of its own, with its limits and its confinement. Starting Python and importing numpy and PyAV
costs 0.2 s of processor time, so most children are forked from a process that has imported them
(``tests/hostile_nursery.py``); the first 100 files are read a second time by children that are started as users'
are, and have to end the same way. Behind the mark ``hostile`` (``pytest -m hostile``) lie 20,000 more. A number that
fails is read again alone by ``python -m benchmarks.hostile --only NUMBER``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import need_decoder
from tests.hostile_media import mutate, write_sources
from tests.hostile_run import MODULES, Outcome, leaving_nothing, reading, run
from tests.pipeline.mean_colour import MeanColour
from vadpipe.extractors.decoders import DECODERS
from vadpipe.pipeline.extract import ExtractOptions, extract
from vadpipe.store import FeatureStore

SEED, COUNT, REAL = 7, 2000, 100
FOUND = {"decord": (2721,), "torchcodec": (75,)}
"""Numbers that once ended in a traceback, with the PyAV that painted them then."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def forked(sources: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    folder = tmp_path_factory.mktemp("forked")
    with leaving_nothing():
        found = list(run(range(COUNT), reading(sources, SEED, folder), module=MODULES))
        assert list(folder.iterdir()) == []
    return sorted(found, key=lambda one: one.number)


def check(outcomes: Sequence[Outcome], sources: dict[str, bytes]) -> None:
    """Nothing went wrong, and both readable and refused files are among them."""
    wrong = [(one.number, mutate(sources, SEED, one.number).what, one.wrong) for one in outcomes if one.wrong]
    assert wrong == []
    kinds = Counter(one.kind for one in outcomes)
    assert kinds["read"] > len(outcomes) // 10
    assert kinds["VideoUnreadable"] > len(outcomes) // 10
    assert not any(one.signal for one in outcomes)


def test_damaged_videos_are_read_or_refused(forked: list[Outcome], sources: dict[str, bytes]) -> None:
    assert len(forked) == COUNT
    check(forked, sources)


def test_children_as_users_have_them_end_the_same_way(
    forked: list[Outcome], sources: dict[str, bytes], tmp_path: Path
) -> None:
    with leaving_nothing():
        found = sorted(run(range(REAL), reading(sources, SEED, tmp_path)), key=lambda one: one.number)
    check(found, sources)

    def ends(outcomes: Sequence[Outcome]) -> list[tuple[int, str, int, str]]:
        return [(one.number, one.kind, one.rows, one.reason.rpartition("/")[2]) for one in outcomes]

    assert ends(found) == ends(forked[:REAL])


def test_pictures_clips_and_overlays_of_damaged_videos(sources: dict[str, bytes], tmp_path: Path) -> None:
    with leaving_nothing():
        found = list(run(range(400), reading(sources, SEED, tmp_path, tasks=True), module=MODULES))
        assert list(tmp_path.iterdir()) == []
    check(found, sources)


@pytest.mark.parametrize(
    ("name", "count"),
    [("decord", 200), pytest.param("torchcodec", 100, marks=pytest.mark.hostile)],  # importing torch takes seconds
)
def test_the_other_decoders(name: str, count: int, sources: dict[str, bytes], tmp_path: Path) -> None:
    need_decoder(name)
    numbers = {**dict.fromkeys(range(count)), **dict.fromkeys(FOUND[name])}
    with leaving_nothing():
        found = list(run(numbers, reading(sources, SEED, tmp_path, name), 1, DECODERS[name].module))
    assert [(one.number, one.wrong) for one in found if one.wrong] == []


def test_an_extraction_of_damaged_videos_stores_some_and_says_why_not_the_others(
    sources: dict[str, bytes], tmp_path: Path
) -> None:
    videos = {}
    for number in range(900, 916):
        videos[f"m{number}"] = tmp_path / f"m{number}.mp4"
        videos[f"m{number}"].write_bytes(mutate(sources, SEED, number).content)
    with leaving_nothing():
        summary = extract(videos, FeatureStore(tmp_path / "store"), [MeanColour()], ExtractOptions(jobs=2))
    assert len(summary.done) + len(summary.failed) == len(videos)
    assert summary.done
    assert summary.failed
    assert all(reason.isprintable() and len(reason) <= 1000 for reason in summary.failed.values())


def test_a_mutation_depends_on_its_seed_and_number_alone(sources: dict[str, bytes]) -> None:
    again = [mutate(sources, SEED, number) for number in (5, 3, 5)]
    assert again[0] == again[2] == mutate(dict(reversed(sources.items())), SEED, 5)
    assert again[0].content != mutate(sources, SEED + 1, 5).content
    contents = {mutate(sources, SEED, number).content for number in range(500)}
    assert len(contents) > 480
    assert not contents & set(sources.values())


@pytest.mark.hostile
@pytest.mark.parametrize("part", range(10))
def test_many_more(part: int, sources: dict[str, bytes], tmp_path: Path) -> None:
    numbers = range(COUNT + 2000 * part, COUNT + 2000 * (part + 1))
    with leaving_nothing():
        found = list(run(numbers, reading(sources, SEED, tmp_path), module=MODULES))
    check(found, sources)
