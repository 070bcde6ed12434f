"""Diffusion-TS: each score against its published form written out, and its known defects."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional

from ssltok.metrics import (
    DiffusionTSScores,
    diffusion_ts_protocol,
    frechet_distance,
    roughness_score,
)
from ssltok.metrics import _published as published
from ssltok.metrics._scores import Recurrent


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fit(series: Tensor, *, generator: torch.Generator | None) -> Callable[[Tensor], Tensor]:
    """Features that depend on the series they were fitted on, and on the draw."""
    weight = torch.randn(series.shape[1], 2, generator=generator)
    return lambda x: (x - series.mean(0)).amax(2) @ weight


def scores_of(real: Tensor, generated: Tensor, **options: Any) -> DiffusionTSScores:
    defaults: dict[str, Any] = {"fit_encoder": fit, "steps": (2, 2), "repeats": 3}
    return diffusion_ts_protocol(real, generated, **({"generator": seeded(1)} | defaults | options))


def published_correlations(x: NDArray[Any]) -> NDArray[Any]:
    """z-norms by the unbiased deviation, products of pairs i >= j, mean over time and cases."""
    z = (x - x.mean((0, 2), keepdims=True)) / x.std((0, 2), ddof=1, keepdims=True)
    pairs = [(i, j) for i in range(x.shape[1]) for j in range(i + 1)]
    return np.array([(z[:, i] * z[:, j]).mean(1).mean(0) for i, j in pairs])


# Oracle.


def test_context_fid_and_correlations_are_refitted_and_drawn_again() -> None:
    """Every repeat fits anew on the scaled real series, and draws a third of each set."""
    real, generated = 5 * draw(0, 21, 3, 8) + 3, 6 * draw(1, 40, 3, 8)
    generated[:, 1] += generated[:, 0]
    scores = scores_of(real, generated)
    low, high = real.amin((0, 2))[:, None], real.amax((0, 2))[:, None]
    x, y = ((part - low) / (high - low) for part in (real, generated[:21]))
    generator = seeded(1)
    for repeat in range(3):
        encoder = fit(x, generator=generator)
        expected = frechet_distance(encoder(x), encoder(y))
        torch.testing.assert_close(scores.context_frechet[repeat], expected, rtol=1e-4, atol=1e-5)
        sums = [
            published_correlations(
                part[torch.randint(21, (7,), generator=generator)].double().numpy()
            )
            for part in (x, y)
        ]
        expected = np.abs(sums[0] - sums[1]).sum() / 10
        assert scores.correlational[repeat].item() == pytest.approx(expected, rel=1e-4)


def test_the_networks_are_those_of_the_code() -> None:
    """Two steps of each, written out: widths, batches, losses, Adam, sigmoid, the last channel."""
    real, generated = torch.rand(2, 300, 5, 6, generator=seeded(3))
    result = published.published_discriminative(
        real, generated, steps=2, repeats=1, generator=seeded(4)
    )
    generator = seeded(4)
    orders = [torch.randperm(300, generator=generator) for _ in range(2)]
    sets = [part[order] for part, order in zip((real, generated), orders, strict=True)]
    network = Recurrent(5, 2, 1, generator)
    assert network.gru.hidden_size == 2
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(2):
        batches = [part[:240][torch.randperm(240, generator=generator)[:128]] for part in sets]
        logits = [network(batch)[:, -1, 0] for batch in batches]
        loss = functional.binary_cross_entropy_with_logits(logits[0], torch.ones(128))
        loss = loss + functional.binary_cross_entropy_with_logits(logits[1], torch.zeros(128))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = [(network(part[240:])[:, -1, 0] > 0).float() for part in sets]
    accuracy = (right[0].sum() + (1 - right[1]).sum()) / 120
    assert result.item() == pytest.approx(abs(accuracy.item() - 0.5), abs=1e-6)

    result = published.published_predictive(
        real, generated, steps=2, repeats=1, generator=seeded(4)
    )
    generator = seeded(4)
    network = Recurrent(4, 2, 1, generator)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(2):
        batch = generated[torch.randperm(300, generator=generator)[:128]]
        loss = functional.l1_loss(network(batch[:, :4, :5])[..., 0].sigmoid(), batch[:, 4, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    error = (network(real[:, :4, :5])[..., 0].sigmoid() - real[:, 4, 1:]).abs().mean()
    assert result.item() == pytest.approx(error.item(), rel=1e-5)


def test_roughness_is_three_numbers_a_channel() -> None:
    """The trial that it comes from, in numpy; and the trial's classifier on the same split."""
    real = draw(0, 60, 2, 12).cumsum(2).cumsum(2)
    generated = 0.9 * real.flip(0) + 0.02 * draw(1, 60, 2, 12)
    generated[:, 1] *= 1.5
    span = (real.amax((0, 2)) - real.amin((0, 2))).double().numpy()
    parts = []
    for x in (real.double().numpy(), generated.double().numpy()):
        v = x.transpose(0, 2, 1) / span
        first, second = np.abs(np.diff(v, axis=1)), np.abs(np.diff(v, 2, axis=1))
        parts.append(
            np.log(1e-4 + np.concatenate([first.mean(1), second.mean(1), second.min(1)], 1))
        )
    generator = seeded(3)
    orders = [torch.randperm(60, generator=generator).numpy() for _ in range(2)]
    x = np.concatenate([part[order[12:]] for part, order in zip(parts, orders, strict=True)])
    test = np.concatenate([part[order[:12]] for part, order in zip(parts, orders, strict=True)])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=500))
    model.fit(x, np.repeat([0, 1], 48))
    expected = abs(model.score(test, np.repeat([0, 1], 12)) - 0.5)
    assert 0.05 < expected < 0.5
    score = roughness_score(
        real, generated, inverse_regularization=0.3, repeats=1, generator=seeded(3)
    )
    assert score.item() == pytest.approx(expected)
    only_level = real + 100 * draw(2, 60, 2, 1)  # levels are no roughness
    assert roughness_score(real, only_level, repeats=8, generator=seeded(0)).mean() < 0.2


