"""The latent regressor of a context autoencoder."""

import math

import pytest
import torch
from torch import Tensor, nn

from ssltok.nn import LatentRegressor, sinusoidal_positions
from tests.nn.test_transformer import scrambled

HERE = torch.tensor([[0, 5, 3], [2, 1, -1], [8, 0, 6]])
THERE = torch.tensor([[4, 2], [0, 7], [1, -1]])


def small(depth: int = 2) -> LatentRegressor:
    regressor = scrambled(LatentRegressor(6, depth=depth, heads=2, mlp_ratio=1.5), std=0.3)
    assert isinstance(regressor, LatentRegressor)
    return regressor.eval()


def transcribed(regressor: LatentRegressor, visible: Tensor, here: Tensor, there: Tensor) -> Tensor:
    """The formula for one series, without any -1, on torch's own multi-head attention."""
    p_v, p = sinusoidal_positions(here.double(), 6), sinusoidal_positions(there.double(), 6)
    z = regressor.query.expand(len(there), 6)
    for layer in regressor.layers:
        query_norm, key_norm, value_norm, mlp_norm, inward, outward, first, second = (
            layer.get_submodule(name)
            for name in (
                "query_norm", "key_norm", "value_norm", "mlp_norm", "attention.inward",
                "attention.outward", "mlp.0", "mlp.2",
            )
        )  # fmt: skip
        assert isinstance(inward, nn.Linear)
        assert isinstance(outward, nn.Linear)
        peer = nn.MultiheadAttention(6, 2, bias=False, batch_first=True, dtype=torch.float64)
        peer.in_proj_weight = nn.Parameter(inward.weight)
        peer.out_proj.weight = outward.weight
        source = torch.cat([visible, z])
        keys = key_norm(source + torch.cat([p_v, p]))
        query, key, value = (x.unsqueeze(0) for x in (query_norm(z + p), keys, value_norm(source)))
        z = z + peer(query, key, value, need_weights=False)[0][0]
        hidden = first(mlp_norm(z))
        z = z + second(hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))))
    out: Tensor = regressor.norm(z)
    return out


# Oracle ---------------------------------------------------------------------------------------


def test_is_the_transcription_of_the_formula() -> None:
    regressor = small(3).double()
    visible = torch.randn(3, 3, 6, dtype=torch.float64)
    made = regressor(visible, HERE, THERE)
    for row in range(3):
        here, there = HERE[row] >= 0, THERE[row] >= 0
        expected = transcribed(regressor, visible[row, here], HERE[row, here], THERE[row, there])
        torch.testing.assert_close(made[row, there], expected)


# Known values ---------------------------------------------------------------------------------


def test_positions_enter_the_products_but_not_what_is_read() -> None:
    """Without products, other places make no difference."""
    regressor = small(1).double()
    second = regressor.get_submodule("layers.0.mlp.2")
    inward = regressor.get_submodule("layers.0.attention.inward")
    assert isinstance(second, nn.Linear)
    assert isinstance(inward, nn.Linear)
    with torch.no_grad():
        second.weight.zero_()
        second.bias.zero_()
        inward.weight[:12].zero_()  # all products are 0, so both latents are read alike
    visible = torch.randn(1, 1, 6, dtype=torch.float64)
    made = [
        regressor(visible, torch.tensor([[here]]), torch.tensor([[there]]))
        for here, there in [(0, 1), (7, 30)]
    ]
    torch.testing.assert_close(made[0], made[1])


def test_the_order_of_the_visible_latents_does_not_matter() -> None:
    regressor = small()
    visible = torch.randn(3, 3, 6)
    order = [2, 0, 1]
    made = regressor(visible[:, order], HERE[:, order], THERE)
    there = THERE >= 0
    torch.testing.assert_close(made[there], regressor(visible, HERE, THERE)[there])


# Laws -----------------------------------------------------------------------------------------


def test_what_has_no_place_cannot_leak() -> None:
    regressor = small()
    visible = torch.randn(3, 3, 6, requires_grad=True)
    garbage = visible.masked_fill((HERE < 0).unsqueeze(-1), torch.nan)
    made = regressor(garbage, HERE, THERE)[THERE >= 0]
    made.square().sum().backward()
    assert visible.grad is not None
    assert torch.equal(visible.grad.abs().sum(dim=2) > 0, HERE >= 0)
    for parameter in regressor.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


