"""What extraction promises for every decoder, and for every registered encoder: rows are the grid's, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.extractors import painted_videos
from tests.pipeline.mean_colour import MeanColour
from vadpipe.extractors import EXTRACTORS, Extractor, create
from vadpipe.extractors.compute import cpu_computes_bfloat16
from vadpipe.pipeline.extract import Extracted, ExtractOptions, extract_tracks
from vadpipe.sound import PRESENT
from vadpipe.tracks import FeatureTrack

DECODERS = ("pyav", "decord", "torchcodec")
DTYPE = "bfloat16" if cpu_computes_bfloat16() else "float32"


def tracks_of(path: Path, decoder: str, *extractors: Extractor, jobs: int = 1) -> tuple[FeatureTrack, ...]:
    (result,) = extract_tracks([path], extractors, ExtractOptions(decoder=decoder, jobs=jobs))
    assert isinstance(result, Extracted), result
    return result.tracks


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("frames", "size"), [(1, (64, 64)), (15, (63, 65)), (16, (65, 63)), (17, (33, 31)), (40, (64, 80))]
)
def test_rows_are_the_grids(tmp_path: Path, decoder: str, frames: int, size: tuple[int, int]) -> None:

    pixels = "yuv444p" if any(side % 2 for side in size) else "yuv420p"  # odd sides need every pixel's colour
    path = painted_videos.write(tmp_path / "a.mp4", frames, size=size, pixels=pixels)
    picture, snippets = tracks_of(path, decoder, MeanColour(), MeanColour(2, frames=16, stream="snippets"))
    again, others = tracks_of(
        path,
        decoder,
        MeanColour(1),
        MeanColour(8, frames=16, stream="snippets"),
        jobs=2 if decoder != "torchcodec" else 1,
    )
    for track in (picture, snippets):
        assert (track.grid.num_frames, len(track.data)) == (frames, -(-frames // 16))
        assert track.spec.decoder == decoder
    np.testing.assert_array_equal(picture.data, again.data)
    np.testing.assert_array_equal(snippets.data, others.data)


@pytest.mark.parametrize("stream", sorted(EXTRACTORS))
def test_every_encoder_goes_the_whole_way(tmp_path: Path, stream: str) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 16000)).astype(np.float32)
    path = painted_videos.write(tmp_path / "a.mp4", 17, size=(66, 50), sound=sound)
    encoder = create(stream, weights="random", dtype=DTYPE, batch_size=2)
    (track,) = tracks_of(path, "pyav", encoder)
    assert track.spec.stream == stream
    assert track.data.shape == (2, track.spec.dim)
    assert track.data.std() > 0
    assert not np.array_equal(track.data[0], track.data[1])
    if encoder.needs.audio_rate:
        assert track.states is not None
        assert track.states.tolist() == [PRESENT, PRESENT]
