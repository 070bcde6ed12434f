"""`SSLTokenizer.summary`: every number of it, counted another way."""

import pathlib
from functools import partial
from typing import Any

import pytest
from sklearn.exceptions import NotFittedError
from torch import nn

from ssltok.pipelines import SSLTokenizer
from ssltok.quantizers import ResidualQuantizer, VectorQuantizer
from tests.pipelines.small import series, small


def lines_of(model: Any) -> dict[str, str]:
    """Each word of a summary and what stands behind it, continued lines put together."""
    lines: dict[str, str] = {}
    word = ""
    for line in model.summary().splitlines()[1:]:
        word = line[:14].strip() or word
        lines[word] = f"{lines.get(word, '')} {line[14:]}".strip()
    return lines


def weights(part: nn.Module) -> int:
    return sum(weight.numel() for weight in part.parameters())


def two_levels() -> ResidualQuantizer:
    return ResidualQuantizer([VectorQuantizer(8, 5), VectorQuantizer(8, 3)])


@pytest.fixture(scope="module")
def plain() -> Any:
    labels = ["up"] * 6 + [None, "down", "down"]
    ragged = [row[:, :length] for row, length in zip(
        series(9, channels=2, length=40), [40] * 8 + [24], strict=True
    )]  # fmt: skip
    return SSLTokenizer(small(3), seed=4).fit(ragged, labels)


def test_every_line_of_a_model_with_one_branch(plain: Any, tmp_path: pathlib.Path) -> None:
    lines, artifact = lines_of(plain), plain.artifact_
    assert lines["trained on"] == (
        "9 series, 2 channels, 24 to 40 samples; classes: down (2), up (6); 1 without a label"
    )
    tokens = plain.encode(series(1, channels=2, length=40)).shape[1]
    freq, frames = plain.grids_[0]
    assert freq * frames == tokens
    assert lines["tokens"] == f"{tokens} for 80 values: {freq} x {frames} (freq x frames)"
    assert lines["codes"] == "1 code a token, codebook of 6"
    assert lines["training"] == (
        "tokenizer 3 steps of 6 series, learning rate 0.001; "
        "prior 3 steps of 6 series, learning rate 0.001"
    )
    tokenizer, prior = weights(artifact.tokenizer), weights(artifact.prior)
    assert lines["parameters"] == (
        f"{tokenizer + prior:,}: tokenizer {tokenizer:,}, prior {prior:,}"
    )
    branch = artifact.tokenizer.parts[0]
    assert f"SpectrogramEncoder ({weights(branch.encoder):,})" in lines["branch"]
    assert f"SpectrogramDecoder ({weights(branch.decoder):,})" in lines["branch"]
    assert "VectorQuantizer, " in lines["branch"], "moving means have no weights"
    assert lines["made by"].endswith("seed 4")
    # The same after it was saved: nothing of it lives in the process.
    assert SSLTokenizer.load(plain.save(tmp_path / "model")).summary() == plain.summary()


def test_no_line_is_too_long_for_a_terminal(plain: Any) -> None:
    assert max(map(len, plain.summary().splitlines())) <= 100


def test_two_branches_and_no_labels() -> None:
    model = SSLTokenizer(small(2, widths=(8, 16))).fit(series(7, length=48))
    lines = lines_of(model)
    assert lines["trained on"] == "7 series, 1 channel, 48 samples; no labels"
    low, high = model.grids_
    assert lines["tokens"].startswith(f"{low[0] * low[1] + high[0] * high[1]} for 48 values: ")
    assert f"{low[0]} x {low[1]} + {high[0]} x {high[1]} (freq x frames)" in lines["tokens"]
    assert lines["codes"] == "1 code a token, codebook of 6 + 6"
    assert {"branch 1", "branch 2"} <= set(lines)


def test_several_codes_a_token() -> None:
    model = SSLTokenizer(small(2), quantizer=two_levels()).fit(series(7, length=24))
    assert lines_of(model)["codes"] == "2 codes a token, codebook of 5 x 3"
    assert lines_of(model)["branch"].count("ResidualQuantizer (64)") == 1


def test_tokens_of_patches_channel_by_channel_and_many_classes() -> None:
    config = small(2, coder="conv", channelwise=True, widths=(8,))
    model = SSLTokenizer(config, quantizer=partial(VectorQuantizer, codebook_size=7, channel_dim=1))
    model.fit(series(11, channels=3, length=32), [f"class {k}" for k in range(11)])
    lines = lines_of(model)
    channels, frames = model.grids_[0]
    assert channels == 3
    expected = f"{3 * frames} for 96 values: 3 x {frames} (channels x frames)"
    assert lines["tokens"] == expected
    assert lines["trained on"].endswith("class 5 (1), class 6 (1), ... 11 in all")


def test_a_new_model_has_no_summary() -> None:
    with pytest.raises(NotFittedError):
        SSLTokenizer().summary()
