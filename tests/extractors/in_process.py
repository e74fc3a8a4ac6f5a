"""A decoder child without its process, for decoders whose import takes seconds: all of the child's code runs here."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import VideoError
from vadpipe.extractors import decode_child


class InProcess:
    """Stands in for :class:`vadpipe.extractors.decode_process.DecodeProcess`, for small videos: it decodes at once."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._messages: deque[dict[str, Any]] = deque()
        self._arrays: deque[NDArray[Any]] = deque()
        self._error: VideoError | None = None
        try:
            link: Any = self  # a Link, as far as the child uses one
            decode_child.serve(link, request)
        except VideoError as error:
            self._error = error

    # what the child sees: a Link

    def beat(self) -> None: ...

    def allow(self, seconds: float) -> None:
        """More time, for both sides."""

    def send(self, **message: Any) -> None:
        self._messages.append(message)

    def hand_over(self, data: NDArray[Any], **message: Any) -> None:
        self._arrays.append(data.copy())
        self.send(slot=0, **message)

    # what both see: the child gives the bytes of a slot, the parent those and their number

    def open_ring(self, slot_bytes: int, queue_slots: int = 0) -> InProcess:
        return self

    # what the parent sees: a DecodeProcess and its Ring

    def receive(self) -> dict[str, Any]:
        if not self._messages and self._error is not None:
            raise self._error
        return self._messages.popleft()

    def get(self, slot: int, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        array = self._arrays.popleft()
        assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
        return array

    def release_slot(self) -> None: ...

    def kill(self) -> None: ...

    def close(self) -> None: ...
