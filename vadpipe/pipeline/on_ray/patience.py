"""What a run says that waits for a cluster on which others are at work."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_QUIET_S = 15.0


class Patience:
    """Tells once, where nothing is heard for some seconds, what is waited for; ``say`` None: nobody wants to know."""

    def __init__(self, say: Callable[[str], None] | None, now: Callable[[], float] = time.monotonic) -> None:
        self._say, self._now = say, now
        self._since = now()

    def heard(self) -> None:
        """Something has come."""
        self._since = self._now()

    def done(self) -> None:
        """A video was finished: the run has what it needs."""
        self._say = None

    def wait(self, ray: Any, kind: str, who: str) -> None:
        """Nothing has come; ``who`` takes one of ``kind``, ``CPU`` or ``GPU``. Say so where none is free."""
        if self._say is None or self._now() - self._since < _QUIET_S:
            return
        free, there = ray.available_resources().get(kind, 0), ray.cluster_resources().get(kind, 0)
        if free < 1:
            self._say(
                f"waiting: nothing has come for {_QUIET_S:.0f} s. Each {who} takes a {kind} of the Ray cluster, of "
                f"which {free:g} of {there:g} are free; ray status tells who has them"
            )
            self._say = None
