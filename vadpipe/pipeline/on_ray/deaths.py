"""How processes end that Ray runs, in words that follow their name, and what can be done where they cannot begin."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vadpipe import __version__
from vadpipe.errors import DecoderCrashed, VideoError, WorkerDied
from vadpipe.pipeline.quarantine import Quarantine

NO_MEMORY = "was killed by Ray for want of memory on its node"
NO_NODE = "was lost with its node"
KEPT = "Finished videos are kept; run the same command to go on, with fewer --jobs if memory was short"

_NOT_IMPORTED = re.compile(r"(?:ModuleNotFoundError|ImportError): [^\n]+")


def reason_of(errors: Any, error: Exception) -> str:
    """Why a process died; :data:`NO_MEMORY` and :data:`NO_NODE` are no fault of its video. ``errors``: Ray's module."""
    if isinstance(error, errors.OutOfMemoryError) or "due to the node running low on memory" in str(error):
        return NO_MEMORY
    if isinstance(error, errors.NodeDiedError | errors.LocalRayletDiedError | errors.ActorUnschedulableError):
        return NO_NODE
    if "its node has died" in str(error):
        return NO_NODE
    return "died (killed, perhaps for want of memory, or crashed in a library)"


def not_imported(where: str, error: Exception) -> WorkerDied | None:
    """What to say where a process could not begin since its node lacks this program, or has another version of it."""
    if (found := _NOT_IMPORTED.search(str(error))) is None:
        return None
    return WorkerDied(
        f"{where} cannot be started: {found[0].strip()}. Every node of the Ray cluster needs vadpipe {__version__}, "
        "as here, in the Python that its Ray runs in; install it there"
    )


def lost_error(path: Path, reason: str, attempts: int, quarantine: Quarantine | None) -> VideoError:
    """What is said of a video that is not tried again; None: it is not put into quarantine, since memory was short."""
    if quarantine is not None:
        return quarantine.add(path, reason, attempts)
    return DecoderCrashed(
        f"{path}: {attempts} attempts ended with the death of a process; memory is short: one {NO_MEMORY}. It is not "
        "in quarantine: the same command tries it again, and fewer --jobs take less memory"
    )
