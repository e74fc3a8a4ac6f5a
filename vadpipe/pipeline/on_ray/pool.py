"""Actors of a Ray cluster that work on videos, and the driver that accounts for every video, whoever dies.

There is an actor for each GPU of the cluster, or one on each node where there are no GPUs, and it stays on its node.
Actors take no CPUs in Ray's books, so that decoders, which take one each, are never kept waiting by encoders, on a
node with a single CPU either; the decoders of each actor are bounded by ``jobs``.

What a death costs: the videos that an actor held when it died have had one attempt each, and are tried again alone,
with nothing beside them on their actor. So a video that kills its actor is found out, and its neighbours are done. A
video whose third attempt ends so is lost: it is told of, and not tried again. That is told only once another video was
finished, or all others are: where everything dies, it is the machine, and no video is to blame. Nor is any for the loss
of a node, which is no attempt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vadpipe.errors import SpecMismatch, WorkerDied
from vadpipe.pipeline.on_ray.actor import Actor, Died, Make, Place, Ready, Told, Trouble, Video, Wants
from vadpipe.pipeline.on_ray.cluster import Node, alive_nodes, import_ray
from vadpipe.pipeline.on_ray.deaths import KEPT, NO_MEMORY, NO_NODE, not_imported, reason_of
from vadpipe.pipeline.on_ray.patience import Patience
from vadpipe.spec import FeatureSpec

ATTEMPTS = 3
"""Deaths in which a video may be involved before it is lost."""

_STARTS = 3  # of one actor that dies before it is ready
_DEATHS = 10 * ATTEMPTS  # in a row without a video that was finished: the videos are not at fault
_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Lost:
    """A video whose attempts are used up.

    reason
        Of the last death.
    is_at_fault
        False where Ray has killed one of its processes for want of memory.
    """

    name: str
    path: Path
    reason: str
    attempts: int
    is_at_fault: bool = True


@dataclass(frozen=True, slots=True)
class Gone:
    """An actor died; what it has told about videos that are not finished no longer holds."""


@dataclass(frozen=True, slots=True)
class Said:
    """What is heard from the pool: of a video, what its actor told or :class:`Lost`; name "": anything else."""

    actor: int
    name: str
    what: Any


@dataclass(slots=True, eq=False)
class _Slot:
    """Where an actor is, and after its death the next one.

    call
        What is waited for: its start, then the stream of a session; None: it is idle.
    source
        Where its session takes videos from: those of the whole pool, or a list of its own with a single one.
    held
        Videos that were given to it and of which it has not told.
    """

    number: int
    node: Node
    device: str
    actor: Any = None
    call: Any = None
    is_ready: bool = False
    starts: int = 0
    source: deque[Video] = field(default_factory=deque)
    held: dict[str, Path] = field(default_factory=dict)
    pid: int = 0


class Pool:
    """Iterate once to work on all videos; leave early, or call :meth:`close`, to end all actors at once.

    Iterating raises :class:`SpecMismatch` where an actor would make other features than the first,
    :class:`WorkerDied` where actors die and no video is at fault, and what an actor's work raises.
    """

    def __init__(
        self,
        chosen: Sequence[tuple[Node, str]],
        make: Make,
        videos: Mapping[str, Path],
        known: Sequence[Path] = (),
        say: Callable[[str], None] | None = None,
    ) -> None:
        """Take nodes and devices of :func:`vadpipe.pipeline.on_ray.cluster.places`.

        ``known``: paths that every node needs beside the first video's. ``say`` hears what a run waits for where others
        are at work on the cluster.
        """
        self._ray = import_ray()
        self._make = make
        self._specs: tuple[FeatureSpec, ...] | None = None
        self._place = Place.here((*known, *list(videos.values())[:1]))
        self._fresh, self._suspects = deque(videos.items()), deque[Video]()
        self._attempts: dict[str, int] = {}
        self._starved = set[str]()  # videos of which a process was killed for want of memory
        self._lost: list[Said] = []  # not told yet
        self._patience = Patience(say)
        self._open = len(videos)
        self._deaths = 0
        self._slots = [_Slot(number, *place) for number, place in enumerate(chosen)]

    @property
    def pids(self) -> dict[int, int]:
        """Number -> process id of the actors that are ready, for diagnosis."""
        return {slot.number: slot.pid for slot in self._slots if slot.is_ready}

    def __iter__(self) -> Generator[Said, None, None]:
        try:
            if self._open:
                for slot in self._slots:
                    self._start(slot)
            while self._open:
                self._deal()
                calls = {slot.call: slot for slot in self._slots if slot.call is not None}
                come = self._ray.wait(list(calls), timeout=_LOOK_S)[0]
                self._be_patient(bool(come))
                for call in come:
                    yield from self._hear(calls[call])
            yield from self._told_late()
        finally:
            self.close()

    def close(self) -> None:
        """Kill all actors; what they have written stays."""
        for slot in self._slots:
            if slot.actor is not None:
                self._ray.kill(slot.actor, no_restart=True)
                slot.actor = slot.call = None
                slot.is_ready = False

    def _start(self, slot: _Slot) -> None:
        kind = self._ray.remote(
            num_cpus=0,
            num_gpus=0 if slot.device == "cpu" else 1,
            max_concurrency=2,  # a session, and what is given to it
            max_restarts=0,
            scheduling_strategy=on_node(slot.node.id),
        )(Actor)
        slot.actor = kind.remote()
        made = [self._ray.put(self._make)]  # in a list, so that the actor fetches it when it is ready for it
        slot.call = slot.actor.start.remote(self._place, made, slot.device)

    def _be_patient(self, has_come: bool) -> None:
        if has_come:
            self._patience.heard()
        elif any(not slot.is_ready and slot.device != "cpu" for slot in self._slots):
            self._patience.wait(self._ray, "GPU", "encoder")
        elif any(slot.held for slot in self._slots):
            self._patience.wait(self._ray, "CPU", "decoder")

    def _deal(self) -> None:
        """Begin a session with each idle actor: a suspect alone, else whatever comes."""
        for slot in self._slots:
            if slot.is_ready and slot.call is None and (self._suspects or self._fresh):
                slot.source = deque([self._suspects.popleft()]) if self._suspects else self._fresh
                slot.call = slot.actor.session.options(num_returns="streaming").remote()

    def _hear(self, slot: _Slot) -> Iterator[Said]:
        errors = self._ray.exceptions
        try:
            heard = self._ray.get(next(slot.call) if slot.is_ready else slot.call)
        except StopIteration:
            slot.call = None
            if slot.held:
                raise RuntimeError(f"an actor has not told of {', '.join(slot.held)}") from None
        except errors.RayTaskError as error:  # of no error that it knows: it could not even take the call
            said = f"{_where(slot)} cannot be started: {_last_line(error)}"
            raise not_imported(_where(slot), error) or WorkerDied(said) from error
        except errors.RayError as error:
            if not slot.is_ready and (missing := not_imported(_where(slot), error)) is not None:
                raise missing from error
            yield from self._buried(slot, reason_of(errors, error))
        else:
            for said in heard if slot.is_ready else [heard]:
                yield from self._react(slot, said)

    def _react(self, slot: _Slot, said: Any) -> Iterator[Said]:
        match said:
            case Ready():
                self._check(slot, said)
                slot.is_ready, slot.call, slot.starts, slot.pid = True, None, 0, said.pid
            case Wants():
                video = slot.source.popleft() if slot.source else None
                if video is not None:
                    slot.held[video[0]] = video[1]
                slot.actor.give.remote(video)
            case Told(name=name, what=Died(reason=reason)):
                self._count_death(slot, reason)
                self._again(slot, name, slot.held.pop(name), reason)
            case Told(name=name, what=what):
                if name:
                    del slot.held[name]
                    self._open -= 1
                    self._deaths = 0
                    self._patience.done()
                yield Said(slot.number, name, what)
                if name:
                    yield from self._told_late()
            case Trouble(error=error):
                raise error

    def _check(self, slot: _Slot, ready: Ready) -> None:
        self._specs = self._specs or ready.specs
        if len(ready.specs) != len(self._specs):
            raise SpecMismatch(f"{_where(slot)} makes {len(ready.specs)} kinds of features, not {len(self._specs)}")
        for own, other in zip(self._specs, ready.specs, strict=True):
            own.require(other, f"what {_where(slot)} ({ready.host}) would make")

    def _buried(self, slot: _Slot, reason: str) -> Iterator[Said]:
        """An actor is dead: its videos have had an attempt, and another takes its place while its node is alive."""
        yield Said(slot.number, "", Gone())
        self._ray.kill(slot.actor, no_restart=True)  # it may be out of reach only, and would go on
        if slot.node.id not in {node.id for node in alive_nodes(self._ray)}:
            reason = NO_NODE
        self._count_death(slot, reason)
        slot.starts = 0 if slot.is_ready else slot.starts + 1
        slot.actor, slot.call, slot.is_ready = None, None, False
        if slot.source is not self._fresh:
            self._suspects.extendleft(slot.source)
        slot.source = deque()
        held, slot.held = slot.held, {}
        for name, path in held.items():
            self._again(slot, name, path, reason)
        if reason != NO_NODE:
            if slot.starts == _STARTS:
                said = f"{reason}, {_STARTS} times before it had any video; see the logs of Ray"
                raise WorkerDied(f"{_where(slot)} {said}")
            self._start(slot)
            return
        self._slots.remove(slot)
        if not self._slots:
            raise WorkerDied(f"{_where(slot)} {reason}, and no node that this run began with is left. {KEPT}")

    def _count_death(self, slot: _Slot, reason: str) -> None:
        if reason == NO_NODE:
            return
        self._deaths += 1
        if self._deaths > _DEATHS:
            raise WorkerDied(f"{self._deaths} deaths in a row, the last: {_where(slot)} {reason}. {KEPT}")

    def _again(self, slot: _Slot, name: str, path: Path, reason: str) -> None:
        """A video's attempt was in vain: it is tried again alone, or lost. A node's loss was no attempt."""
        if reason == NO_NODE:
            (self._suspects if name in self._attempts else self._fresh).append((name, path))
            return
        self._attempts[name] = attempts = self._attempts.get(name, 0) + 1
        if reason == NO_MEMORY:
            self._starved.add(name)
        if attempts < ATTEMPTS:
            self._suspects.append((name, path))
            return
        self._open -= 1
        lost = Lost(name, path, reason, attempts, is_at_fault=name not in self._starved)
        self._lost.append(Said(slot.number, name, lost))

    def _told_late(self) -> Iterator[Said]:
        lost, self._lost = self._lost, []
        yield from lost


def on_node(node: str) -> Any:
    """What binds an actor or a task to the node with this id, and to no other where that one is lost."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)


def _where(slot: _Slot) -> str:
    return f"the worker on {slot.node.address}" + ("" if slot.device == "cpu" else f" ({slot.device})")


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]
