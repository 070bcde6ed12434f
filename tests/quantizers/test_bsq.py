import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.quantizers import BSQ, Quantized
from tests.ranks import Ranks


def naive(
    z: Tensor, *, commitment: float, entropy: float, diversity: float, temperature: float
) -> Quantized:
    """BSQ as written: a softmax over the distances to all corners on the sphere, in float64."""
    bits = z.shape[1]
    corners = torch.tensor(
        [[1.0 if code >> j & 1 else -1.0 for j in range(bits)] for code in range(2**bits)]
    ).double() / math.sqrt(bits)
    u = z / torch.sqrt((z * z).sum(dim=1, keepdim=True))
    distances = (u[:, None] - corners).square().sum(dim=2)
    codes = distances.argmin(dim=1)
    log_p = (-distances / temperature).log_softmax(dim=1)
    per_sample = -(log_p.exp() * log_p).sum(dim=1).mean()
    mean = log_p.exp().mean(dim=0)
    batch = -(mean * mean.log()).sum()
    loss = commitment * (u - corners[codes]).square().sum(dim=1).mean()
    return Quantized(corners[codes], codes, loss + entropy * (per_sample - diversity * batch))


# --- oracle ---------------------------------------------------------------------------------------


@given(
    bits=st.integers(1, 7),
    tokens=st.integers(1, 12),
    temperature=st.sampled_from([0.1, 1.0]),
    seed=st.integers(0, 99),
)
def test_it_is_the_softmax_over_all_corners(
    bits: int, tokens: int, temperature: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(tokens, bits, generator=generator, dtype=torch.float64) + 0.1
    z.requires_grad_()
    quantizer = BSQ(
        bits, commitment_weight=0.4, entropy_weight=0.3, diversity_weight=0.8,
        temperature=temperature,
    ).double()  # fmt: skip
    actual = quantizer(z)
    expected = naive(z, commitment=0.4, entropy=0.3, diversity=0.8, temperature=temperature)
    torch.testing.assert_close(actual.vectors, expected.vectors, rtol=1e-7, atol=0)
    assert torch.equal(actual.codes, expected.codes)
    torch.testing.assert_close(actual.loss, expected.loss)
    (ours,) = torch.autograd.grad(actual.loss, z)
    (theirs,) = torch.autograd.grad(expected.loss, z)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


def test_defaults_are_those_of_the_authors() -> None:
    z = torch.randn(30, 6, dtype=torch.float64)
    expected = naive(z, commitment=0.0, entropy=0.1, diversity=1.0, temperature=1.0)
    torch.testing.assert_close(BSQ(6).double()(z).loss, expected.loss)


def test_the_gradient_passes_the_sign_and_the_sphere() -> None:
    z = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(z)
    (actual,) = torch.autograd.grad((BSQ(5).double()(z).vectors * weight).sum(), z)
    u = z / z.norm(dim=1, keepdim=True)
    (expected,) = torch.autograd.grad((u * weight).sum(), z)
    torch.testing.assert_close(actual, expected)


# --- known values ---------------------------------------------------------------------------------


def test_corners_lie_on_the_sphere_in_the_order_of_the_bits() -> None:
    quantizer = BSQ(4)
    torch.testing.assert_close(quantizer.codebook.norm(dim=1), torch.ones(16))
    vectors, codes, _ = quantizer(torch.tensor([[3.0, -1.0, -1.0, 0.5], [-9.0, 1.0, 0.0, 2.0]]))
    assert vectors.tolist() == [[0.5, -0.5, -0.5, 0.5], [-0.5, 0.5, -0.5, 0.5]]
    assert codes.tolist() == [1 + 8, 2 + 8]


def test_commitment_is_summed_over_channels() -> None:
    """u = (1, 0, 0, 0) and q = (1, -1, -1, -1) / 2: |u - q|^2 = 4 * 1/4."""
    quantizer = BSQ(4, commitment_weight=3.0, entropy_weight=0.0)
    torch.testing.assert_close(quantizer(torch.tensor([[7.0, 0, 0, 0]])).loss, torch.tensor(3.0))


# --- laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_length_does_not_matter(scale: float) -> None:
    quantizer, z = BSQ(6, commitment_weight=1.0), torch.randn(20, 6)
    one, other = quantizer(z), quantizer(z * scale)
    assert torch.equal(one.codes, other.codes)
    torch.testing.assert_close(one.loss, other.loss)


def test_zero_latents_are_finite() -> None:
    z = torch.zeros(3, 4, requires_grad=True)
    result = BSQ(4, commitment_weight=1.0)(z)
    (grad,) = torch.autograd.grad(result.vectors.sum() + result.loss, z)
    assert result.codes.tolist() == [0, 0, 0]
    assert grad.isfinite().all()
    assert grad.abs().max() < 10


def one_rank(z: Tensor) -> Tensor:
    quantizer = BSQ(3, commitment_weight=0.0, entropy_weight=1.0, temperature=0.5).double()
    loss: Tensor = quantizer(z).loss
    return loss


def test_ranks_share_their_entropies(two_ranks: Ranks) -> None:
    z = torch.randn(7, 3, dtype=torch.float64)
    for loss in two_ranks.run(one_rank, (z[:2],), (z[2:],)):
        torch.testing.assert_close(loss, one_rank(z))


def test_groups_are_added() -> None:
    z = torch.randn(30, 6, dtype=torch.float64)
    options = {"entropy_weight": 1.0, "temperature": 0.1}
    whole, cut = (BSQ(6, group_bits=g, **options).double()(z).loss for g in (6, 2))  # type: ignore[arg-type]
    assert cut < whole  # the groups' entropies overestimate the diversity


# --- complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, r"BSQ: dim must lie in \[1, 62\]; got 0"),
        ({"commitment_weight": -1.0}, "BSQ: commitment_weight must be >= 0; got -1.0"),
        ({"entropy_weight": -0.1}, "BSQ: entropy_weight must be >= 0; got -0.1"),
        ({"diversity_weight": -2.0}, "BSQ: diversity_weight must be >= 0; got -2.0"),
        ({"temperature": -1.0}, "BSQ: temperature must be > 0; got -1.0"),
        ({"group_bits": 0}, "BSQ: group_bits must be >= 1; got 0"),
    ],
)
def test_it_refuses_options(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BSQ(**{"dim": 4, **options})  # type: ignore[arg-type]


def test_it_refuses_other_widths_and_codes_out_of_range() -> None:
    with pytest.raises(ValueError, match="BSQ: latents must have size 4 in dimension 1; got 3"):
        BSQ(4, channel_dim=1)(torch.zeros(2, 3, 5))
    with pytest.raises(ValueError, match=r"BSQ: codes must lie in \[-1, 16\); got values from -2"):
        BSQ(4).decode(torch.tensor([-2]))
