"""Whole sets of features compared: by id, one file's fault its own, figures over all rows, a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.pipeline.stored_features import CLIP, OTHER_DECODER, put, values
from vadpipe.cli import cli
from vadpipe.errors import UsageError
from vadpipe.pipeline.compare_features import EDGES, compare_features
from vadpipe.pipeline.compare_picture import draw_comparison
from vadpipe.pipeline.feature_sources import open_source

ROWS = np.cumsum(values(1, rows=40), axis=0)


def two_folders(tmp_path: Path) -> tuple[Path, Path]:
    """Videos: a the same, b late by 2 rows and one row shorter, c in A only, d in B only, e unreadable in B."""
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        np.save(folder / "a.npy", ROWS)
    np.save(one / "b.npy", ROWS[2:])
    np.save(other / "b.npy", ROWS[:-3])
    np.save(one / "c.npy", ROWS)
    np.save(other / "d.npy", ROWS)
    np.save(one / "e.npy", ROWS)
    (other / "e.npy").write_bytes(b"nothing")
    return one, other


def test_every_video_is_compared_with_its_own(tmp_path: Path) -> None:
    one, other = two_folders(tmp_path)
    heard: list[tuple[str, int]] = []
    found = compare_features(open_source(one), open_source(other), lambda name, total: heard.append((name, total)))
    assert {name: item.verdict for name, item in found.videos.items()} == {
        "a": "identical",
        "b": "shifted by +2 rows (B is late)",
    }
    assert (found.only_a, found.only_b, list(found.failed)) == (["c"], ["d"], ["e"])
    assert heard == [("a", 3), ("b", 3), ("e", 3)]
    assert found.rows_missing == 1
    for part in ("1 of 2 videos: identical", "1 of 2 videos: shifted by +2", "; 1 rows are on one side only"):
        assert part in found.verdict


def test_figures_over_all_weigh_rows_not_videos(tmp_path: Path) -> None:
    for side, sign in (("one", 1), ("other", -1)):
        (tmp_path / side).mkdir()
        np.save(tmp_path / side / "a.npy", ROWS[:30])
        np.save(tmp_path / side / "b.npy", sign * ROWS[:10])
    found = compare_features(open_source(tmp_path / "one"), open_source(tmp_path / "other"))
    told = found.summary()
    assert told["cosine_mean"] == pytest.approx((30 - 10) / 40)
    assert (told["rows"], told["unequal_rows"], told["cosine_min"]) == (40, 10, pytest.approx(-1))
    assert told["cosine_median"] == pytest.approx(1)
    assert (found.histogram.sum(), found.histogram[0], found.histogram[-1]) == (40, 30, 10)
    assert (EDGES[0], EDGES[-1]) == (0, 2)


def test_two_files_need_no_common_name_and_folders_do(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS)
    stored = next(put(tmp_path / "store", "v", ROWS).glob("*/*.h5"))
    found = compare_features(open_source(tmp_path / "a.npy"), open_source(stored))
    assert (list(found.videos), found.verdict) == (["a / v"], "identical")
    with pytest.raises(UsageError, match=r"no video in common, e\.g\. 'a' and 'v'"):
        compare_features(open_source(tmp_path / "a.npy"), open_source(tmp_path / "store"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["features", "compare", *(str(item) for item in arguments)])


def test_the_command_says_how_specifications_and_values_differ(tmp_path: Path) -> None:
    put(tmp_path / "store", "v", ROWS)
    noisy = (ROWS * (1 + 1e-3 * values(2, rows=40))).astype(np.float32)
    put(tmp_path / "store", "v", noisy, OTHER_DECODER)
    store, hashes = tmp_path / "store", ("--spec-hash", CLIP.hash8, "--spec-hash", OTHER_DECODER.hash8)
    done = run(store, store, *hashes, "--picture", tmp_path / "p.png")
    assert done.exit_code == 0, done.output
    assert "specification: decoder: 'pyav' in A, 'decord' in B" in done.stderr
    assert "same up to rounding" in done.stdout
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads(run(store / CLIP.folder, store / OTHER_DECODER.folder, "--json").stdout)
    assert (told["verdict"], told["spec_differences"]) == ("same up to rounding", {"decoder": ["pyav", "decord"]})
    assert told["by_video"]["v"]["shape_a"] == [40, 8]
    assert len(told["cosine_by_lag"]) == 17
    assert isinstance(run(store, store).exception, UsageError)
    assert isinstance(run(store, store, *hashes, "--spec-hash", "0").exception, UsageError)


def test_exit_codes_tell_of_unusable_files(tmp_path: Path) -> None:
    one, other = two_folders(tmp_path)
    done = run(one, other)
    assert done.exit_code == 3
    assert "failed: e: " in done.stderr
    assert "only in A: c" in done.stderr
    for name in "ab":
        (other / f"{name}.npy").unlink()
    assert run(one, other).exit_code == 1


def test_a_picture_is_drawn_of_anything(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS)
    np.save(tmp_path / "b.npy", ROWS[:, :4])
    found = compare_features(open_source(tmp_path / "a.npy"), open_source(tmp_path / "b.npy"))
    draw_comparison(tmp_path / "p.svg", found)
    assert found.verdict == "other features: 8 and 4 columns"
    assert "<svg" in (tmp_path / "p.svg").read_text()
    with pytest.raises(UsageError, match="suffix"):
        draw_comparison(tmp_path / "p.txt", found)
