"""The entropies that `LFQ` and `BSQ` share, against enumeration of all codes."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ssltok.quantizers import _tuning
from ssltok.quantizers._binary import BitEntropies, bits_to_codes, codes_to_bits
from ssltok.quantizers._binary_fast import bit_entropies_fast
from tests.ranks import Ranks


def enumerate_codes(log_odds: Tensor) -> Tensor:
    """The probability of each of the `2**bits` codes for each row, one code after another."""
    columns = []
    for code in range(2 ** log_odds.shape[1]):
        signs = [1 if code >> j & 1 else -1 for j in range(log_odds.shape[1])]
        columns.append((log_odds * torch.tensor(signs)).sigmoid().prod(dim=1))
    return torch.stack(columns, dim=1)


def entropy(p: Tensor) -> Tensor:
    return -torch.xlogy(p, p).sum(dim=-1)


def brute_force(log_odds: Tensor) -> BitEntropies:
    p = enumerate_codes(log_odds)
    return BitEntropies(entropy(p).mean(), entropy(p.mean(dim=0)))


# --- oracle ---------------------------------------------------------------------------------------


@given(
    bits=st.integers(1, 10),
    tokens=st.integers(1, 20),
    scale=st.sampled_from([0.1, 1.0, 5.0, 12.0]),
    seed=st.integers(0, 99),
)
def test_both_entropies_are_those_of_all_codes(
    bits: int, tokens: int, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_odds = torch.randn(tokens, bits, generator=generator, dtype=torch.float64) * scale + 0.2
    log_odds.requires_grad_()
    actual = bit_entropies_fast(log_odds, scale=1.7, group_bits=10, over_ranks=False)
    expected = brute_force(1.7 * log_odds)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
        (ours,) = torch.autograd.grad(one, log_odds, retain_graph=True)
        (theirs,) = torch.autograd.grad(other, log_odds, retain_graph=True)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_groups_are_the_entropies_of_their_bits_alone() -> None:
    """7 bits in groups of at most 3: 3, 2 and 2 of them."""
    log_odds = torch.randn(9, 7, dtype=torch.float64)
    grouped = bit_entropies_fast(log_odds, group_bits=3, over_ranks=False)
    whole = brute_force(log_odds)
    groups = [brute_force(part) for part in torch.split(log_odds, [3, 2, 2], dim=1)]
    torch.testing.assert_close(grouped.batch, sum(g.batch for g in groups))
    torch.testing.assert_close(grouped.per_sample, whole.per_sample)
    assert grouped.batch > whole.batch  # an upper bound


def test_gradcheck() -> None:
    real = torch.tensor([True, False, True, True])
    log_odds = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda a: tuple(bit_entropies_fast(a, real, group_bits=3, over_ranks=False)), log_odds
    )


# --- known values ---------------------------------------------------------------------------------


def test_undecided_bits_are_worth_log_two_each() -> None:
    result = bit_entropies_fast(torch.zeros(4, 6), group_bits=6, over_ranks=False)
    for value in result:
        torch.testing.assert_close(value, torch.tensor(6 * math.log(2)))


def test_certain_codes_have_the_entropy_of_their_histogram() -> None:
    """Codes 00, 00, 01, 11, for sure: none each, and that of (1/2, 1/4, 1/4) together."""
    log_odds = 500.0 * torch.tensor([[-1.0, -1.0], [-1.0, -1.0], [1.0, -1.0], [1.0, 1.0]])
    per_sample, batch = bit_entropies_fast(log_odds, group_bits=2, over_ranks=False)
    assert per_sample.abs() < 1e-15
    torch.testing.assert_close(batch, torch.tensor(1.5 * math.log(2)))


def test_codes_and_bits() -> None:
    assert codes_to_bits(torch.tensor([6, 1]), 3).tolist() == [
        [False, True, True],
        [True, False, False],
    ]
    every = torch.arange(2**10)
    assert torch.equal(bits_to_codes(codes_to_bits(every, 10)), every)
    top = torch.ones(1, 62, dtype=torch.bool)
    assert bits_to_codes(top).item() == 2**62 - 1
    assert torch.equal(codes_to_bits(bits_to_codes(top), 62), top)


# --- laws -----------------------------------------------------------------------------------------


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    log_odds = torch.randn(37, 7, dtype=torch.float64, requires_grad=True)

    def run() -> tuple[Tensor, Tensor]:
        per_sample, batch = bit_entropies_fast(log_odds, group_bits=7, over_ranks=False)
        (grad,) = torch.autograd.grad(per_sample - 0.6 * batch, log_odds)
        return torch.stack([per_sample, batch]), grad

    whole = run()
    monkeypatch.setattr(_tuning, "OUTER_NUMBERS", 5 * 2**4)  # 5 rows at once, the last time 2
    torch.testing.assert_close(run(), whole)


def test_padding_counts_nothing_whatever_it_holds() -> None:
    log_odds = torch.randn(8, 4, dtype=torch.float64)
    real = torch.tensor([True, True, False, True, False, True, True, False])
    log_odds[~real] = math.nan
    log_odds.requires_grad_()
    padded = bit_entropies_fast(log_odds, real, group_bits=4, over_ranks=False)
    cut = bit_entropies_fast(log_odds[real], group_bits=4, over_ranks=False)
    torch.testing.assert_close(padded, cut)
    (grad,) = torch.autograd.grad(padded.per_sample - padded.batch, log_odds)
    assert (grad[~real] == 0).all()
    assert grad.isfinite().all()


@pytest.mark.parametrize("tokens", [0, 3])
def test_no_token_is_no_entropy(tokens: int) -> None:
    log_odds = torch.randn(tokens, 5, requires_grad=True)
    real = torch.zeros(tokens, dtype=torch.bool)
    per_sample, batch = bit_entropies_fast(log_odds, real, group_bits=5, over_ranks=False)
    assert per_sample == 0
    assert batch == 0
    (grad,) = torch.autograd.grad(per_sample - batch, log_odds)
    assert (grad == 0).all()


def test_saturation_leaves_finite_gradients() -> None:
    log_odds = torch.tensor([[1e4, -1e4, 0.0], [3e38, -50.0, 90.0]], requires_grad=True)
    per_sample, batch = bit_entropies_fast(log_odds, group_bits=3, over_ranks=False)
    (grad,) = torch.autograd.grad(per_sample - batch, log_odds)
    assert per_sample.isfinite()
    assert batch.isfinite()
    assert grad.isfinite().all()


class Largest(TorchDispatchMode):
    """Record the size of the largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