# Known values and laws.


def test_a_copy_with_a_little_noise_is_caught_by_roughness_alone() -> None:
    """1 % of the range: no published score sees it."""
    time = torch.arange(24) / 4
    phase, speed = 6.28 * torch.rand(400, 2, 1, generator=seeded(5)), draw(6, 400, 1, 1) / 9
    real = 0.5 + 0.5 * torch.sin((1 + speed) * time + phase)
    noisy = real + 0.01 * draw(7, 400, 2, 24)
    caught = roughness_score(real[:200], noisy[200:], repeats=3, generator=seeded(0))
    assert (caught > 0.3).all()
    fair = roughness_score(real[:200], real[200:], repeats=3, generator=seeded(0))
    assert fair.mean() < 0.12
    scores = scores_of(real, noisy, steps=(20, 20), repeats=1)
    copy = scores_of(real, real, steps=(20, 20), repeats=1)
    assert (scores.discriminative < 0.15).all()
    assert scores.predictive.mean() < copy.predictive.mean() + 0.01
    assert scores.context_frechet.mean() < 0.01


def test_units_of_a_channel_change_nothing() -> None:
    real, generated = draw(0, 20, 3, 8), draw(1, 20, 3, 8)
    once = scores_of(real, generated)
    scale = torch.tensor([4.0, 0.5, 2.0])[:, None]
    again = scores_of(scale * real + 1, scale * generated + 1)
    for one, other in zip(once, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_the_correlational_score_of_a_copy_is_the_floor_of_its_subsets() -> None:
    real = draw(0, 30, 3, 8)
    scores = scores_of(real, real)
    assert (scores.correlational > 0).all()
    assert (scores.context_frechet < 1e-6).all()


def test_one_channel_has_no_predictive_score_and_no_correlation() -> None:
    real, generated = draw(0, 20, 1, 8), 5 * draw(1, 20, 1, 8).cumsum(2)
    scores = scores_of(real, generated)
    assert (scores.correlational < 0.02).all()
    assert scores.predictive.isnan().all()
    assert scores.discriminative.isfinite().all()


# Complaints.


def test_refuses() -> None:
    x = draw(0, 8, 2, 6)
    broken = x.clone()
    broken[3, 1, 2] = torch.inf
    for score in (scores_of, roughness_score):
        with pytest.raises(ValueError, match=r"cases of real must be >= 5; got 4$"):
            score(x[:4], x)
        with pytest.raises(ValueError, match=r"real must be finite; got 1 of 8 rows without$"):
            score(broken, x)
        with pytest.raises(ValueError, match=r"generated must be finite; got 1 of 8 rows without"):
            score(x, broken)
    with pytest.raises(ValueError, match=r"^diffusion_ts_protocol: repeats must be >= 1; got 0$"):
        scores_of(x, x, repeats=0)
    with pytest.raises(ValueError, match=r"^diffusion_ts_protocol: steps must be >= 1; got 0$"):
        scores_of(x, x, steps=(3, 0))
    with pytest.raises(ValueError, match=r"^diffusion_ts_protocol: length must be >= 2; got 1$"):
        scores_of(x[..., :1], x[..., :1])
    with pytest.raises(ValueError, match=r"^roughness_score: length must be >= 3; got 2$"):
        roughness_score(x[..., :2], x[..., :2])
    with pytest.raises(ValueError, match=r"^roughness_score: inverse_regularization must be > 0"):
        roughness_score(x, x, inverse_regularization=0)
