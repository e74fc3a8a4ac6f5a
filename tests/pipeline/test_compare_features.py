"""Whole sets of features compared: by id, one file's fault its own, figures over all rows, a picture."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.pipeline.stored_features import CLIP, FIVE_CROPS, OTHER_DECODER, SOUND, put, values
from vadpipe.cli import cli
from vadpipe.errors import UsageError
from vadpipe.pipeline.features.compare_features import EDGES, compare_features
from vadpipe.pipeline.features.compare_picture import draw_comparison
from vadpipe.pipeline.features.sources import open_source
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, TimeGrid

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
        "b": "shifted by +2 rows (B is late); 1 rows are on one side only",
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


def test_the_best_lag_weighs_the_rows_that_count(tmp_path: Path) -> None:
    """Video a: 30 rows, all but 2 empty, opposite. Video b: 10 rows, the same. 12 rows count."""
    few = np.zeros((30, 8), np.float32)
    few[:2] = ROWS[:2]
    for side, sign in (("one", 1), ("other", -1)):
        (tmp_path / side).mkdir()
        np.save(tmp_path / side / "a.npy", sign * few)
        np.save(tmp_path / side / "b.npy", ROWS[:10])
    found = compare_features(open_source(tmp_path / "one"), open_source(tmp_path / "other"))
    told = found.to_mapping()
    assert told["cosine_by_lag"]["+0"] == pytest.approx((10 - 2) / 12)
    assert told["cosine_by_lag"]["+0"] == pytest.approx(told["cosine_mean"])


def test_crops_are_known_by_their_numbers_wherever_they_lie(tmp_path: Path) -> None:
    crops = values(3, rows=6, crops=10)
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    for number in range(10):
        np.save(other / f"v__{number}.npy", crops[number])
    for number in (1, 5):
        np.save(one / f"v__{number}.npy", crops[number])
    found = compare_features(open_source(one), open_source(other))
    assert found.verdict == "identical; 1 videos have crops on one side only; 48 rows are on one side only"
    assert (found.rows_missing, found.crops_missing) == (48, 1)
    assert found.to_mapping()["by_video"]["v"]["only_crops_b"] == (0, 2, 3, 4, 6, 7, 8, 9)
    put(tmp_path / "store", "v", crops[:5], FIVE_CROPS)
    found = compare_features(open_source(tmp_path / "store"), open_source(one))
    assert (found.videos["v"].likeness, found.videos["v"].only_crops_b) == ("identical", (5,))
    (one / "v__1.npy").unlink()
    assert compare_features(open_source(one), open_source(other)).verdict == "crop 5 of B fits best: identical"


def test_what_differs_beside_the_values_is_said(tmp_path: Path) -> None:
    """The same zeros: another rate, and rows that hold no sound on one side."""
    for store, fps, states in (("one", 25, [0, 1, 2]), ("other", 30, [0, 2, 2])):
        track = FeatureTrack(np.zeros((3, 8), np.float32), TimeGrid(Fraction(fps), 40), SOUND, "v")
        FeatureStore(tmp_path / store).write(replace(track, states=np.array(states, np.uint8)))
    done = run(tmp_path / "one", tmp_path / "other")
    assert done.exit_code == 0
    assert "time: the rows of 1 videos lie at other times in A and B, e.g. v" in done.stderr
    assert "sound: 1 rows hold another state of sound in A than in B" in done.stderr
    told = json.loads(run(tmp_path / "one", tmp_path / "other", "--json").stdout)
    assert (told["other_time_grids"], told["rows_of_other_sound_states"]) == (["v"], 1)
    assert told["verdict"] == "identical"
    told = json.loads(run(tmp_path / "one", tmp_path / "one", "--json").stdout)
    assert (told["other_time_grids"], told["rows_of_other_sound_states"]) == ([], 0)


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
