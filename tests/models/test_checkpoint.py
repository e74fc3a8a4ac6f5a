"""Checkpoints on disk: heads with a text tower beside them, heads of before, and files that are not what they say."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vadpipe.config import RunConfig
from vadpipe.errors import CheckpointError, UsageError
from vadpipe.head_config import VadClipConfig
from vadpipe.models.checkpoint import TOWER_FILE, TrainedHead, load_head, model_card, save_head
from vadpipe.models.heads import build_head
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.text_tower import TextTower
from vadpipe.spec import FeatureSpec

CONFIG = RunConfig(head="vadclip", model=VadClipConfig(dim=32, layers=1, window=4, zero_init=False))
SPEC = FeatureSpec("clip", 12, "x", "random:0")
TOKENS = torch.zeros(3, 77, dtype=torch.int64)
TOKENS[:, :3] = torch.tensor([[8, 1, 9], [8, 2, 9], [8, 3, 9]])  # start, a name, end (the largest number)


def tower() -> TextTower:
    torch.manual_seed(1)
    made = TextTower(32, 2, 2, 10, 77, 32)
    values = {name: 0.1 * torch.randn(value.shape) for name, value in made.state_dict().items()}
    return TextTower.from_state(values, heads=1)


def saved(folder: Path, *, keep: bool = True) -> TrainedHead:
    clip = tower()
    torch.manual_seed(0)
    head = build_head(CONFIG, HeadInputs(12, torch.zeros(3, 32), 0, TOKENS, clip)).eval()
    trained = TrainedHead(head, CONFIG, SPEC, ("normal", "fighting", "riot"), "none", {"caution": "careful"})
    save_head(folder, trained, (clip, TOKENS) if keep else None)
    return trained


def test_a_head_scores_without_its_tower_and_learns_with_it(tmp_path: Path) -> None:
    made = saved(tmp_path).head
    video, lengths = torch.randn(2, 6, 12), torch.tensor([6, 4])
    for with_tower in (False, True):
        loaded = load_head(tmp_path, with_tower=with_tower)
        assert loaded.caution == "careful"
        assert torch.equal(loaded.head(video, lengths).categories, made(video, lengths).categories)
        assert loaded.head.state_dict().keys() == made.state_dict().keys()
    trained = load_head(tmp_path, with_tower=True).head.train()
    out = trained(video, lengths)
    trained.loss(out, torch.eye(3)[:2], lengths)["total"].backward()
    assert trained.get_parameter("prompts.weight").grad.abs().sum() > 0
    with pytest.raises(UsageError, match="can score, but not train"):
        load_head(tmp_path).head.train()(video, lengths)


def test_a_tower_that_is_missing_damaged_or_exchanged_is_said(tmp_path: Path) -> None:
    saved(tmp_path / "a")
    saved(tmp_path / "b", keep=False)
    assert not (tmp_path / "b" / TOWER_FILE).exists()
    with pytest.raises(CheckpointError, match="written without its text tower"):
        load_head(tmp_path / "b", with_tower=True)
    path = tmp_path / "a" / TOWER_FILE
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(CheckpointError, match="another sha256"):
        load_head(tmp_path / "a", with_tower=True)
    load_head(tmp_path / "a")  # scoring does not look at it
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_head(tmp_path / "a", with_tower=True)


def test_heads_of_before_there_was_audio_are_read(tmp_path: Path) -> None:
    saved(tmp_path, keep=False)
    path = tmp_path / "config.json"
    described = json.loads(path.read_text())
    assert described.pop("audio_spec") is None
    path.write_text(json.dumps(described))
    assert load_head(tmp_path).audio_spec is None
    path.write_text(json.dumps({**described, "surprise": 1}))
    with pytest.raises(CheckpointError, match=r"is not vadpipe\.head/1"):
        load_head(tmp_path)


def test_settings_that_ask_for_more_than_the_file_holds_cost_no_memory(tmp_path: Path) -> None:
    saved(tmp_path, keep=False)
    described = json.loads((tmp_path / "config.json").read_text())
    described["config"]["model"]["max_snippets"] = 1 << 50  # positions of 128 PiB
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match=r"instead of \(1125899906842624, 32\)"):
        load_head(tmp_path)


def test_settings_with_millions_of_layers_are_refused_at_once(tmp_path: Path) -> None:
    saved(tmp_path, keep=False)
    described = json.loads((tmp_path / "config.json").read_text())
    described["config"]["model"]["layers"] = 10_000_000
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match=r"model\.layers: got 10000000, expected 1 … 64"):
        load_head(tmp_path)


def test_the_model_card_is_a_table_and_says_whose_word_it_gives(tmp_path: Path) -> None:
    trained = saved(tmp_path, keep=False)
    assert "\nAccording to its authors, trained on video-level labels only" in (tmp_path / "README.md").read_text()
    own = model_card(replace(trained, provenance={"prompts": "a | b\nc"}), "x")
    assert "\nTrained on video-level labels only" in own
    assert "| prompts | a \\| b c |" in own


@pytest.mark.parametrize("name", ["model.safetensors", TOWER_FILE])
def test_a_digest_does_not_make_bad_bytes_readable(tmp_path: Path, name: str) -> None:
    saved(tmp_path)
    (tmp_path / name).write_bytes(b"no tensors")
    described = json.loads((tmp_path / "config.json").read_text())
    key = "sha256" if name == "model.safetensors" else "tower_sha256"
    described[key] = hashlib.sha256(b"no tensors").hexdigest()
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match="no readable safetensors"):
        load_head(tmp_path, with_tower=True)


def test_a_head_whose_first_stream_is_sound_is_refused(tmp_path: Path) -> None:
    trained, place = saved(tmp_path), tmp_path / "config.json"
    sound = replace(SPEC, stream="wav2clip", audio_window="1s@16000Hz")
    with pytest.raises(UsageError, match="cannot be a head's first stream"):
        replace(trained, spec=sound)
    described = json.loads(place.read_text())
    place.write_text(json.dumps(described | {"spec": json.loads(sound.to_json())}))
    with pytest.raises(CheckpointError, match="cannot be a head's first stream"):
        load_head(tmp_path)
