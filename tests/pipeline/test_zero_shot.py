"""Own categories from their text to intervals: found where they are planted, and nothing that was trained changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import Tensor

from tests.extractors import painted_videos
from vadpipe.cli import cli
from vadpipe.config import RunConfig, TrainConfig, run_config
from vadpipe.errors import SpecMismatch, UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.models.checkpoint import TrainedHead, load_head, save_head
from vadpipe.models.heads import build_head
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.text_tower import TextTower
from vadpipe.pipeline.detecting import zero_shot
from vadpipe.pipeline.detecting.categories import OwnCategory
from vadpipe.pipeline.detecting.zero_shot import with_own_categories
from vadpipe.pipeline.intervals import find_intervals
from vadpipe.pipeline.score import score_track
from vadpipe.pipeline.text import text_features
from vadpipe.pipeline.train import fit
from vadpipe.pipeline.training.bags import Bags
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import NORMAL, FeatureTrack, ScoreTrack, TimeGrid

DIM = 32
SPEC = FeatureSpec("planted", DIM, "imported", "imported")
CLASSES = (NORMAL, "fire", "flood", "fight", "robbery", "riot", "crash")
HELD = "street race"
WORDS = (*CLASSES, HELD, "cars racing", "a dog")
TRAIN = TrainConfig(lr=3e-3, batch_size=16, epochs=12, select="last", validation_share=0.0)
OPEN = {"dim": DIM, "heads": 4, "memory_blocks": 1, "dropout": 0.0, "zero_init": False}


def small_tower() -> TextTower:
    """A random text tower of one block that tells words apart."""
    generator = torch.Generator().manual_seed(5)
    shapes = {name: value.shape for name, value in TextTower(DIM, 1, 2, 64, 77, DIM).state_dict().items()}
    state = {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    state |= {name: torch.ones(shape) for name, shape in shapes.items() if "ln_" in name and name.endswith("weight")}
    state |= {name: torch.zeros(shape) for name, shape in shapes.items() if name.endswith("bias")}
    state["token_embedding.weight"] = torch.randn(64, DIM, generator=generator)
    state["token_embedding.weight"][62:] *= 0.05
    return TextTower.from_state(state, heads=2)


def small_tokens(texts: Sequence[str]) -> Any:
    tokens = np.zeros((len(texts), 77), dtype=np.int64)
    for row, text in enumerate(texts):
        tokens[row, :4] = (62, 1 + 2 * WORDS.index(text), 2 + 2 * WORDS.index(text), 63)
    return tokens


def small_features(texts: Sequence[str], _spec: Any, weights: str | None, _device: str) -> tuple[Tensor, str]:
    seed = {"random:0": 0, "random:1": 1}[weights or ""]
    return torch.randn(len(WORDS), DIM, generator=torch.Generator().manual_seed(seed))[
        [WORDS.index(text) for text in texts]
    ], "random:0"


@pytest.fixture
def _small_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero_shot, "tokenize", small_tokens)
    monkeypatch.setattr(zero_shot, "text_features", small_features)
    monkeypatch.setattr(zero_shot, "text_tower", lambda *_args: (small_tower(), "random:0"))


def planted(rng: np.random.Generator, direction: Tensor | None) -> tuple[FeatureTrack, np.ndarray]:
    """Features of a video, noise with a text's direction in 5 snippets, and where that is."""
    grid = TimeGrid(Fraction(25), int(rng.integers(240, 400)))
    rows, true = rng.standard_normal((grid.num_snippets, DIM)).astype(np.float32), np.zeros(grid.num_snippets, bool)
    if direction is not None:
        start = int(rng.integers(1, grid.num_snippets - 6))
        true[start : start + 5] = True
        rows[true] += 1.5 * DIM**0.5 * F.normalize(direction, dim=0).numpy()
    return FeatureTrack(rows, grid, SPEC, "x"), true


def config(head: str, **model: Any) -> RunConfig:
    return replace(run_config({"head": head, "stream": "planted", "model": model}), train=TRAIN)


def trained(folder: Path, settings: RunConfig, inputs: HeadInputs, text: Tensor) -> TrainedHead:
    """A head that learned from videos in which the texts' directions are planted."""
    rng, store, records = np.random.default_rng(0), FeatureStore(folder / "features"), []
    for index in range(48):
        place = 0 if index % 2 else 1 + index // 2 % (len(CLASSES) - 1)
        track, _ = planted(rng, text[place] if place else None)
        store.write(replace(track, video_id=f"v{index}"))
        records.append(VideoRecord(f"v{index}", frozenset({CLASSES[place]})))
    facts = {"text_weights": "random:0"}
    return fit(Bags(store, SPEC, records, CLASSES), None, inputs, settings, folder / "run", provenance=facts).trained


