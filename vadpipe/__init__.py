"""vadpipe: weakly supervised video anomaly detection, from raw video to scored intervals.

Public values live in :mod:`vadpipe.tracks`; the commands as functions in :mod:`vadpipe.api` (docs/python.md); what both
call in :mod:`vadpipe.pipeline`. Importing this package imports neither torch nor numpy (names are resolved when they
are used), so that ``vadpipe --help`` answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vadpipe.api import detect, evaluate, extract, load, train
    from vadpipe.detection import Detection
    from vadpipe.errors import VadpipeError
    from vadpipe.spec import FeatureSpec
    from vadpipe.tracks import NORMAL, FeatureTrack, Interval, ScoreTrack, TimeGrid, VideoClip

__version__ = "0.1.0"

__all__ = [
    "NORMAL",
    "Detection",
    "FeatureSpec",
    "FeatureTrack",
    "Interval",
    "ScoreTrack",
    "TimeGrid",
    "VadpipeError",
    "VideoClip",
    "__version__",
    "detect",
    "evaluate",
    "extract",
    "load",
    "train",
]

_HOME = {"Detection": "vadpipe.detection", "VadpipeError": "vadpipe.errors", "FeatureSpec": "vadpipe.spec"}
_HOME |= dict.fromkeys(("detect", "evaluate", "extract", "load", "train"), "vadpipe.api")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "vadpipe.tracks")), name)
