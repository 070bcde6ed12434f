"""Configs: published numbers, refusals, and JSON that comes back as it went."""

import dataclasses
import json
from typing import Any

import pytest

from ssltok.pipelines import (
    Config,
    DecodingConfig,
    PriorConfig,
    TokenizerConfig,
    compact,
    config_from_dict,
    config_to_dict,
    demo,
    nc_vqvae,
    shorten,
    timevqvae,
)
from ssltok.training import TrainingConfig


def test_published_numbers() -> None:
    naive, two = nc_vqvae("none"), timevqvae()
    assert (naive.tokenizer.n_fft, naive.tokenizer.hop, naive.tokenizer.widths) == (8, 2, (8,))
    assert (naive.tokenizer.dim, naive.tokenizer.codebook_size) == (64, 32)
    assert (naive.tokenizer.decay, two.tokenizer.decay) == (0.9, 0.8)
    assert naive.tokenizer_training.epochs == naive.prior_training.epochs == 1000
    assert (naive.tokenizer_training.batch, naive.prior_training.batch) == (128, 256)
    assert naive.tokenizer_training.clip == two.prior_training.clip == 0.0
    assert two.tokenizer.widths == (8, 32)
    assert (two.tokenizer_training.epochs, two.prior_training.epochs) == (2000, 10_000)
    assert (
        nc_vqvae("vicreg").tokenizer.ssl_weight == nc_vqvae("vibcreg").tokenizer.ssl_weight == 0.01
    )
    assert nc_vqvae("barlow_twins").tokenizer.ssl_weight == 1.0


@pytest.mark.parametrize("config", [demo(), nc_vqvae("vibcreg", "gauss"), compact(), timevqvae()])
def test_json_round_trip(config: Config) -> None:
    text = json.dumps(config_to_dict(config))
    assert config_from_dict(Config, json.loads(text)) == config


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (
            TokenizerConfig,
            {"hop": 3},
            r"n_fft must be even and a multiple of hop; got n_fft 8, hop 3",
        ),
        (TokenizerConfig, {"n_fft": 7, "hop": 7}, r"n_fft must be even"),
        (TokenizerConfig, {"widths": (1, 2, 3)}, r"widths must be one or two numbers >= 1; got"),
        (TokenizerConfig, {"widths": (0,)}, r"widths must be one or two"),
        (TokenizerConfig, {"edge": 5}, r"edge must lie in \[1, n_fft / 2\]; got 5"),
        (TokenizerConfig, {"dim": 0}, r"dim must lie in \[1, 65536\]; got 0"),
        (TokenizerConfig, {"codebook_size": 10**9}, r"codebook_size must lie in"),
        (TokenizerConfig, {"ssl_weight": -1.0}, r"ssl_weight must be >= 0; got -1.0"),
        (TokenizerConfig, {"decay": 1.5}, r"decay must lie in \[0, 1\]; got 1.5"),
        (PriorConfig, {"dim": 10, "heads": 3}, r"dim must be a multiple of heads; got 10 and 3"),
        (PriorConfig, {"label_dropout": 2.0}, r"label_dropout must lie in"),
        (PriorConfig, {"mlp_ratio": 0.0}, r"mlp_ratio must lie in \(0, 64\]"),
        (TrainingConfig, {"batch": 0}, r"batch must be >= 1; got 0"),
        (TrainingConfig, {"learning_rate": 0.0}, r"learning_rate must be > 0; got 0.0"),
        (TrainingConfig, {"accumulation": 3, "batch": 8}, r"multiple of accumulation; got 8 and 3"),
        (TrainingConfig, {"patience": 2}, r"patience needs held-out series; got holdout_ratio 0"),
        (TrainingConfig, {"holdout_ratio": 1.0}, r"holdout_ratio must lie in \[0, 1\); got 1.0"),
        (DecodingConfig, {"steps": 0}, r"steps must be >= 1; got 0"),
        (DecodingConfig, {"guidance": float("nan")}, r"guidance must be >= 0; got nan"),
        (Config, {"workers": -1}, r"workers must be >= 0; got -1"),
    ],
)
def test_refuses_numbers(kind: type[Any], values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kind(**values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"tokeniser": {}},
            r"config: must have known keys only; got 'tokeniser' \(did you mean tok",
        ),
        ({"tokenizer": {"dim": "64"}}, r"config.tokenizer.dim: must be int; got '64'"),
        ({"tokenizer": {"dim": True}}, r"config.tokenizer.dim: must be int; got True"),
        ({"tokenizer": {"ssl": "os.system"}}, r"config.tokenizer.ssl: must be one of"),
        (
            {"tokenizer": {"widths": [8, "x"]}},
            r"config.tokenizer.widths: must be a list of integers",
        ),
        ({"prior": 3}, r"config.prior: must be an object; got int"),
        ([], r"config: must be an object; got list"),
    ],
)
def test_refuses_foreign_json(values: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config_from_dict(Config, values)


def test_presets_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValueError, match=r"nc_vqvae: ssl must be one of .*; got 'byol'"):
        nc_vqvae("byol")
    with pytest.raises(ValueError, match=r"shorten: preset must be one of .*; got 'x'"):
        shorten("x", steps=3)
    with pytest.raises(ValueError, match=r"shorten: steps must be >= 1; got 0"):
        shorten("demo", steps=0)
    changed = shorten("demo", steps=7)
    assert changed.tokenizer_training.steps == changed.prior_training.steps == 7
    assert dataclasses.replace(demo().decoding, steps=3).steps == 3


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (
            TokenizerConfig,
            {"quantizer": "fqs"},
            r"^TokenizerConfig: quantizer must .*; got 'fqs' \(did you mean lfq or fsq\?\)",
        ),
        (TokenizerConfig, {"ssl": "simclr"}, r"ssl must be one of none, .*; got 'simclr'"),
        (TokenizerConfig, {"ssl": "byoll"}, r"got 'byoll' \(did you mean byol\?\)"),
        (TokenizerConfig, {"coder": "convv"}, r"got 'convv' \(did you mean conv\?\)"),
        (TokenizerConfig, {"coder": 3}, r"coder must be one of spectrogram, .*; got 3"),
        (TokenizerConfig, {"augmentation": "warped"}, r"\(did you mean warp\?\)"),
        (PriorConfig, {"start": "codebok"}, r"PriorConfig: start .*\(did you mean codebook\?\)"),
        (Config, {"precision": "bf61"}, r"^Config: precision must .*\(did you mean bf16"),
        (
            TokenizerConfig,
            {"codes_per_token": 2},
            r"be 1 but for grouped, residual and m.*2 for ema",
        ),
        (
            TokenizerConfig,
            {"quantizer": "residual", "codes_per_token": 65},
            r"codes_per_token must lie in \[1, 64\], .*; got 65 for residual",
        ),
        (
            TokenizerConfig,
            {"coder": "conv", "widths": (2, 4)},
            r"two widths need a coder of spectrograms; got conv",
        ),
    ],
)
def test_refuses_words_and_names_near_ones(
    kind: type[Any], values: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        kind(**values)


def test_a_far_word_has_no_near_one() -> None:
    with pytest.raises(ValueError, match=r"got 'zzzzzz'$"):
        TokenizerConfig(quantizer="zzzzzz")  # type: ignore[arg-type]