def test_a_series_does_not_depend_on_its_batch() -> None:
    regressor = small()
    visible = torch.randn(3, 3, 6, requires_grad=True)
    together = regressor(visible, HERE, THERE)
    for row in range(3):
        at = slice(row, row + 1)
        alone = regressor(visible[at], HERE[at], THERE[at])[0]
        torch.testing.assert_close(alone, together[row], atol=1e-6, rtol=1e-5)
    (grad,) = torch.autograd.grad(together[1].square().sum(), visible)
    assert grad[[0, 2]].abs().max() == 0


def test_gradients_reach_everything() -> None:
    regressor = small().train()
    made = regressor(torch.randn(3, 3, 6), HERE, THERE)
    (made * torch.randn_like(made)).sum().backward()
    for name, parameter in regressor.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-6, name


def test_gradcheck() -> None:
    regressor = small().double()
    visible = torch.randn(1, 3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: regressor(v, HERE[1:2], THERE[:1]), (visible,))


def test_stochastic_depth_drops_whole_series_and_repeats() -> None:
    regressor = LatentRegressor(6, depth=1, heads=2, stochastic_depth=1.0)
    visible = torch.randn(3, 3, 6)
    untouched = regressor.norm(regressor.query).expand(3, 2, 6)
    torch.testing.assert_close(regressor(visible, HERE, THERE), untouched)
    assert not torch.allclose(regressor.eval()(visible, HERE, THERE), untouched)
    half = LatentRegressor(6, depth=2, heads=2, stochastic_depth=0.5)
    state = torch.get_rng_state()
    made = [
        half(visible, HERE, THERE, generator=torch.Generator().manual_seed(s)) for s in (4, 4, 6)
    ]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert torch.equal(state, torch.get_rng_state())


def test_long_sequences() -> None:
    regressor = small()
    here, there = torch.arange(1000).expand(2, -1), torch.arange(1000, 4096).expand(2, -1)
    with torch.no_grad():
        made = regressor(torch.randn(2, 1000, 6), here, there)
    assert made.shape == (2, 3096, 6)
    assert torch.isfinite(made).all()


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    for dim in (0, 5):
        with pytest.raises(ValueError, match=rf"dim must be even and >= 2; got {dim}"):
            LatentRegressor(dim, depth=1, heads=1)
    with pytest.raises(ValueError, match=r"LatentRegressor: depth must be >= 1; got 0"):
        LatentRegressor(6, depth=0, heads=1)
    with pytest.raises(ValueError, match=r"Attention: heads must divide dim; got 4 and 6"):
        LatentRegressor(6, depth=1, heads=4)
    with pytest.raises(ValueError, match=r"LatentRegressor: mlp_ratio must be > 0; got 0"):
        LatentRegressor(6, depth=1, heads=1, mlp_ratio=0)
    with pytest.raises(ValueError, match=r"stochastic_depth must lie in \[0, 1\]; got -1"):
        LatentRegressor(6, depth=1, heads=1, stochastic_depth=-1)
    regressor = LatentRegressor(6, depth=1, heads=1)
    visible = torch.randn(3, 3, 6)
    with pytest.raises(ValueError, match=r"visible must be \(batch, tokens, dim\); got shape"):
        regressor(visible[0], HERE, THERE)
    with pytest.raises(ValueError, match=r"visible must have size 6 in dimension 2; got 5"):
        regressor(visible[..., :5], HERE, THERE)
    with pytest.raises(ValueError, match=r"LatentRegressor: batch must be >= 1; got 0"):
        regressor(visible[:0], HERE[:0], THERE[:0])
    with pytest.raises(ValueError, match=r"visible_places must be int64; got torch.float32"):
        regressor(visible, HERE.float(), THERE)
    with pytest.raises(ValueError, match=r"visible_places must have size 3 in dimension 1; got 2"):
        regressor(visible, HERE[:, :2], THERE)
    with pytest.raises(ValueError, match=r"target_places must have batch 3; got 2"):
        regressor(visible, HERE, THERE[:2])
    with pytest.raises(ValueError, match=r"tokens of target_places must be >= 1; got 0"):
        regressor(visible, HERE, THERE[:, :0])
