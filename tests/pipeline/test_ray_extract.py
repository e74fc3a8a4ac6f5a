"""Extraction on a Ray cluster of two CPUs: the bytes of local mode, whoever is killed, and what poison costs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.extractors import painted_videos
from tests.pipeline import ray_works
from tests.pipeline.mean_colour import MeanColour
from vadpipe.errors import SpecMismatch, UsageError, VideoQuarantined, WorkerDied
from vadpipe.pipeline.extract import ExtractOptions, ExtractSummary, Outcome, Step, extract
from vadpipe.pipeline.on_ray.cluster import Node, cluster
from vadpipe.pipeline.on_ray.extract import extract_with
from vadpipe.pipeline.on_ray.pool import Pool
from vadpipe.pipeline.quarantine import Quarantine
from vadpipe.store import FeatureStore


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with cluster(None, 2, "cpu") as nodes:
        yield nodes[0]


@pytest.fixture
def videos(tmp_path: Path) -> dict[str, Path]:
    paths = {f"v{number}": painted_videos.write(tmp_path / f"v{number}.mp4", 60 + number) for number in range(5)}
    (tmp_path / "bad.mp4").write_text("no video")
    return {**paths, "bad": tmp_path / "bad.mp4"}


class Run:
    """One extraction by the cluster, and what it told."""

    def __init__(self, node: Node, videos: dict[str, Path], root: Path, actors: int = 1, **how: Any) -> None:
        self.outcomes: list[Outcome] = []
        self.steps: list[Step] = []
        self.quarantine = Quarantine(root)
        self.notes = root.with_suffix(".notes")
        root.mkdir(exist_ok=True)
        make = partial(ray_works.work, root=root, notes=self.notes, **how)
        pool = Pool([(node, "cpu")] * actors, make, videos, (root,))
        self.summary = extract_with(pool, self.quarantine, self.outcomes.append, self.steps.append)

    @property
    def deaths(self) -> int:
        return len(self.notes.read_text()) if self.notes.exists() else 0


def files(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*.h5")}


def local(videos: dict[str, Path], root: Path) -> ExtractSummary:
    encoders = [MeanColour(), MeanColour(frames=16, stream="snippets")]
    return extract(videos, FeatureStore(root), encoders, ExtractOptions(jobs=2))


def test_the_bytes_outcomes_and_figures_are_those_of_local_mode(
    tmp_path: Path, node: Node, videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # paths mean the same on the nodes, and so do messages
    videos = {name: path.relative_to(tmp_path) for name, path in videos.items()}
    here, there = local(videos, tmp_path / "here"), Run(node, videos, tmp_path / "there", actors=2)
    told = there.summary
    assert files(tmp_path / "here") == files(tmp_path / "there")
    assert len(files(tmp_path / "there")) == 10
    assert sorted(told.done) == sorted(here.done) == [f"v{number}" for number in range(5)]
    assert (told.failed, told.frames, told.rows, told.warnings) == (here.failed, here.frames, here.rows, here.warnings)
    assert told.failed["bad"].startswith("bad.mp4: it is a text file")
    assert sorted(outcome.name for outcome in there.outcomes) == sorted(videos)
    assert sum(step.rows for step in there.steps) == told.rows
    assert sum(step.videos for step in there.steps) == pytest.approx(5)
    again = Run(node, videos, tmp_path / "there").summary
    assert (sorted(again.kept), again.done, again.failed) == (sorted(here.done), [], here.failed)


def test_the_death_of_an_encoder_costs_nothing(tmp_path: Path, node: Node, videos: dict[str, Path]) -> None:
    videos = {**videos, "red": ray_works.red_video(tmp_path / "red.mp4")}
    run = Run(node, videos, tmp_path / "there", deaths=1)
    here = local(videos, tmp_path / "here")
    assert run.deaths == 1
    assert files(tmp_path / "there") == files(tmp_path / "here")
    assert (sorted(run.summary.done), run.summary.failed) == (sorted(here.done), here.failed)
    assert (run.summary.frames, run.summary.rows) == (here.frames, here.rows)
    assert sum(step.videos for step in run.steps) == pytest.approx(6)
    assert not (tmp_path / "there" / "quarantined.jsonl").exists()


def test_the_death_of_a_decode_task_costs_nothing(tmp_path: Path, node: Node, videos: dict[str, Path]) -> None:
    videos = {"deadly_once": painted_videos.write(tmp_path / "deadly_once.mp4", 50), **videos}
    run = Run(node, videos, tmp_path / "there")
    local(videos, tmp_path / "here")
    assert (tmp_path / "deadly_once.notes").read_text() == "."
    assert files(tmp_path / "there") == files(tmp_path / "here")
    assert list(run.summary.failed) == ["bad"]


@pytest.mark.parametrize("name", ["red", "deadly"])
def test_poison_has_three_attempts_and_its_neighbours_are_done(
    tmp_path: Path, node: Node, videos: dict[str, Path], name: str
) -> None:
    poison = tmp_path / f"{name}.mp4"
    (ray_works.red_video if name == "red" else painted_videos.write)(poison)
    others = list(videos.items())
    run = Run(node, dict([*others[:2], (name, poison), *others[2:]]), tmp_path / "there")
    attempts = run.deaths if name == "red" else len((tmp_path / "deadly.notes").read_text())
    assert attempts == 3
    assert sorted(run.summary.done) == [f"v{number}" for number in range(5)]
    assert sorted(run.summary.failed) == sorted(["bad", name])
    assert sorted(outcome.name for outcome in run.outcomes) == sorted([*videos, name])
    assert sum(step.videos for step in run.steps) == pytest.approx(5)
    (error,) = (outcome.error for outcome in run.outcomes if outcome.name == name)
    assert isinstance(error, VideoQuarantined)
    said = f"{poison}: in quarantine: in each of 3 attempts the process that worked on it died"
    assert str(error).startswith(said)
    again = Quarantine(tmp_path / "there").passed_over([*videos.values(), poison])
    assert {key: str(value) for key, value in again.items()} == {poison: str(error)}


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        ("failing", UsageError, "no weights on this node"),
        ("dying", WorkerDied, "3 times before it had any video"),
        ("two", SpecMismatch, "frames_per_snippet"),
    ],
)
def test_actors_that_cannot_work_end_the_run(
    tmp_path: Path, node: Node, videos: dict[str, Path], kind: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        Run(node, videos, tmp_path / "there", actors=2 if kind == "two" else 1, kind=kind)
    assert files(tmp_path / "there") == {}


def test_a_node_that_does_not_see_the_paths_is_told_of(tmp_path: Path, node: Node, videos: dict[str, Path]) -> None:
    pool = Pool([(node, "cpu")], partial(ray_works.work, root=tmp_path, notes=tmp_path), videos, (tmp_path,))
    gone = tmp_path.with_name("gone")
    tmp_path.rename(gone)
    with pytest.raises(UsageError, match=r"does not exist there\. Every node of a Ray cluster needs the same"):
        list(pool)
    gone.rename(tmp_path)
