import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st

from ssltok.quantizers import GumbelQuantizer


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(dim: int = 3, codes: int = 5, seed: int = 0, **options: float) -> GumbelQuantizer:
    torch.manual_seed(seed)
    return GumbelQuantizer(dim, codes, generator=seeded(seed), **options).double()  # type: ignore[arg-type]


# --- oracle ---------------------------------------------------------------------------------------


@given(
    tokens=st.integers(1, 9),
    codes=st.integers(1, 6),
    temperature=st.sampled_from([0.3, 1.0, 2.5]),
    seed=st.integers(0, 99),
)
def test_it_is_the_straight_through_gumbel_softmax(
    tokens: int, codes: int, temperature: float, seed: int
) -> None:
    """The textbook form: y_hard = onehot + y - sg(y), then y_hard E; same noise."""
    quantizer = build(3, codes, seed, temperature=temperature, kl_weight=0.2)
    z = torch.randn(tokens, 3, generator=seeded(seed), dtype=torch.float64).requires_grad_()
    actual = quantizer(z)
    layer, book = quantizer.to_logits, quantizer.vectors
    logits = z @ layer.weight.T + layer.bias
    noise = -torch.empty(tokens, codes).double().exponential_(generator=seeded(seed)).log()
    y = ((logits + noise) / temperature).softmax(dim=1)
    hard = F.one_hot(y.argmax(dim=1), codes) + y - y.detach()
    p = logits.softmax(dim=1)
    loss = 0.2 * (p * (p * codes).log()).sum(dim=1).mean()
    assert torch.equal(actual.codes, y.argmax(dim=1))
    torch.testing.assert_close(actual.vectors, hard @ book)
    torch.testing.assert_close(actual.loss, loss)
    weight = torch.randn(tokens, 3, dtype=torch.float64)
    leaves = [z, layer.weight, layer.bias, book]
    ours = torch.autograd.grad((actual.vectors * weight).sum() + actual.loss, leaves)
    theirs = torch.autograd.grad(((hard @ book) * weight).sum() + loss, leaves)
    torch.testing.assert_close(ours, theirs)


def test_codes_are_drawn_with_their_probabilities_at_any_temperature() -> None:
    quantizer = build(2, 4, temperature=0.2)
    z = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    n = 20000
    codes = quantizer(z.expand(n, 2)).codes
    p = quantizer.to_logits(z).softmax(dim=1).squeeze(0)
    chi_square = ((torch.bincount(codes, minlength=4) - n * p).square() / (n * p)).sum()
    assert chi_square < 16.3  # the 99.9th percentile at 3 degrees of freedom


# --- known values ---------------------------------------------------------------------------------


def test_evaluation_takes_the_most_probable_code() -> None:
    quantizer = build(2, 3).eval()
    with torch.no_grad():
        quantizer.to_logits.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
        quantizer.to_logits.bias.zero_()
    z = torch.tensor([[2.0, 1.0], [1.0, 2.0], [-3.0, 0.0]], dtype=torch.float64)
    vectors, codes, _ = quantizer(z)
    assert codes.tolist() == [0, 1, 2]
    assert torch.equal(vectors, quantizer.vectors)
    assert torch.equal(quantizer.encode(z), codes)


def test_certainty_costs_the_whole_entropy() -> None:
    quantizer = build(2, 4, kl_weight=3.0)
    with torch.no_grad():
        quantizer.to_logits.weight.zero_()
        quantizer.to_logits.bias.copy_(torch.tensor([0.0, 900.0, 0.0, 0.0]))
    loss = quantizer(torch.randn(5, 2)).loss
    torch.testing.assert_close(loss, torch.tensor(3 * math.log(4)).double())


# --- laws -----------------------------------------------------------------------------------------


def test_the_generator_alone_decides() -> None:
    z = torch.randn(40, 3)
    one, same, other = (build(), build(), build())
    other.generator = seeded(9)
    state = torch.get_rng_state()
    first = one(z).codes
    assert torch.equal(first, same(z).codes)
    assert not torch.equal(first, other(z).codes)
    assert not torch.equal(first, one(z).codes)  # the generator goes on
    assert torch.equal(torch.get_rng_state(), state)


def test_the_temperature_may_be_annealed() -> None:
    """Assigning it is the same as having built with it."""
    z = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    annealed, built, other = build(), build(temperature=0.3), build()
    annealed.temperature = 0.3
    slopes = [
        torch.autograd.grad(quantizer(z).vectors.square().sum(), z)[0]
        for quantizer in (annealed, built, other)
    ]
    assert torch.equal(slopes[0], slopes[1])
    assert not torch.allclose(slopes[0], slopes[2])


# --- complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim must be >= 1; got 0"),
        ({"codebook_size": 0}, "codebook_size must be >= 1; got 0"),
        ({"temperature": 0.0}, "temperature must be > 0; got 0.0"),
        ({"kl_weight": -1.0}, "kl_weight must be >= 0; got -1.0"),
    ],
)
def test_it_refuses_options(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"GumbelQuantizer: {message}"):
        GumbelQuantizer(**{"dim": 3, "codebook_size": 5, **options})  # type: ignore[arg-type]


def test_it_refuses_codes_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"GumbelQuantizer: codes must lie in \[-1, 5\)"):
        build().decode(torch.tensor([5]))
