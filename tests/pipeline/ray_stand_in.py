"""A stand-in for Ray: what is done with a pool of actors, and what a cluster is asked for, without any process."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import ray.exceptions

from vadpipe.pipeline.on_ray.actor import Ready, Told, Wants

Act = Callable[["StandIn", "Actor", str], Any]
"""``act(ray, actor, video)``: what the actor tells of the video; an exception is what Ray raises when it dies."""


class Method:
    """A method of an actor as its handle shows it."""

    def __init__(self, body: Callable[..., Any]) -> None:
        self.remote = body

    def options(self, **_how: Any) -> Method:
        """Nothing that counts here."""
        return self


class Stream:
    """What a session sends; it ends when nothing is left."""

    def __init__(self) -> None:
        self.left: list[Any] = [Wants()]

    def __next__(self) -> Any:
        if not self.left:
            raise StopIteration
        said = self.left.pop(0)
        if isinstance(said, Exception):
            raise said
        return [said]


class Actor:
    """A handle. number: how many were made before it; node: the id of its node."""

    def __init__(self, ray: StandIn, number: int, node: str) -> None:
        self.number, self.node = number, node
        self.start = Method(lambda *_given: ray.starts(self))
        self.session = Method(self._session)
        self.give = Method(lambda video: self._given(ray, video))
        self._stream = Stream()

    def _session(self) -> Stream:
        self._stream = Stream()
        return self._stream

    def _given(self, ray: StandIn, video: Any) -> None:
        if video is not None:
            told = ray.act(ray, self, video[0])
            self._stream.left += [told] if isinstance(told, Exception) else [Told(video[0], told), Wants()]


class StandIn:
    """In the place of the module ``ray``."""

    exceptions = ray.exceptions

    def __init__(self, act: Act | None = None, nodes: tuple[str, ...] = ("n0",), silences: int = 0) -> None:
        """``silences``: looks at which nothing has come yet."""
        self.act: Act = act or (lambda *_: "done")
        self.alive = list(nodes)
        self.made: list[Actor] = []
        self.killed: list[Actor] = []
        self.starts: Callable[[Actor], Any] = lambda _actor: Ready((), "host", 1)
        self.silences = silences

    def remote(self, scheduling_strategy: str, **_how: Any) -> Any:
        def make() -> Actor:
            self.made.append(Actor(self, len(self.made), scheduling_strategy))
            return self.made[-1]

        return lambda _kind: SimpleNamespace(remote=make)

    def wait(self, calls: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        assert timeout > 0
        self.silences -= 1
        return ([], calls) if self.silences >= 0 else (calls[:1], calls[1:])

    def get(self, call: Any) -> Any:
        if isinstance(call, Exception):
            raise call
        return call

    def put(self, value: Any) -> Any:
        return value

    def kill(self, actor: Actor, *, no_restart: bool) -> None:
        assert no_restart
        self.killed.append(actor)

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"Alive": name in self.alive, "NodeID": name, "NodeManagerAddress": name, "Resources": {"CPU": 2.0}}
            for name in [*self.alive, "gone"]
        ]

    def available_resources(self) -> dict[str, float]:
        return {"memory": 1.0}  # of what is used up Ray says nothing

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 16.0, "GPU": 2.0}
