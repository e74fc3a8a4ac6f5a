"""What is said where memory runs out, of a GPU or of the machine: an error that a user can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vadpipe.errors import VadpipeError

_WORDS = ("can't allocate memory", "ALLOC_FAILED")  # torch's on a processor; of CUDA's libraries


@contextmanager
def memory_watched(what: str, advice: str) -> Iterator[None]:
    """Turn an error for want of memory into a :class:`VadpipeError` that names the work and what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_about_memory(error):
            raise
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise VadpipeError(
            f"{what}: out of memory. Finished videos are kept; {advice}. It said: {said:.300}"
        ) from error


def _is_about_memory(error: MemoryError | RuntimeError) -> bool:
    if isinstance(error, MemoryError):
        return True
    import torch

    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in _WORDS)