def test_no_matrix_of_tokens_by_codes_is_ever_made() -> None:
    tokens, bits = 3000, 12
    log_odds = torch.randn(tokens, bits, requires_grad=True)
    with Largest() as largest:  # type: ignore[no-untyped-call]
        per_sample, batch = bit_entropies_fast(log_odds, group_bits=bits, over_ranks=False)
        torch.autograd.grad(per_sample - batch, log_odds)
    assert 2**bits <= largest.numel <= max(_tuning.OUTER_NUMBERS, 2 * tokens * bits)
    assert largest.numel < tokens * 2**bits / 40


def one_rank(log_odds: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    leaf = log_odds.clone().requires_grad_()
    per_sample, batch = bit_entropies_fast(leaf, real, group_bits=3, over_ranks=True)
    (grad,) = torch.autograd.grad(per_sample - 0.7 * batch, leaf)
    return per_sample.detach(), batch.detach(), grad


@pytest.mark.parametrize("split", [4, 1, 0])
def test_ranks_with_unequal_batches_agree_with_one_process(two_ranks: Ranks, split: int) -> None:
    log_odds = torch.randn(8, 5, dtype=torch.float64)
    real = torch.tensor([True, False, True, True, True, False, True, True])
    expected = one_rank(log_odds, real)
    first, second = two_ranks.run(
        one_rank, (log_odds[:split], real[:split]), (log_odds[split:], real[split:])
    )
    for reply in (first, second):
        torch.testing.assert_close(reply[:2], expected[:2])
    averaged = torch.cat([first[2], second[2]]) / 2  # what DDP does to parameters
    torch.testing.assert_close(averaged, expected[2])


def test_the_soft_bits_are_those_of_squared_distances() -> None:
    """sigma(4 z / T) is the softmax of -|z - c|^2 / T over c = 1 and c = -1."""
    z, temperature = torch.randn(6, dtype=torch.float64), 0.7
    corners = torch.tensor([-1.0, 1.0])
    p = F.softmax(-(z[:, None] - corners).square() / temperature, dim=1)[:, 1]
    torch.testing.assert_close((4 * z / temperature).sigmoid(), p)