def lec_vad(folder: Path, **model: Any) -> tuple[TrainedHead, Tensor]:
    text, _ = small_features(WORDS, SPEC, "random:0", "cpu")
    return trained(folder, config("lec_vad", **OPEN, **model), HeadInputs(DIM, text[: len(CLASSES)]), text), text


def vadclip(folder: Path) -> tuple[TrainedHead, Tensor]:
    tower, tokens = small_tower(), torch.from_numpy(small_tokens(WORDS))
    text, count = tower.encode(tokens), len(CLASSES)
    settings = config("vadclip", dim=DIM, layers=1, prompt_prefix=2, prompt_postfix=0, residual=True, zero_init=False)
    settings = replace(settings, train=replace(TRAIN, epochs=8))
    return trained(folder, settings, HeadInputs(DIM, text[:count], 0, tokens[:count], tower), text), text


@pytest.mark.parametrize(("make", "least"), [(lec_vad, 4), (vadclip, 1)])
@pytest.mark.usefixtures("_small_text")
def test_a_held_out_category_is_found_by_its_text(tmp_path: Path, make: Any, least: int) -> None:
    head, text = make(tmp_path)
    own = with_own_categories(load_head(head.folder), [OwnCategory(HELD), OwnCategory("dogs", ("a dog",))])
    assert own.classes == (*CLASSES, HELD, "dogs")
    assert own.zero_shot == {HELD, "dogs"}
    assert own.trained_classes == CLASSES
    rng, scores, dogs, truth, hits = np.random.default_rng(7), [], [], [], 0
    for place in [WORDS.index(HELD), 1, 2, 3] * 5:
        track, true = planted(rng, text[place])
        before = score_track(head.head, track, head.classes)
        after = score_track(own.head, track, own.classes)
        np.testing.assert_array_equal(after.categories[:, : len(CLASSES)], before.categories)
        np.testing.assert_array_equal(after.anomaly, before.anomaly)
        intervals = find_intervals(after, own.config.detect)
        hits += place == WORDS.index(HELD) and HELD in {item.category for item in intervals}
        of_trained = [item for item in intervals if item.category in CLASSES]
        assert of_trained == list(find_intervals(before, head.config.detect))
        scores += list(after.categories[:, -2])
        dogs += list(after.categories[:, -1])
        truth += list(true if place == WORDS.index(HELD) else 0 * true)
    found, mask = np.array(scores), np.array(truth, dtype=bool)
    above = (found[mask][:, None] > found[~mask]).mean()  # share of pairs in the right order
    assert above > 0.9
    assert hits >= least  # of 5 videos
    assert found[mask].mean() > 3 * found[~mask].mean()
    assert np.array(dogs)[mask].mean() < found[mask].mean()


def untrained(folder: Path, gate: float = 0.01, **settings: Any) -> TrainedHead:
    text, _ = small_features(CLASSES, SPEC, "random:0", "cpu")
    torch.manual_seed(0)
    model = {**OPEN, "zero_init": True, **settings}
    run = config("lec_vad", **model)
    head = build_head(run, HeadInputs(DIM, text)).eval()
    if head.cross_modal_gate is not None:
        head.cross_modal_gate.data.fill_(gate)
    made = TrainedHead(head, run, SPEC, CLASSES, "last", {"text_weights": "random:0"})
    save_head(folder, made)
    return load_head(folder)


@pytest.mark.usefixtures("_small_text")
def test_what_is_trained_stays_trained_and_is_said(tmp_path: Path) -> None:
    head, told = untrained(tmp_path), list[str]()
    own = with_own_categories(head, [OwnCategory("Fire", ("a dog",)), OwnCategory(HELD)], say=told.append)
    assert own.classes == (*CLASSES, HELD)
    assert any("trained on 'fire'" in text for text in told)
    assert own.provenance["own_categories"] == {HELD: [HELD]}
    assert (own.sha256, head.zero_shot, head.head.own_count) == (head.sha256, frozenset(), 0)
    assert with_own_categories(head, [OwnCategory("fire")]) is head
    with pytest.raises(UsageError, match="has own categories already"):
        with_own_categories(own, [OwnCategory("dogs", ("a dog",))])


@pytest.mark.usefixtures("_small_text")
def test_several_prompts_are_averaged(tmp_path: Path) -> None:
    own = with_own_categories(untrained(tmp_path), [OwnCategory(HELD, ("cars racing", "a dog"))])
    parts, _ = small_features(["cars racing", "a dog"], SPEC, "random:0", "cpu")
    wanted = F.normalize(F.normalize(parts, dim=1).mean(0), dim=0) * DIM**0.5
    torch.testing.assert_close(own.head.own_text, wanted[None])


@pytest.mark.usefixtures("_small_text")
def test_other_text_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecMismatch, match="not the ones that this head's own text came from"):
        with_own_categories(untrained(tmp_path), [OwnCategory(HELD)], "random:1")
    unknown = replace(untrained(tmp_path), provenance={"text_weights": "mine.pt"})
    with pytest.raises(UsageError, match=r"came from \(mine.pt\).*--weights clip=PATH"):
        with_own_categories(unknown, [OwnCategory(HELD)])


