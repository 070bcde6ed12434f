import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.quantizers import LFQ, Quantized
from tests.ranks import Ranks


def naive(
    z: Tensor, *, commitment: float, entropy: float, diversity: float, temperature: float
) -> Quantized:
    """LFQ as written: a softmax over the distances to all `2**bits` corners, in float64."""
    bits = z.shape[1]
    corners = torch.tensor(
        [[1.0 if code >> j & 1 else -1.0 for j in range(bits)] for code in range(2**bits)]
    ).double()
    distances = (z[:, None] - corners).square().sum(dim=2)
    codes = distances.argmin(dim=1)
    log_p = (-distances / temperature).log_softmax(dim=1)
    per_sample = -(log_p.exp() * log_p).sum(dim=1).mean()
    mean = log_p.exp().mean(dim=0)
    batch = -(mean * mean.log()).sum()
    loss = commitment * (z - corners[codes]).square().mean()
    return Quantized(corners[codes], codes, loss + entropy * (per_sample - diversity * batch))


# --- oracle ---------------------------------------------------------------------------------------


@given(
    bits=st.integers(1, 7),
    tokens=st.integers(1, 12),
    temperature=st.sampled_from([0.3, 1.0]),
    seed=st.integers(0, 99),
)
def test_it_is_the_softmax_over_all_codes(
    bits: int, tokens: int, temperature: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(tokens, bits, generator=generator, dtype=torch.float64).requires_grad_()
    quantizer = LFQ(
        bits, commitment_weight=0.4, entropy_weight=0.3, diversity_weight=0.8,
        temperature=temperature,
    ).double()  # fmt: skip
    actual = quantizer(z)
    expected = naive(z, commitment=0.4, entropy=0.3, diversity=0.8, temperature=temperature)
    torch.testing.assert_close(actual.vectors, expected.vectors, rtol=0, atol=0)
    assert torch.equal(actual.codes, expected.codes)
    torch.testing.assert_close(actual.loss, expected.loss)
    (ours,) = torch.autograd.grad(actual.loss, z)
    (theirs,) = torch.autograd.grad(expected.loss, z)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_defaults_are_those_of_the_papers() -> None:
    z = 0.02 * torch.randn(30, 6, dtype=torch.float64)
    expected = naive(z, commitment=0.25, entropy=0.1, diversity=1.0, temperature=0.01)
    torch.testing.assert_close(LFQ(6).double()(z).loss, expected.loss)


# --- known values ---------------------------------------------------------------------------------


def test_signs_are_bits_the_first_worth_one() -> None:
    vectors, codes, _ = LFQ(3)(torch.tensor([[0.1, -0.1, -5.0], [-1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
    assert vectors.tolist() == [[1, -1, -1], [-1, 1, 1], [-1, -1, -1]]
    assert codes.tolist() == [1, 6, 0]


def test_sure_and_evenly_spread_codes_earn_the_whole_entropy() -> None:
    """All 8 corners once, exactly: no commitment, no doubt, and log 8 of diversity."""
    quantizer = LFQ(3, entropy_weight=2.0, diversity_weight=0.5)
    loss = quantizer(quantizer.codebook).loss
    torch.testing.assert_close(loss, torch.tensor(-2.0 * 0.5 * math.log(8)))


def test_zero_latents_are_all_doubt() -> None:
    loss = LFQ(4, commitment_weight=0.0, entropy_weight=1.0, diversity_weight=0.25)(
        torch.zeros(5, 4)
    ).loss
    torch.testing.assert_close(loss, torch.tensor(0.75 * 4 * math.log(2)))


# --- laws -----------------------------------------------------------------------------------------


def test_the_gradient_goes_straight_through() -> None:
    z = torch.randn(6, 4, requires_grad=True)
    weight = torch.randn(6, 4)
    (grad,) = torch.autograd.grad((LFQ(4)(z).vectors * weight).sum(), z)
    assert torch.equal(grad, weight)


def test_62_bits_fit_and_groups_bound_the_entropy() -> None:
    quantizer = LFQ(62)
    assert quantizer.codebook_size == 2**62
    assert not any(buffer.numel() > 1 for buffer in quantizer.buffers())
    z = torch.randn(3, 62, requires_grad=True)
    vectors, codes, loss = LFQ(62, group_bits=8)(z)
    assert torch.equal(quantizer.decode(codes), vectors)
    assert torch.autograd.grad(loss, z)[0].isfinite().all()


def test_more_group_bits_lower_the_diversity() -> None:
    z = torch.randn(40, 6, dtype=torch.float64)
    one, two, three, six = (
        LFQ(6, temperature=3.0, group_bits=bits).double()(z).loss for bits in (1, 2, 3, 6)
    )
    assert one < two < six  # pairs and triples split the six bits differently: neither bounds
    assert one < three < six  # the other


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_latents_lose_no_code(dtype: torch.dtype) -> None:
    quantizer = LFQ(12)
    every = torch.arange(2**12)
    result = quantizer(quantizer.decode(every).to(dtype))
    assert torch.equal(result.codes, every)
    assert result.loss.dtype == torch.float32


def one_rank(z: Tensor, *, training: bool) -> tuple[Tensor, Tensor]:
    leaf = z.clone().requires_grad_()
    quantizer = LFQ(3, commitment_weight=0.0, entropy_weight=1.0, temperature=2.0).double()
    loss = quantizer.train(training)(leaf).loss
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


def train_one(z: Tensor) -> tuple[Tensor, Tensor]:
    return one_rank(z, training=True)


def evaluate_one(z: Tensor) -> tuple[Tensor, Tensor]:
    return one_rank(z, training=False)


def test_ranks_share_their_entropies_in_training_only(two_ranks: Ranks) -> None:
    z = torch.randn(7, 3, dtype=torch.float64)
    whole = train_one(z)
    first, second = two_ranks.run(train_one, (z[:5],), (z[5:],))
    torch.testing.assert_close(first[0], whole[0])
    torch.testing.assert_close(second[0], whole[0])
    torch.testing.assert_close(torch.cat([first[1], second[1]]) / 2, whole[1])
    first, second = two_ranks.run(evaluate_one, (z[:5],), (z[5:],))
    torch.testing.assert_close(first, evaluate_one(z[:5]))
    torch.testing.assert_close(second, evaluate_one(z[5:]))


# --- complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, r"LFQ: dim must lie in \[1, 62\]; got 0"),
        ({"dim": 63}, r"LFQ: dim must lie in \[1, 62\]; got 63"),
        ({"commitment_weight": -1.0}, "LFQ: commitment_weight must be >= 0; got -1.0"),
        ({"entropy_weight": -0.1}, "LFQ: entropy_weight must be >= 0; got -0.1"),
        ({"diversity_weight": math.nan}, "LFQ: diversity_weight must be >= 0; got nan"),
        ({"temperature": 0.0}, "LFQ: temperature must be > 0; got 0.0"),
        ({"group_bits": 0}, "LFQ: group_bits must be >= 1; got 0"),
    ],
)
def test_it_refuses_options(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LFQ(**{"dim": 4, **options})  # type: ignore[arg-type]


def test_it_refuses_other_widths_and_codes_out_of_range() -> None:
    with pytest.raises(ValueError, match="LFQ: latents must have size 4 in dimension -1; got 3"):
        LFQ(4)(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"LFQ: codes must lie in \[-1, 16\); got values from 16"):
        LFQ(4).decode(torch.tensor([16]))
