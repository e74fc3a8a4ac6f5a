"""vadpipe: weakly supervised video anomaly detection, from raw video to scored intervals.

Public values live in :mod:`vadpipe.tracks`; commands in :mod:`vadpipe.pipeline`. Importing this package imports no
torch, so that ``vadpipe --help`` answers at once.
"""

from vadpipe.errors import VadpipeError
from vadpipe.spec import FeatureSpec
from vadpipe.tracks import NORMAL, Detection, FeatureTrack, Interval, ScoreTrack, TimeGrid, VideoClip

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
]
