"""Settings: unknown keys and wrong types are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vadpipe.config import RunConfig, load_config, run_config, to_mapping
from vadpipe.errors import UsageError
from vadpipe.head_config import LecVadConfig


def test_defaults_are_the_papers() -> None:
    config = RunConfig()
    assert isinstance(config.model, LecVadConfig)
    assert (config.train.lr, config.train.batch_size, config.train.epochs) == (3e-5, 64, 10)
    assert (config.model.memory_blocks, config.model.memory_momentum, config.model.gmm_beta) == (4, 0.99, 0.7)
    assert (config.model.lambda_gmm, config.model.gamma_reg) == (0.3, 1e-4)
    assert (config.detect.r_cls, config.detect.r_ano, config.detect.nms_iou) == (0.1, 0.2, 0.5)


def test_file_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('classes = ["normal", "riot"]\n[model]\ngraph = "vadclip"\n[train]\nepochs = 3\n')
    config = load_config(path, ["train.epochs=5", "train.lr=1", "model.positions=false", "prompts.riot=a riot in town"])
    assert isinstance(config.model, LecVadConfig)
    assert (config.classes, config.model.graph, config.train.epochs) == (("normal", "riot"), "vadclip", 5)
    assert (config.train.lr, config.model.positions) == (1.0, False)
    assert config.prompts == {"riot": "a riot in town"}


def test_settings_survive_json() -> None:
    config = load_config(None, ["model.dim=256", "train.select=last", 'classes=["normal", "x"]'])
    assert run_config(json.loads(json.dumps(to_mapping(config)))) == config


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("train.epoch=5", r"train\.epoch;.*epochs"),
        ("modle.dim=5", "modle"),
        ("train.epochs=many", r"train\.epochs: got 'many', expected int"),
        ("train.epochs=2.5", r"train\.epochs: got 2.5"),
        ("train.balanced=1", r"train\.balanced: got 1, expected bool"),
        ("train.lr=-1", "lr must be positive"),
        ("train.select=test", r"train\.select"),
        ("model.graph=tree", r"model\.graph"),
        ("detect.r_ano=1.5", r"detect\.r_ano"),
        ("head.x=1", "head"),
        ("detect.window=512", r"detect\.window: got 512, expected at most model\.max_snippets"),
        ("model.max_snippets=0", "at least 1"),
        ("train.epochs", "KEY=VALUE"),
        ("train=5", "train: got 5, expected a table"),
        ("train.validation_share=0", "leaves nothing to select on"),
        ("model.heads=0", r"model\.heads: got 0, expected a divisor"),
        ("model.dim=0", r"model\.dim: got 0"),
        ("model.tau=0", r"model\.tau: got 0"),
        ("model.tau=nan", r"model\.tau: got nan"),
        ("model.local_layers=10000000", r"local_layers: got 10000000, expected 1 … 64"),
        ("model.memory_blocks=-1", r"memory_blocks: got -1, expected 1 … 64"),
        ("model.lambda_gmm=-0.1", r"lambda_gmm: got -0\.1"),
        ("model.gamma_reg=-1", r"gamma_reg: got -1"),
        ("prompt_template={} {foo}", r"prompt_template: got '\{\} \{foo\}', expected one \{\}"),
        ("prompt_template={} and {}", "expected one"),
        ("prompt_template={:{}}", "no other braces"),
        ("prompt_template=plain", "expected one"),
    ],
)
def test_wrong_settings_are_named(override: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        load_config(None, [override])


def test_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_config(tmp_path / "none.toml")
    path = tmp_path / "broken.toml"
    path.write_text("[model\n")
    with pytest.raises(UsageError, match=r"broken\.toml"):
        load_config(path)


def test_heads_must_divide_dim() -> None:
    with pytest.raises(UsageError, match="divisor"):
        LecVadConfig(dim=100, heads=8)
