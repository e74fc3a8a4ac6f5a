"""The formulas of docs/scaling.md, with figures that can be checked in the head."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[1] / "benchmarks" / "archive_costs.py"


@pytest.fixture(scope="module")
def model() -> Any:
    spec = importlib.util.spec_from_file_location("archive_costs", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_an_archive_costs_what_its_videos_cost(model: Any) -> None:
    costs = model.Costs(
        start_s=2.0,
        decode_s_per_hour={"small": 100.0},
        bytes_per_hour={"small": 1e9},
        hash_s_per_gb=4.0,
        encode_s_per_row={"bfloat16": 0.1},
        store_s=1.0,
    )
    archive = model.Archive("ten hours", 10.0, 100, "small")
    rows = 10 * 3600 * 25 / 16
    seconds = {"start": 200.0, "hash": 40.0, "decode": 1000.0, "encode": rows / 10, "store": 100.0}
    assert model.cpu_seconds(archive, costs) == pytest.approx(seconds)
    assert model.wall_hours(archive, costs, 2) == pytest.approx((1340 + rows / 10) / 2 / 3600)
    # one GPU at 100 rows a second takes 562.5 s: with 1 core decoding is slower, with 8 it is the GPU
    assert model.wall_hours(archive, costs, 1, 1, 100.0) == pytest.approx(1340 / 3600)
    assert model.wall_hours(archive, costs, 8, 1, 100.0) == pytest.approx(562.5 / 3600)
    assert model.cores_per_gpu(archive, costs, 100.0) == pytest.approx(1340 / 562.5)
