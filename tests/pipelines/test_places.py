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
from ssltok.pipelines._token_features import TokenFeatures
from ssltok.pipelines._uses import _anomalies
from ssltok.pipelines._uses._impute import hidden_tokens
from ssltok.pipelines._words._tables import OBJECTIVES
from ssltok.training import ObjectiveBatch


def tokenizer(coder: str, *, channels: int = 1) -> Tokenizer:
    blocks = int(coder == "conv")
    config = TokenizerConfig(coder=coder, widths=(7,), dim=4, blocks=blocks, codebook_size=3)  # type: ignore[arg-type]
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


CODERS = ["patch", "transformer", "conv", "spectrogram"]


def begins_of(cut: Tokenizer) -> list[int]:
    """The first sample of each place, and the end: from the coder's own words."""
    frames = cut.grids[0][-1]
    patch = getattr(cut.parts[0].encoder, "patch", None)
    return [k * (patch or 0) if patch else -(-k * 150 // frames) for k in range(frames)] + [150]


@pytest.mark.parametrize("coder", CODERS)
def test_a_hidden_place_hides_the_samples_of_its_column(coder: str) -> None:
    """What objectives hide of the series is what the coder reads for that column."""
    cut = tokenizer(coder)
    features, edges = TokenFeatures(cut), begins_of(cut)
    assert features.frames == len(edges) - 1
    for place in range(features.frames):
        masked = torch.arange(features.frames)[None] == place
        hidden = features._samples(masked)[0].nonzero().flatten().tolist()
        assert hidden == list(range(edges[place], edges[place + 1]))


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("name", ["mae", "beit"])
def test_what_is_predicted_of_a_place_are_the_samples_of_its_column(coder: str, name: str) -> None:
    """The target of each place holds all samples that hiding it hides, in order of channels."""
    cut = tokenizer(coder, channels=2)
    features, edges = TokenFeatures(cut), begins_of(cut)
    config = TokenizerConfig(coder=coder, widths=(7,), ssl=name)  # type: ignore[arg-type]
    target = OBJECTIVES[name](config, 8, features).keywords["target"]
    series = 1 + torch.arange(300.0).reshape(1, 2, 150)
    if target is None:  # the objectives' own: even patches
        patch = -(-150 // features.frames)
        assert edges == [*range(0, 150, patch), 150]
        return
    behind = target(series, None)
    for place in range(features.frames):
        for channel, values in enumerate(behind[0, place].unflatten(0, (2, -1)).tolist()):
            wanted = series[0, channel, edges[place] : edges[place + 1]].tolist()
            assert "".join(f",{v}" for v in wanted) in "".join(f",{v}" for v in values)


@pytest.mark.parametrize("coder", ["patch", "transformer"])
def test_samples_beyond_the_end_of_a_patch_have_no_error(coder: str) -> None:
    """Seven patches of 22 reach 4 samples beyond 150: what is predicted there costs nothing."""
    cut = tokenizer(coder)
    features = TokenFeatures(cut)
    config = TokenizerConfig(coder=coder, widths=(7,), ssl="mae")  # type: ignore[arg-type]
    objective = OBJECTIVES["mae"](config, 8, features)(features)
    draws = objective.draw(3, torch.Generator().manual_seed(0))
    series = torch.randn(3, 1, 150, generator=torch.Generator().manual_seed(1))
    predicted = torch.randn(3, 7, 22, generator=torch.Generator().manual_seed(2))
    losses = []
    for offset in (0.0, 100.0):
        moved = predicted.clone()
        moved[:, 6, 18:] += offset
        objective.decoder = _Fixed(moved)
        losses.append(objective(features, ObjectiveBatch((series,), draws=draws)).loss)
    assert torch.equal(*losses)


class _Fixed(torch.nn.Module):
    def __init__(self, predicted: torch.Tensor) -> None:
        super().__init__()
        self.predicted = predicted

    def forward(self, *_: torch.Tensor, **__: torch.Tensor) -> torch.Tensor:
        return self.predicted