@pytest.mark.parametrize(
    ("gate", "settings", "said"),
    [
        (0.0, {}, "learned to read nothing"),
        (-0.01, {}, "the opposite of likeness"),
        (0.0, {"cross_modal_branch": False}, "has no text alignment"),
    ],
)
@pytest.mark.usefixtures("_small_text")
def test_an_alignment_that_says_nothing_is_refused(
    tmp_path: Path, gate: float, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=f"{said}.*zero_init=false.*leave out --categories"):
        with_own_categories(untrained(tmp_path, gate, **settings), [OwnCategory(HELD)])


@pytest.mark.usefixtures("_small_text")
def test_a_weak_alignment_and_foreign_features_are_warned_of(tmp_path: Path) -> None:
    head = untrained(tmp_path, 1e-4)
    notes = with_own_categories(head, [OwnCategory(HELD)]).notes
    assert "cannot score over 0.13" in notes[0]  # 1 / (1 + 7 exp(-2 * 0.003 / 0.07)) = 0.135
    assert "vision-only branch" in notes[1]
    alone = untrained(tmp_path / "alone", vision_only_branch=False)
    assert not any("vision-only" in text for text in with_own_categories(alone, [OwnCategory(HELD)]).notes)
    for stream, model, dim, words in (
        ("i3d", "i3d", DIM, "are not CLIP's"),
        ("mine", "imported", DIM, "are not CLIP's"),
        ("mine", "imported", 512, "projects features"),
    ):
        other = replace(head, spec=FeatureSpec(stream, dim, model, "imported"))
        assert words in zero_shot._unlike(other)
    assert zero_shot._unlike(replace(head, spec=FeatureSpec("clip", DIM, "clip-vit-b-16", "openai"))) == ""


def test_an_even_share_of_trained_categories_does_not_know_own_ones() -> None:
    rows = np.tile(np.array([0.3, 0.4, 0.3, 0.6, 0.4], np.float32), (6, 1))  # normal, 2 trained, 2 own
    grid = TimeGrid(Fraction(25), 96)
    labels = (NORMAL, "a", "b", "mine", "yours")
    track = ScoreTrack(np.zeros(6, np.float32), rows, labels, grid, frozenset({"mine", "yours"}))
    assert (track.even_share("a"), track.even_share("mine")) == (1 / 3, 1 / 2)
    settings = RunConfig().detect
    assert {item.category for item in find_intervals(track, settings)} == {"a", "mine"}
    assert find_intervals(replace(track, categories=rows - 0.11), settings) == ()
    assert find_intervals(track, replace(settings, r_ano=0.65)) == ()
    with pytest.raises(ValueError, match="zero_shot"):
        replace(track, zero_shot=frozenset({NORMAL}))


def test_the_command_labels_own_categories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With CLIP's own tokens and a seeded text tower; wide enough for it, otherwise small."""
    spec, classes = FeatureSpec("wide", 512, "imported", "imported"), (NORMAL, "riot")
    text, weights = text_features(classes, spec, "random:0")
    settings = run_config({"head": "lec_vad", "stream": "wide", "model": {**OPEN, "dim": 512}})
    torch.manual_seed(0)
    head = build_head(settings, HeadInputs(512, text)).eval()
    save_head(tmp_path / "run", TrainedHead(head, settings, spec, classes, "last", {"text_weights": weights}))
    monkeypatch.chdir(tmp_path)
    painted_videos.write(tmp_path / "clip.mp4", 80)
    rows = np.random.default_rng(0).standard_normal((5, 512)).astype(np.float32)
    FeatureStore(tmp_path / "features").write(FeatureTrack(rows, TimeGrid(Fraction(25), 80), spec, "clip"))
    (tmp_path / "cats.toml").write_text('[[category]]\nname = "Überfall 火"\nprompts = ["a robbery", "an attack"]\n')
    command = ["detect", "clip.mp4", "--run", "run", "--features", "features", "--device", "cpu", "--set=r_ano=0"]
    for name, more in (("without", []), ("with", ["--categories", "cats.toml", "--set=r_cls=0"])):
        ended = CliRunner().invoke(cli, [*command, "--out", f"{name}.json", *more], catch_exceptions=False)
        assert ended.exit_code == 0, ended.output
    content = json.loads(Path("with.json").read_text())
    assert content["model"]["zero_shot"] == ["Überfall 火"]
    assert any("whether the imported features" in text for text in content["warnings"])
    with np.load("without.scores.npz") as before, np.load("with.scores.npz") as after:
        np.testing.assert_array_equal(after["categories"][:, :2], before["categories"])
        np.testing.assert_array_equal(after["anomaly"], before["anomaly"])
        assert after["labels"].tolist() == [*classes, "Überfall 火"]
