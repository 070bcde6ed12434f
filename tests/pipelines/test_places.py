"""Where tokens lie in time: patches that do not divide a series are where their encoder cuts."""

import pytest
import torch

from ssltok.data import read_series
from ssltok.pipelines import (
    PriorConfig,
    Tokenizer,
    TokenizerConfig,
    build_prior,
    build_tokenizer,
)
from ssltok.pipelines._impute import hidden_tokens
from ssltok.pipelines._uses import _anomalies


def tokenizer(coder: str, *, channels: int = 1) -> Tokenizer:
    config = TokenizerConfig(coder=coder, widths=(7,), dim=4, blocks=0, codebook_size=3)  # type: ignore[arg-type]
    return build_tokenizer(config, channels=channels, length=150)


@pytest.mark.parametrize("coder", ["patch", "transformer"])
@pytest.mark.parametrize("sample", [0, 21, 22, 130, 131, 132, 149])
def test_a_missing_sample_hides_the_patch_that_holds_it(coder: str, sample: int) -> None:
    missing = torch.zeros(1, 1, 150, dtype=torch.bool)
    missing[..., sample] = True
    hidden = hidden_tokens(tokenizer(coder), missing)
    assert hidden.nonzero()[:, 1].tolist() == [sample // 22]  # 150 samples in 7: patches of 22


@pytest.mark.parametrize("coder", ["patch", "transformer"])
@pytest.mark.parametrize(("length", "real"), [(132, 6), (133, 7), (150, 7), (22, 1), (23, 2)])
def test_a_patch_is_real_if_it_begins_before_the_end(coder: str, length: int, real: int) -> None:
    valid = tokenizer(coder).valid_tokens(torch.tensor([length]))
    assert int(valid.sum()) == real


def test_other_coders_share_the_time_evenly() -> None:
    spectrogram = tokenizer("spectrogram")
    frames = spectrogram.grids[0][-1]
    for length in (30, 75, 149):
        real = spectrogram.columns(torch.tensor([length]))[0].sum()
        assert int(real) == sum(k * 150 / frames < length for k in range(frames))


@pytest.mark.parametrize("coder", ["patch", "spectrogram"])
def test_scores_of_anomalies_change_where_columns_begin(
    coder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tokenizer(coder)
    frames = cut.grids[0][-1]
    ramp = torch.arange(float(frames)).expand(2, 1, -1)  # two series, each of one window
    monkeypatch.setattr(_anomalies, "_window_scores", lambda *_: [ramp])
    monkeypatch.setattr(_anomalies, "smoothed_score", lambda score, *, width: score)
    data = read_series(torch.randn(2, 1, 150, generator=torch.Generator().manual_seed(0)))
    prior = build_prior(PriorConfig(dim=8, depth=1), cut, classes=0)
    scores = _anomalies.anomaly_scores(cut, prior, data, rates=(0.3,), stride_ratio=1.0)
    step = 22 if coder == "patch" else 150 / frames
    assert scores[0].tolist() == [float(int(time / step + 1e-9)) for time in range(150)]
