"""TS2Vec: the published crops, masks and mean of weights, and features that know the law."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok.evaluation import TS2VecEncoder
from ssltok.evaluation import _ts2vec as ts2vec
from ssltok.losses import hierarchical_contrastive_loss
from ssltok.nn import DilatedConvEncoder, max_pool

SMALL: dict[str, Any] = {"dim": 6, "hidden_dim": 4, "depth": 2}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


# Oracle.


def test_the_weights_are_the_mean_of_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the start count too; AdamW and the loss of the paper, on the views given."""
    views = [draw(k, 2, 3, 5, 6) for k in range(3)]
    drawn = iter(views)

    def two_views(network: Any, batch: Tensor, generator: object) -> tuple[Tensor, ...]:
        scale = network.projection.weight.sum() + network.blocks[0].first.weight.sum()
        return tuple(scale * view for view in next(drawn))

    monkeypatch.setattr(ts2vec, "_two_views", two_views)
    encoder = TS2VecEncoder.fit(draw(9, 12, 2, 16), steps=3, generator=seeded(1), **SMALL)
    plain: Any = TS2VecEncoder(2, generator=seeded(1), **SMALL).network
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3)
    states = [{k: v.clone() for k, v in plain.state_dict().items()}]
    for pair in views:
        scale = plain.projection.weight.sum() + plain.blocks[0].first.weight.sum()
        optimizer.zero_grad()
        hierarchical_contrastive_loss(scale * pair[0], scale * pair[1]).backward()
        optimizer.step()
        states.append({k: v.clone() for k, v in plain.state_dict().items()})
    for name, value in encoder.network.state_dict().items():
        expected = torch.stack([state[name] for state in states]).mean(0)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("length", [2, 3, 24])
def test_both_views_are_of_the_same_steps(length: int) -> None:
    """A network that returns its input: the overlap is the same in both, and lies in the series."""

    class Same(DilatedConvEncoder):
        def forward(
            self, series: Tensor, *_: object, mask: Tensor | None = None, **__: object
        ) -> Tensor:
            assert mask is not None
            assert mask.shape == (len(series), series.shape[2])
            hidden.append(mask.float().mean())
            return series

    hidden: list[Tensor] = []
    batch = torch.arange(4 * length).view(4, 1, length).float()
    generator, overlaps, longest = seeded(0), set(), 0
    for _ in range(200):
        a, b = ts2vec._two_views(Same(1), batch, generator)
        assert torch.equal(a, b)
        assert (a.diff(dim=1) == 1).all()
        rows = a[:, :, 0] // length
        assert (rows == torch.arange(4)[:, None]).all()
        overlaps.add(a.shape[1])
        longest = max(longest, a.shape[1])
    assert min(overlaps) == 2
    assert longest == length
    assert torch.stack(hidden).mean().item() == pytest.approx(0.5, abs=0.05)


# Known values and laws.


def test_features_are_the_maximum_over_time() -> None:
    encoder = TS2VecEncoder(2, **SMALL).eval()
    x = draw(0, 5, 2, 9)
    torch.testing.assert_close(encoder(x), max_pool(encoder.network(x), channel_dim=1))
    assert encoder(x.double()).dtype == torch.float32


def test_published_sizes_and_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = TS2VecEncoder(3)
    assert isinstance(encoder.network, DilatedConvEncoder)
    sizes = (encoder.network.dim, encoder.network.hidden_dim, encoder.network.depth)
    assert sizes == (320, 64, 10)
    steps: list[int] = []

    def two_views(network: Any, batch: Tensor, generator: object) -> tuple[Tensor, ...]:
        steps.append(len(batch))
        z = network.projection.weight[None, :2, :2, 0]
        return z, z

    monkeypatch.setattr(ts2vec, "_two_views", two_views)
    for cases, expected in ((500, 200), (501, 600)):
        steps.clear()
        TS2VecEncoder.fit(torch.zeros(cases, 2, 100), dim=2, hidden_dim=2, depth=0)
        assert steps == [8] * expected
    steps.clear()
    TS2VecEncoder.fit(torch.zeros(20, 2, 4), steps=5, dim=2, hidden_dim=2, depth=0)
    assert steps == [8] * 5  # the remainder of an epoch is dropped
    steps.clear()
    TS2VecEncoder.fit(torch.zeros(3, 2, 4), steps=2, dim=2, hidden_dim=2, depth=0)
    assert steps == [3] * 2


def test_a_seed_brings_it_back_and_leaves_no_trace() -> None:
    x = draw(0, 20, 2, 12)
    state = torch.get_rng_state()
    with torch.no_grad():
        runs = [TS2VecEncoder.fit(x, steps=3, generator=seeded(k), **SMALL)(x) for k in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(torch.get_rng_state(), state)
    assert not TS2VecEncoder.fit(x, steps=1, **SMALL).training


def test_fitting_draws_series_of_one_kind_together() -> None:
    """Slow and fast waves: their features separate better than before."""
    time = torch.arange(32) / 5
    speed = 1 + 3 * (torch.arange(60) % 2)
    x = torch.sin(speed[:, None] * time + 6.28 * torch.rand(60, 1, generator=seeded(0)))[:, None]

    def apart(encoder: TS2VecEncoder) -> float:
        with torch.no_grad():
            z = encoder(x)
        slow, fast = z[0::2], z[1::2]
        return float(
            (slow.mean(0) - fast.mean(0)).square().sum() / (slow.var(0) + fast.var(0)).sum()
        )

    options: dict[str, Any] = {"dim": 16, "hidden_dim": 8, "depth": 3}
    fitted = TS2VecEncoder.fit(x, steps=60, generator=seeded(3), **options)
    assert apart(fitted) > apart(TS2VecEncoder(1, generator=seeded(3), **options))


# Complaints.


def test_refuses() -> None:
    x = draw(0, 4, 1, 8)
    with pytest.raises(ValueError, match=r"^TS2VecEncoder.fit: length must be >= 2; got 1$"):
        TS2VecEncoder.fit(x[..., :1])
    with pytest.raises(ValueError, match=r"^TS2VecEncoder.fit: steps must be >= 1; got 0$"):
        TS2VecEncoder.fit(x, steps=0)
    with pytest.raises(ValueError, match=r"^TS2VecEncoder.fit: cases must be >= 1; got 0$"):
        TS2VecEncoder.fit(x[:0])
    with pytest.raises(ValueError, match=r"^TS2VecEncoder.fit: learning_rate must be > 0"):
        TS2VecEncoder.fit(x, learning_rate=0)
    with pytest.raises(ValueError, match=r"^TS2VecEncoder: channels must be >= 1; got 0$"):
        TS2VecEncoder(0)
