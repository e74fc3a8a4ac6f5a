"""How good scores and intervals are: AP and AUC of frames, mAP@IoU of intervals, false alarms, chance, 95 % intervals.

``ranking`` has AP and AUC, ``strict`` and ``vadclip`` the two protocols of mAP, ``matching`` what both share.
Plain arrays and intervals in, numbers out; nothing here reads a file or knows a data set.
"""

from __future__ import annotations

from vadpipe.pipeline.metrics.alarms import FalseAlarms, count_runs, false_alarms
from vadpipe.pipeline.metrics.bootstrap import (
    bootstrap_counts,
    bootstrap_map,
    bootstrap_ranking,
    percentile_interval,
)
from vadpipe.pipeline.metrics.matching import IOU_THRESHOLDS, Claims
from vadpipe.pipeline.metrics.ranking import Ranking, count_frames, frame_ap, frame_auc, rank_frames, rank_snippets
from vadpipe.pipeline.metrics.strict import (
    IntervalsById,
    StrictMap,
    chance_map,
    strict_claims,
    strict_map,
    strict_of,
)
from vadpipe.pipeline.metrics.vadclip import VadclipMap, VadclipTables, vadclip_map, vadclip_tables

__all__ = [
    "IOU_THRESHOLDS",
    "Claims",
    "FalseAlarms",
    "IntervalsById",
    "Ranking",
    "StrictMap",
    "VadclipMap",
    "VadclipTables",
    "bootstrap_counts",
    "bootstrap_map",
    "bootstrap_ranking",
    "chance_map",
    "count_frames",
    "count_runs",
    "false_alarms",
    "frame_ap",
    "frame_auc",
    "percentile_interval",
    "rank_frames",
    "rank_snippets",
    "strict_claims",
    "strict_map",
    "strict_of",
    "vadclip_map",
    "vadclip_tables",
]
