"""The driver's accounts, with a stand-in for Ray: who is to blame for a death, and what is said while nothing comes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import ray.exceptions

from tests.pipeline.ray_stand_in import Actor, StandIn
from vadpipe.errors import DecoderCrashed, VideoQuarantined, WorkerDied
from vadpipe.pipeline.extract import Outcome, Step
from vadpipe.pipeline.on_ray import patience
from vadpipe.pipeline.on_ray.actor import Died
from vadpipe.pipeline.on_ray.cluster import Node
from vadpipe.pipeline.on_ray.deaths import NO_MEMORY, NO_NODE, reason_of
from vadpipe.pipeline.on_ray.extract import extract_with
from vadpipe.pipeline.on_ray.pool import Gone, Lost, Pool, Said
from vadpipe.pipeline.quarantine import QUARANTINE_FILE, Quarantine

DEAD = ray.exceptions.ActorDiedError()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Generator[Said, None, None]]:
    """Runs a pool over videos ``v0``, ``v1``, … with a stand-in for Ray."""

    def run(fake: StandIn, videos: int, actors: int = 1, device: str = "cpu", say: Any = None) -> Any:
        monkeypatch.setattr("vadpipe.pipeline.on_ray.pool.import_ray", lambda: fake)
        monkeypatch.setattr("vadpipe.pipeline.on_ray.pool.on_node", lambda node: node)
        nodes = [Node(fake.alive[number * len(fake.alive) // actors], "host", 2, 0) for number in range(actors)]
        paths = {f"v{number}": Path(f"v{number}.mp4") for number in range(videos)}
        return iter(Pool([(node, device) for node in nodes], lambda _device: None, paths, say=say))  # type: ignore[arg-type,return-value]  # nobody makes it

    return run


def lost(said: list[Said]) -> list[Lost]:
    return [one.what for one in said if isinstance(one.what, Lost)]


def test_a_video_whose_deaths_are_for_want_of_memory_is_not_at_fault(heard: Any, tmp_path: Path) -> None:
    fake = StandIn(lambda _ray, _actor, video: Died(NO_MEMORY) if video == "v1" else "done")
    (one,) = lost(list(heard(fake, 3)))
    assert (one.name, one.attempts, one.is_at_fault) == ("v1", 3, False)

    def pool() -> Generator[Said, None, None]:
        yield Said(0, "v1", one)

    outcomes: list[Outcome] = []
    extract_with(pool(), Quarantine(tmp_path), outcomes.append)  # type: ignore[arg-type]  # iterated only
    assert isinstance(outcomes[0].error, DecoderCrashed)
    assert "memory is short" in str(outcomes[0].error)
    assert not (tmp_path / QUARANTINE_FILE).exists()


def test_other_deaths_put_a_video_into_quarantine(heard: Any, tmp_path: Path) -> None:
    fake = StandIn(lambda _ray, _actor, video: DEAD if video == "v1" else "done")
    said = list(heard(fake, 3))
    (one,) = lost(said)
    assert (one.name, one.attempts, one.is_at_fault) == ("v1", 3, True)

    def pool() -> Generator[Said, None, None]:
        yield from said[-1:] if said[-1].what is one else [Said(0, "v1", one)]

    outcomes: list[Outcome] = []
    extract_with(pool(), Quarantine(tmp_path), outcomes.append)  # type: ignore[arg-type]  # iterated only
    assert isinstance(outcomes[0].error, VideoQuarantined)
    assert (tmp_path / QUARANTINE_FILE).exists()


def test_where_everything_dies_the_run_ends_and_no_video_is_blamed(heard: Any) -> None:
    said: list[Said] = []
    with pytest.raises(WorkerDied, match="31 deaths in a row"):
        said.extend(heard(StandIn(lambda *_: DEAD), 100))  # which keeps those before the error
    assert {type(one.what) for one in said} == {Gone}


def test_a_video_is_blamed_once_another_was_finished(heard: Any) -> None:
    fake = StandIn(lambda _ray, _actor, video: DEAD if video in ("v0", "v3") else "done")
    names = [one.name for one in heard(fake, 4) if one.name]
    assert names == ["v1", "v0", "v2", "v3"]


def test_the_loss_of_nodes_is_no_attempt_and_no_death_in_a_row(heard: Any) -> None:
    def act(fake: StandIn, actor: Actor, _video: str) -> Any:
        if actor.node == "n4":
            return "done"
        fake.alive = ["n4"]
        return DEAD

    fake = StandIn(act, ("n0", "n1", "n2", "n3", "n4"))
    said = list(heard(fake, 100, actors=40))
    assert sorted(one.name for one in said if one.name) == sorted(f"v{number}" for number in range(100))
    assert lost(said) == []
    assert len(fake.made) == 40  # none was begun anew where its node is gone


def test_nodes_that_are_not_told_dead_yet_are_lost_all_the_same(heard: Any) -> None:
    error = ray.exceptions.NodeDiedError("the node of the task died")
    fake = StandIn(lambda _ray, actor, _video: "done" if actor.node == "n1" else error, ("n0", "n1"))
    said = list(heard(fake, 3, actors=2))
    assert (lost(said), len(fake.made)) == ([], 2)
    assert reason_of(ray.exceptions, RuntimeError("The actor died because its node has died.")) == NO_NODE
    only = StandIn(lambda *_: error)
    with pytest.raises(WorkerDied, match="no node that this run began with is left"):
        list(heard(only, 3))


def test_an_actor_out_of_reach_is_killed_before_the_next_one_begins(heard: Any) -> None:
    def act(fake: StandIn, actor: Actor, _video: str) -> Any:
        if actor.number == 0:
            return ray.exceptions.ActorUnavailableError("no answer", None)
        assert [one.number for one in fake.killed] == [0]
        return "done"

    assert lost(list(heard(StandIn(act), 1))) == []


def test_a_node_without_the_program_is_named_with_what_it_lacks(heard: Any) -> None:
    error = ray.exceptions.ActorDiedError()
    error.error_msg = (
        "The actor died because of an error raised in its creation task, ray::Actor.__init__()\n"
        "ModuleNotFoundError: No module named 'vadpipe.pipeline.on_ray'\n(more)"
    )
    fake = StandIn()
    fake.starts = lambda _actor: error
    with pytest.raises(
        WorkerDied, match=r"the worker on host cannot be started: .* 'vadpipe\.pipeline\.on_ray'\. Every"
    ):
        list(heard(fake, 1))
    assert len(fake.made) == 1  # the next would lack it, too


@pytest.mark.parametrize(
    ("device", "what"), [("cuda:0", "Each encoder takes a GPU of the Ray cluster, of which 0 of 2 are free")]
)
def test_who_waits_for_a_busy_cluster_says_once_for_what(
    heard: Any, monkeypatch: pytest.MonkeyPatch, device: str, what: str
) -> None:
    monkeypatch.setattr(patience, "_QUIET_S", 0.0)
    told: list[str] = []
    assert lost(list(heard(StandIn(silences=5), 2, device=device, say=told.append))) == []
    assert len(told) == 1
    assert what in told[0]


def test_nothing_is_said_once_a_video_was_finished(heard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(fake: StandIn, _actor: Actor, video: str) -> str:
        if video == "v1":
            fake.silences = 5
        return "done"

    monkeypatch.setattr(patience, "_QUIET_S", 0.0)
    told: list[str] = []
    assert lost(list(heard(StandIn(act), 2, say=told.append))) == []
    assert told == []


def test_patience_waits_some_seconds_and_ends_with_the_first_video() -> None:
    now, told = [0.0], list[str]()
    one = patience.Patience(told.append, lambda: now[0])
    for second, comes in ((10, True), (20, False), (26, False), (60, False)):
        now[0] = second
        if comes:
            one.heard()
        else:
            one.wait(StandIn(), "CPU", "decoder")
        assert len(told) == (second >= 26)
    assert "Each decoder takes a CPU of the Ray cluster, of which 0 of 16 are free" in told[0]
    other = patience.Patience(told.append, lambda: now[0])
    other.done()
    now[0] = 1000
    other.wait(StandIn(), "CPU", "decoder")
    assert len(told) == 1


def test_what_dead_actors_have_told_of_parts_is_taken_back_once(tmp_path: Path) -> None:
    def pool() -> Generator[Said, None, None]:
        for _ in range(2):
            yield Said(0, "", Step(10, 1.0, 0.5))
            yield Said(0, "", Gone())
        yield Said(0, "", Gone())
        yield Said(0, "", Step(20, 2.0, 1.0))
        yield Said(0, "a", Outcome("a", Path("a")))

    steps: list[Step] = []
    extract_with(pool(), Quarantine(tmp_path), lambda _outcome: None, steps.append)  # type: ignore[arg-type]  # as above
    assert sum(step.videos for step in steps) == 1.0
