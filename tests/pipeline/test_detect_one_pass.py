"""One pass over a video, and extraction with scoring from the store, say the same, word for word."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.extractors import painted_videos
from tests.pipeline.detected import small_head
from tests.pipeline.mean_colour import MeanColour
from vadpipe.extractors import Extractor, create
from vadpipe.models.checkpoint import save_head
from vadpipe.pipeline.detecting.inputs import find_inputs
from vadpipe.pipeline.detecting.run import DetectRequest, detect_run
from vadpipe.pipeline.extract import ExtractOptions, extract, feature_spec
from vadpipe.store import FeatureStore

# Short windows, so that some overlap; thresholds that let an untrained head find something.
SETTINGS = ("window=2", "overlap=1", "r_cls=0", "r_ano=0")


@pytest.mark.parametrize(("encoder", "lengths"), [("mean-colour", {"long": 105, "short": 20}), ("clip", {"long": 40})])
def test_detect_and_extract_with_scoring_are_identical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str, lengths: dict[str, int]
) -> None:
    extractor: Extractor = MeanColour()
    if encoder == "clip":
        extractor = create(encoder, weights="random:0", batch_size=4)
    monkeypatch.setattr("vadpipe.pipeline.detecting.run.extractor_for", lambda _spec, _options: extractor)
    options = ExtractOptions()
    run, store = tmp_path / "run", FeatureStore(tmp_path / "features")
    save_head(run, small_head(feature_spec(extractor, options), seed=0))
    (tmp_path / "videos").mkdir()
    for name, frames in lengths.items():  # other videos share the batches of an extraction
        painted_videos.write(tmp_path / "videos" / f"{name}.mp4", frames)
    videos = find_inputs([tmp_path / "videos"])
    once = detect_run(DetectRequest(videos, run, out=tmp_path / "once", overrides=SETTINGS))
    assert sorted(extract(videos, store, [extractor], options).done) == sorted(videos)
    monkeypatch.setattr("vadpipe.pipeline.detecting.run.extractor_for", lambda *_: pytest.fail("all is stored"))
    monkeypatch.setattr(type(extractor), "encode", lambda *_: pytest.fail("all is stored"))
    stored = detect_run(DetectRequest(videos, run, out=tmp_path / "twice", features=store.root, overrides=SETTINGS))
    assert not once.failed
    assert not stored.failed
    for name in videos:
        first, second = ((tmp_path / where / f"{name}.json").read_bytes() for where in ("once", "twice"))
        assert first == second
        one, other = (np.load(tmp_path / where / f"{name}.scores.npz") for where in ("once", "twice"))
        assert all(np.array_equal(one[key], other[key]) for key in ("anomaly", "categories", "labels"))
    assert json.loads((tmp_path / "once" / "long.json").read_bytes())["intervals"]


def test_what_decoding_said_is_told_from_the_store_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor, options = MeanColour(), ExtractOptions()
    monkeypatch.setattr("vadpipe.pipeline.detecting.run.extractor_for", lambda _spec, _options: extractor)
    run, store = tmp_path / "run", FeatureStore(tmp_path / "features")
    save_head(run, small_head(feature_spec(extractor, options), seed=0))
    whole = painted_videos.write(tmp_path / "whole.mp4", 100, muxer={"movflags": "faststart"}, b_frames=0)
    short = tmp_path / "short.mp4"
    short.write_bytes(whole.read_bytes()[: -whole.stat().st_size // 20])
    request = DetectRequest({"short": short}, run, out=tmp_path / "once", overrides=SETTINGS)
    once = detect_run(request).found[0][1]
    assert any("the file ends early" in text for text in once["warnings"])
    assert list(extract({"short": short}, store, [extractor], options).done) == ["short"]
    monkeypatch.setattr("vadpipe.pipeline.detecting.run.extractor_for", lambda *_: pytest.fail("all is stored"))
    stored = replace(request, out=tmp_path / "twice", features=store.root)
    assert detect_run(stored).found[0][1]["warnings"] == once["warnings"]
    first, second = ((tmp_path / where / "short.json").read_bytes() for where in ("once", "twice"))
    assert first == second
