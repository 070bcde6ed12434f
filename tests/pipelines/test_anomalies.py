"""Anomaly scores of the estimator: the procedure by hand, on any length, and what is unusual."""

import math
import pathlib
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from ssltok.pipelines import ArtifactError, SSLTokenizer, load_artifact, save_artifact
from ssltok.pipelines._uses import _anomalies as anomalies
from tests.pipelines.small import series, small

LENGTH = 33


def fitted(channels: int = 1, labels: Any = None, **tokenizer: Any) -> SSLTokenizer:
    model = SSLTokenizer(small(**tokenizer), progress=False, cpu=True)
    return model.fit(series(channels=channels), labels)


@pytest.fixture(scope="module")
def model() -> SSLTokenizer:
    return fitted(labels=list("ab" * 5))


def by_hand(
    model: SSLTokenizer, x: NDArray[np.float32], *, rates: tuple[float, ...], stride: int
) -> NDArray[np.float64]:
    """One window, one width and one column at a time, from what the estimator gives to anybody."""
    tokenizer, prior = model.artifact_.tokenizer, model.artifact_.prior
    window, length = tokenizer.length, x.shape[-1]
    total, count = np.zeros(0), np.zeros(length)
    starts = list(range(0, length - window, stride))
    for start in [*starts, length - window]:
        codes = torch.from_numpy(model.encode(x[None, :, start : start + window]))
        rows = []
        for number, part in enumerate(codes.split(list(prior.sizes), dim=1)):
            context = prior.context(codes.split(list(prior.sizes), dim=1)[0], 1) if number else None
            frames = tokenizer.grids[number][-1]
            a = torch.zeros(part.shape[1] // frames, frames, dtype=torch.float64)
            levels = part.shape[2] if part.ndim == 3 else 1
            for level in range(levels):
                s = part[..., level] if part.ndim == 3 else part
                size = prior.codebook_sizes[number][level]
                ask = prior.logits_of(
                    number, torch.tensor([-1]), context, level=level,
                    coarser=part[..., :level] if level else None,
                )  # fmt: skip
                for rate in rates:
                    width = int(rate * frames) + (int(rate * frames) + 1) % 2
                    for w in range(frames):
                        grid = torch.zeros(len(a), frames, dtype=torch.bool)
                        grid[:, max(0, w - width // 2) : w + width // 2 + 1] = True
                        hidden = grid.view(1, -1)
                        with torch.no_grad():
                            logits = ask(s.masked_fill(hidden, size), hidden)
                        p = logits.double().softmax(-1)[torch.arange(len(logits)), s[hidden]]
                        a[:, w] -= p.log().view(len(a), -1).mean(1)
            rows.append(interpolate(a[None], size=window, mode="nearest")[0].numpy())
        scores = np.concatenate(rows)
        total = total if total.size else np.zeros((len(scores), length))
        total[:, start : start + window] += scores
        count[start : start + window] += 1
    mean = (total / count).mean(0)
    half = window // 2
    smooth = [mean[max(0, t - half) : t + window - half].mean() for t in range(length)]
    final: NDArray[np.float64] = (mean + np.array(smooth)) / 2
    return final


# oracle


@pytest.mark.parametrize(
    ("channels", "tokenizer"),
    [(1, {}), (2, {"widths": (4, 8)}), (2, {"channelwise": True}),
     (1, {"quantizer": "residual", "codes_per_token": 2})],
)  # fmt: skip
def test_the_same_as_by_hand(channels: int, tokenizer: dict[str, Any]) -> None:
    model = fitted(channels, **tokenizer)
    long = series(1, channels=channels, length=58, seed=3)
    result = model.score_anomalies(long, rates=(0.2, 0.7), stride_ratio=0.25)
    expected = by_hand(model, long[0], rates=(0.2, 0.7), stride=8)
    np.testing.assert_allclose(result.scores[0], expected, rtol=2e-4)
    assert math.isnan(result.threshold)


# laws


def test_series_of_any_length_alone_are_as_in_a_batch(model: SSLTokenizer) -> None:
    lengths = [20, LENGTH, 34, 70]
    parts = [series(1, length=n, seed=n)[0] for n in lengths]
    together = model.score_anomalies(parts)
    assert together.scores.shape == (4, 70)
    assert together.scores.dtype == np.float32
    for n, part, row in zip(lengths, parts, together.scores, strict=True):
        alone = model.score_anomalies([part]).scores
        assert alone.shape == (1, n)
        np.testing.assert_allclose(row[:n], alone[0], rtol=1e-4)
        assert np.isfinite(row[:n]).all()
        assert np.isnan(row[n:]).all()


def test_a_missing_value_and_the_other_layout(model: SSLTokenizer) -> None:
    long = series(1, length=50, seed=1)
    gone = long.copy()
    gone[0, 0, 12:15] = np.nan
    assert np.isfinite(model.score_anomalies(gone).scores).all()
    turned = SSLTokenizer.__new__(SSLTokenizer)
    turned.__dict__.update(model.__dict__, layout="channels_last")
    np.testing.assert_array_equal(
        turned.score_anomalies(long.transpose(0, 2, 1)).scores, model.score_anomalies(long).scores
    )


def test_far_from_zero_and_without_a_channel() -> None:
    """Values far from zero are read about the offset of training; a silent channel is a mean."""
    x, long = series(channels=2), series(2, channels=2, length=60, seed=4)
    plain, far = (
        SSLTokenizer(small(), progress=False, cpu=True).fit(x.astype(np.float64) + level)
        for level in (0.0, 2.0**24)
    )
    scores = plain.score_anomalies(long).scores
    moved = far.score_anomalies(long.astype(np.float64) + 2.0**24).scores
    assert np.isfinite(scores).all()
    assert np.isfinite(moved).all()
    assert scores.shape == moved.shape == (2, 60)
    long[1, 0] = np.nan
    silent = plain.score_anomalies(long).scores
    assert np.isfinite(silent).all()
    np.testing.assert_allclose(silent[0], scores[0], rtol=1e-5)


def test_the_threshold_is_the_quantile_of_the_usual_series(model: SSLTokenizer) -> None:
    x, usual = series(1, length=50, seed=1), [*series(3), *series(1, length=20)]
    result = model.score_anomalies(x, train=usual, quantile=0.7)
    scores = model.score_anomalies(usual).scores
    assert result.threshold == pytest.approx(float(np.nanquantile(scores, 0.7)))
    np.testing.assert_array_equal(result.scores, model.score_anomalies(x).scores)


def test_a_model_keeps_the_threshold_of_its_training(
    model: SSLTokenizer, tmp_path: pathlib.Path
) -> None:
    usual = model.score_anomalies(series()).scores  # few enough that all are scored
    for quantile in (0.0, 0.5, 0.9, 0.99, 1.0):
        found = model.score_anomalies(series(1), quantile=quantile).threshold
        assert found == pytest.approx(float(np.quantile(usual, quantile)), rel=1e-3)
    kept = model.score_anomalies(series(1)).threshold
    loaded = SSLTokenizer.load(model.save(tmp_path / "model"))
    assert loaded.score_anomalies(series(1)).threshold == kept
    assert model.score_anomalies(series(1), train=series(1)).threshold != kept
    for other in ({"rates": (0.1, 0.3)}, {"stride_ratio": 0.2}):  # other scores
        assert math.isnan(model.score_anomalies(series(1), **other).threshold)
    old = model.artifact_._replace(usual=None)
    again = load_artifact(save_artifact(old, tmp_path / "old"))
    assert again.usual is None
    broken = old._replace(usual=torch.tensor([2.0, 1.0]))
    with pytest.raises(ArtifactError, match=r"training\.usual of another form"):
        load_artifact(save_artifact(broken, tmp_path / "broken"))


def test_of_many_training_series_a_share_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anomalies, "MOST_ROWS", 100)
    model = fitted()
    assert anomalies.scored_cases(model.artifact_.tokenizer, 1000) == anomalies.FEWEST
    assert anomalies.scored_cases(model.artifact_.tokenizer, 3) == 3
    monkeypatch.setattr(anomalies, "MOST_ROWS", 10**6)
    assert anomalies.scored_cases(model.artifact_.tokenizer, 1000) == 1000
    assert model.artifact_.usual is not None
    usual = model.artifact_.usual.numpy()
    few = np.concatenate([model.score_anomalies(series()[[i]]).scores[0] for i in range(10)])
    assert usual[0] in few.astype(np.float32)
    assert (np.diff(usual) >= 0).all()
    assert len(usual) == anomalies.LEVELS


def test_nothing_of_the_model_moves_and_nothing_is_drawn(model: SSLTokenizer) -> None:
    tokenizer, prior = model.artifact_.tokenizer, model.artifact_.prior
    state = torch.get_rng_state()
    weights = [p.clone() for p in (*tokenizer.state_dict().values(), *prior.state_dict().values())]
    first = model.score_anomalies(series(2, length=40)).scores
    np.testing.assert_array_equal(first, model.score_anomalies(series(2, length=40)).scores)
    now = [*tokenizer.state_dict().values(), *prior.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(weights, now, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_unusual_scores_highest() -> None:
    """A square wave among sines: the highest score is near it, the threshold below it."""
    usual = np.sin(np.arange(1200) * 2 * np.pi / 16).astype(np.float32)
    rows = np.lib.stride_tricks.sliding_window_view(usual, 64)[::7]
    model = SSLTokenizer(small(60, batch=12), progress=False, cpu=True).fit(rows)
    odd = usual[:500].copy()
    odd[240:256] = np.where(np.arange(16) < 8, 0.7, -0.7)[::-1]
    result = model.score_anomalies(odd[None], train=usual[None])
    assert 240 - 32 <= result.scores[0].argmax() < 256 + 32
    assert result.scores[0].max() > result.threshold


# complaints


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rates": (0.1, 0.0)}, r"rates must lie in \(0, 1\]; got 0.0"),
        ({"rates": (1.5,)}, r"rates must lie in \(0, 1\]; got 1.5"),
        ({"rates": ()}, "rates must be at least one; got none"),
        ({"stride_ratio": 0.0}, r"stride_ratio must lie in \(0, 1\]; got 0.0"),
        ({"stride_ratio": math.nan}, r"stride_ratio must lie in \(0, 1\]; got nan"),
        ({"quantile": 1.1}, r"quantile must lie in \[0, 1\]; got 1.1"),
        ({"train": np.zeros((2, 3, 40))}, r"every series must have 1 channel\(s\); got 3"),
        ({"X": np.zeros((2, 3, 40))}, r"every series must have 1 channel\(s\); got 3"),
        ({"X": np.zeros((2, 1, 5))}, "series must have at least 8 samples; got 5"),
        ({"X": np.full((1, 1, 40), np.inf)}, "values must be finite"),
    ],
)
def test_bad_input_is_refused(model: SSLTokenizer, change: dict[str, Any], message: str) -> None:
    options = {"X": series(2, length=40), **change}
    with pytest.raises(ValueError, match=f"SSLTokenizer.score_anomalies: {message}"):
        model.score_anomalies(options.pop("X"), **options)
