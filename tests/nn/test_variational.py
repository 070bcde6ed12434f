"""The variational bottleneck: its Gaussian, its draws, its price."""

import pytest
import torch

from ssltok.losses import gaussian_kl_loss
from ssltok.nn import GaussianLatents, VariationalBottleneck


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Oracle ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "channel_dim"), [((4, 3), -1), ((4, 5, 3), 2), ((4, 3, 5), 1), ((4, 2, 3, 5), -2)]
)
def test_it_is_mean_plus_deviation_times_noise(shape: tuple[int, ...], channel_dim: int) -> None:
    torch.manual_seed(0)
    bottleneck = VariationalBottleneck(3, 2, channel_dim=channel_dim).double()
    x = torch.randn(shape, dtype=torch.float64)
    latents, mean, log_variance = bottleneck(x, generator=seeded(1))
    rows = x.movedim(channel_dim, -1) @ bottleneck.linear.weight.T + bottleneck.linear.bias
    torch.testing.assert_close(mean.movedim(channel_dim, -1), rows[..., :2])
    torch.testing.assert_close(log_variance.movedim(channel_dim, -1), rows[..., 2:])
    noise = torch.randn(mean.shape, generator=seeded(1), dtype=torch.float64)
    torch.testing.assert_close(latents, mean + log_variance.exp().sqrt() * noise)


def test_draws_have_the_mean_and_the_variance() -> None:
    bottleneck = VariationalBottleneck(1, 1)
    torch.nn.init.zeros_(bottleneck.linear.weight)
    with torch.no_grad():
        bottleneck.linear.bias.copy_(torch.tensor([3.0, -2.0]))
    latents = bottleneck(torch.zeros(40_000, 1), generator=seeded(2)).latents
    variance = torch.tensor(-2.0).exp().item()
    assert latents.mean().item() == pytest.approx(3, abs=5 * (variance / 40_000) ** 0.5)
    assert latents.var().item() == pytest.approx(variance, rel=0.04)


# Known values ---------------------------------------------------------------------------------


def test_padding_costs_nothing() -> None:
    """The price of a padded batch is that of its real tokens."""
    torch.manual_seed(3)
    bottleneck = VariationalBottleneck(3, 2, channel_dim=1)
    x, valid = torch.randn(2, 3, 6), torch.arange(6).expand(2, 6) < torch.tensor([[6], [4]])
    x[1, :, 4:] = torch.nan
    made = bottleneck(x, valid, generator=seeded(4))
    assert all((part[1, :, 4:] == 0).all() for part in made)
    cut = bottleneck.eval()(x[1:, :, :4])
    whole = bottleneck(x[:1])
    expected = gaussian_kl_loss(cut.mean, cut.log_variance)
    expected = (expected + gaussian_kl_loss(whole.mean, whole.log_variance)) / 2
    torch.testing.assert_close(gaussian_kl_loss(made.mean, made.log_variance), expected)


# Laws -----------------------------------------------------------------------------------------


def test_training_draws_and_evaluation_does_not() -> None:
    bottleneck = VariationalBottleneck(3, 2)
    x, state = torch.randn(4, 3), torch.get_rng_state()
    first, second = (bottleneck(x, generator=seeded(5)) for _ in range(2))
    assert torch.equal(first.latents, second.latents)
    assert not torch.equal(first.latents, bottleneck(x, generator=seeded(6)).latents)
    bottleneck.eval()
    made = bottleneck(x)
    assert isinstance(made, GaussianLatents)
    assert torch.equal(made.latents, made.mean)
    assert torch.equal(torch.get_rng_state(), state)


def test_gradients_pass_through_the_draw() -> None:
    bottleneck = VariationalBottleneck(3, 2, channel_dim=1).double()
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([[True, True, False, True], [True] * 4])

    def draw(x: torch.Tensor) -> torch.Tensor:
        made: GaussianLatents = bottleneck(x, valid, generator=seeded(7))
        return made.latents

    assert torch.autograd.gradcheck(draw, (x,))
    (grad,) = torch.autograd.grad(draw(x).sum(), x)
    assert (grad[0, :, 2] == 0).all()


def test_half_precision_features_give_full_precision_gaussians() -> None:
    bottleneck = VariationalBottleneck(3, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = bottleneck(torch.randn(4, 3))
    assert {part.dtype for part in made} == {torch.float32}


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    for name in ("in_dim", "dim"):
        with pytest.raises(ValueError, match=rf"VariationalBottleneck: {name} must be >= 1"):
            VariationalBottleneck(**{"in_dim": 2, "dim": 2, name: 0})
    bottleneck = VariationalBottleneck(3, 2)
    with pytest.raises(ValueError, match=r"features must have size 3 in dimension 1; got 4"):
        bottleneck(torch.randn(2, 4))
    with pytest.raises(ValueError, match=r"axes of features must be >= 2; got 1"):
        bottleneck(torch.randn(3))
    with pytest.raises(ValueError, match=r"VariationalBottleneck: elements must be >= 1; got 0"):
        bottleneck(torch.randn(0, 3))
    with pytest.raises(ValueError, match=r"features must be floating point; got torch.int64"):
        bottleneck(torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"valid must have shape \(2, 4\); got \(2, 3\)"):
        bottleneck(torch.randn(2, 4, 3), torch.ones(2, 3, dtype=torch.bool))
    for axis in (0, 2, -2):
        with pytest.raises(ValueError, match=rf"channel_dim must name an axis.*got {axis}"):
            VariationalBottleneck(3, 2, channel_dim=axis)(torch.randn(3, 3))
