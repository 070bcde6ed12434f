import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssltok.quantizers import SimVQ

# --- oracle ---------------------------------------------------------------------------------------


@given(
    tokens=st.integers(1, 15),
    codes=st.integers(1, 9),
    dim=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_it_is_vector_quantization_with_a_mapped_codebook(
    tokens: int, codes: int, dim: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    quantizer = SimVQ(
        dim, codes, codebook_weight=0.7, commitment_weight=0.4, generator=generator
    ).double()
    z = torch.randn(tokens, dim, generator=generator, dtype=torch.float64).requires_grad_()
    codebook = torch.stack(
        [sum(row[i] * quantizer.weight[:, i] for i in range(dim)) for row in quantizer.frozen]
    )
    distances = (z[:, None] - codebook).square().sum(dim=2)
    nearest = distances.argmin(dim=1)
    chosen = codebook[nearest]
    loss = 0.7 * (z.detach() - chosen).square().mean()
    loss = loss + 0.4 * (z - chosen.detach()).square().mean()
    actual = quantizer(z)
    assert torch.equal(actual.codes, nearest)
    torch.testing.assert_close(actual.vectors, chosen)
    torch.testing.assert_close(actual.loss, loss)
    ours = torch.autograd.grad(actual.loss, [z, quantizer.weight])
    theirs = torch.autograd.grad(loss, [z, quantizer.weight])
    torch.testing.assert_close(ours, theirs)


# --- known values ---------------------------------------------------------------------------------


def test_the_map_turns_the_frozen_codes() -> None:
    quantizer = SimVQ(2, 2)
    with torch.no_grad():
        quantizer.frozen.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        quantizer.weight.copy_(torch.tensor([[0.0, 2.0], [3.0, 0.0]]))
    assert quantizer.codebook.tolist() == [[0.0, 3.0], [2.0, 0.0]]
    assert quantizer.decode(torch.tensor([1, 0, -1])).tolist() == [
        [2.0, 0.0],
        [0.0, 3.0],
        [0.0, 0.0],
    ]


def test_the_first_codebook_has_variance_one_over_dim() -> None:
    frozen = SimVQ(16, 4000, generator=torch.Generator().manual_seed(0)).frozen
    assert abs(frozen.var().item() * 16 - 1) < 0.02


# --- laws -----------------------------------------------------------------------------------------


def test_one_step_moves_codes_that_were_not_used() -> None:
    quantizer = SimVQ(4, 50, generator=torch.Generator().manual_seed(0))
    before, frozen = quantizer.codebook.detach().clone(), quantizer.frozen.clone()
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1)
    result = quantizer(torch.ones(3, 4))
    torch.autograd.backward(result.loss)
    optimizer.step()
    assert len(set(result.codes.tolist())) == 1
    moved = (quantizer.codebook - before).abs().amax(dim=1)
    assert (moved > 0).all()
    assert torch.equal(quantizer.frozen, frozen)
    assert [name for name, _ in quantizer.named_parameters()] == ["weight"]


def test_the_gradient_goes_straight_through_and_not_to_the_codebook() -> None:
    quantizer, weight = SimVQ(3, 5), torch.randn(6, 3)
    z = torch.randn(6, 3, requires_grad=True)
    vectors = quantizer(z).vectors
    to_z, to_map = torch.autograd.grad(
        (vectors * weight).sum(), [z, quantizer.weight], allow_unused=True
    )
    assert torch.equal(to_z, weight)
    assert to_map is None


def test_a_generator_reproduces_it_and_a_state_dict_carries_it() -> None:
    one, same, other = (
        SimVQ(3, 5, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one.codebook, same.codebook)
    assert not torch.equal(one.codebook, other.codebook)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.codebook, other.codebook)


# --- complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "SimVQ: dim must be >= 1; got 0"),
        ({"codebook_size": 0}, "SimVQ: codebook_size must be >= 1; got 0"),
        ({"codebook_weight": -1.0}, "SimVQ: codebook_weight must be >= 0; got -1.0"),
        ({"commitment_weight": -1.0}, "SimVQ: commitment_weight must be >= 0; got -1.0"),
    ],
)
def test_it_refuses_options(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimVQ(**{"dim": 3, "codebook_size": 5, **options})  # type: ignore[arg-type]


def test_it_refuses_other_widths_and_codes_out_of_range() -> None:
    with pytest.raises(ValueError, match="SimVQ: latents must have size 3 in dimension -1; got 4"):
        SimVQ(3, 5)(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"SimVQ: codes must lie in \[-1, 5\); got values from 5"):
        SimVQ(3, 5).decode(torch.tensor([5]))
