"""What a grid has measured, read back: hyper-parameters told from settings, spreads over seeds, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.planted import CONFIG, SPEC
from vadpipe.config import to_mapping
from vadpipe.errors import DataError, UsageError
from vadpipe.pipeline.figures.grid import curve_of, spread_of
from vadpipe.pipeline.reporting.grid import GridLine, read_grids


def run(seed: int, ap: float | None, **more: Any) -> dict[str, Any]:
    return {"seed": seed, "run": f"gone/r{seed}", "selection": "last epoch", "figures": {"frame_ap": ap}, **more}


def write(folder: Path, rows: list[tuple[str, list[dict[str, Any]]]], **more: Any) -> Path:
    path = folder / "table.json"
    told = {"grid": "table", "title": "T", "seeds": [0, 1], "rows": [{"name": n, "runs": r} for n, r in rows], **more}
    path.write_text(json.dumps(told))
    return path


def test_rows_of_one_hyper_parameter_are_a_curve_by_rising_value(tmp_path: Path) -> None:
    rows = [
        ("gamma = 1e-3", [run(0, 0.5), run(1, 0.7)]),
        ("gamma = 1e-5", [run(0, 0.4)]),
        ("m = 4", [run(0, 0.4)]),
        ("VOB + CMB", [run(0, None), run(1, 0.2, failure="out of memory")]),
    ]
    write(tmp_path, rows)
    (tmp_path / "other.json").write_text("[]")
    (table,) = read_grids(tmp_path)
    assert (table.name, table.title, table.seeds) == ("table", "T", 2)
    (name,) = table.curves  # m has one value only
    assert name == "gamma"
    points = curve_of(table.curves["gamma"], "frame_ap")
    assert [point[0] for point in points] == [1e-5, 1e-3]
    assert points[0][1:3] == pytest.approx((40.0, 0.0))
    assert points[1][1:3] == pytest.approx((60.0, 200**0.5))
    assert [line.name for line in table.others] == ["m = 4", "VOB + CMB"]
    assert table.others[1].values == {}
    assert table.failures == ("VOB + CMB, seed 1: out of memory",)
    assert table.cautions == (
        "whether the encoders of 5 runs were trained is not known: no run folder beside the grid",
    )
    assert read_grids(tmp_path / "table.json") == (table,)


def test_a_spread_is_in_percent() -> None:
    mean, deviation, values = spread_of(GridLine("x", {"a": (0.1, 0.3)}), "a")
    assert (mean, deviation) == pytest.approx((20.0, 200**0.5))
    assert values == pytest.approx((10.0, 30.0))


@pytest.mark.parametrize(
    "name", ["beta = x", "= 1", "beta", "beta = 1 2", "beta = 1e999", "beta = 1e300", "beta = 1e-300"]
)
def test_what_is_no_number_is_no_setting(name: str) -> None:
    assert GridLine(name, {}).setting is None


def test_the_run_folders_say_what_to_warn_of(tmp_path: Path) -> None:
    spec = json.loads(SPEC.to_json()) | {"weights": "random:0"}
    for seed, told in enumerate(({"provenance": {"text_weights": "random"}}, {})):
        (tmp_path / f"r{seed}").mkdir()
        described = {"config": to_mapping(CONFIG), "spec": spec, **told}
        (tmp_path / f"r{seed}" / "config.json").write_text(json.dumps(described))
    chosen = run(1, 0.5) | {"selection": "epoch 1 of 2, selected by frame AP on the TEST set"}
    write(tmp_path, [("a", [run(0, 0.4), chosen])])
    (table,) = read_grids(tmp_path)
    assert [text.split(";")[0] for text in table.cautions] == [
        "WARNING: the TEST set chose epochs of these runs",
        "WARNING: features of an UNTRAINED encoder (random weights)",
        "the class prompts were encoded by an untrained text tower (random weights)",
    ]
    write(tmp_path, [("a", [run(0, 0.4), chosen])], notes=["x", "WARNING: the TEST set chose"])
    (table,) = read_grids(tmp_path)
    assert [text for text in table.cautions if "TEST" in text] == ["WARNING: the TEST set chose"]


GIANT = json.dumps({"grid": "g", "rows": [{"name": "a", "runs": [{"figures": {"x": 10**400}}]}]})


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "no result of a grid"),
        ('{"grid": "g", "rows": []}', "at least one"),
        ('{"grid": "g", "rows": [{"runs": []}]}', "without a name"),
        ('{"grid": "g", "rows": [{"name": "a", "runs": 3}]}', "expected a list"),
        ('{"grid": "g", "rows": [{"name": "a", "runs": [{"figures": 3}]}]}', "expected names and numbers"),
        ('{"grid": "g", "rows": [{"name": "a", "runs": [{"figures": {"x": "y"}}]}]}', "expected a number"),
        ('{"grid": "g", "rows": [{"name": "a", "runs": [{"figures": {"x": NaN}}]}]}', "expected a number"),
        (
            f'{{"grid": "g", "rows": [{{"name": "a", "runs": [{{"figures": {{"x": 1{"0" * 400}}}}}]}}]}}',
            "too large a number",
        ),
        ('{"grid": "g", "rows": [{"name": "a", "runs": [{"figures": {"x": -1e300}}]}]}', r"got -1e\+300"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, told: str, message: str) -> None:
    path = tmp_path / "g.json"
    path.write_text(told)
    with pytest.raises(DataError, match=message):
        read_grids(path)


def test_a_folder_without_grids_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no results of a grid there; run vadpipe train --grid"):
        read_grids(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        read_grids(tmp_path / "gone")
