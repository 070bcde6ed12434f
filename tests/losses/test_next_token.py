"""Next token against the product of conditionals, code by code."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from ssltok.losses import next_token_loss
from tests.losses.laws import normal
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def oracle(logits: Tensor, codes: Tensor) -> Tensor:
    nats = []
    for b in range(codes.shape[0]):
        for i in range(1, codes.shape[1]):
            if codes[b, i] != -1:
                powers = logits[b, i - 1].exp()
                nats.append(-(powers[codes[b, i]] / powers.sum()).log())
    return torch.stack(nats).mean()


def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    codes = torch.randint(0, 7, (3, 5), generator=generator)
    codes[0, 3:] = -1
    codes[2, 0] = -1
    return normal(generator, 3, 5, 7, scale=2.0), codes


PARITY = [
    Parity("next_token_loss", "Radford et al. 2018, equation 1", next_token_loss, oracle, draw)
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_published(case: Parity) -> None:
    assert_parity(case)


@pytest.mark.parametrize("cut", [1, 2])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, cut: int) -> None:
    logits, codes = draw(torch.Generator().manual_seed(3))
    assert_ranks_agree(two_ranks, next_token_loss, logits, codes, cut=cut)


# --- known values ---------------------------------------------------------------------------


def test_flat_logits_cost_the_logarithm() -> None:
    codes = torch.tensor([[0, 3, -1, 2], [1, 1, 1, -1]])
    value = next_token_loss(torch.zeros(2, 4, 5), codes)
    assert value.item() == pytest.approx(math.log(5))


def test_logits_speak_of_the_token_after() -> None:
    codes = torch.tensor([[0, 1, 2]])
    right = 50 * torch.nn.functional.one_hot(codes.roll(-1, 1), 3).float()
    assert next_token_loss(right, codes) < 1e-6
    own = 50 * torch.nn.functional.one_hot(codes, 3).float()
    assert next_token_loss(own, codes).item() == pytest.approx(50)


def test_a_start_token_makes_the_first_code_count() -> None:
    logits, codes = draw(torch.Generator().manual_seed(1))
    whole = next_token_loss(
        torch.cat([torch.zeros(3, 1, 7, dtype=torch.float64), logits], 1),
        pad(codes, (1, 0), value=-1),
    )
    counts = (codes[:, 1:] >= 0).sum(), (codes[:, 0] >= 0).sum()
    first = math.log(7)  # flat logits for the first code
    want = (next_token_loss(logits, codes) * counts[0] + first * counts[1]) / sum(counts)
    torch.testing.assert_close(whole, want)


# --- laws -----------------------------------------------------------------------------------


def test_the_last_logits_and_padding_do_not_count() -> None:
    logits, codes = draw(torch.Generator().manual_seed(1))
    logits.requires_grad_()
    value = next_token_loss(logits, codes)
    (gradient,) = torch.autograd.grad(value, logits)
    silent = torch.cat([codes[:, 1:], torch.full((3, 1), -1)], 1) == -1
    assert torch.equal(gradient[silent], torch.zeros_like(gradient[silent]))
    assert gradient[~silent].abs().amax(-1).min() > 0
    with torch.no_grad():
        logits[silent] += torch.randn(int(silent.sum()), 7)
    assert torch.equal(next_token_loss(logits, codes), value)


def test_only_padding_costs_nothing() -> None:
    logits = torch.randn(2, 3, 4, requires_grad=True)
    value = next_token_loss(logits, torch.full((2, 3), -1))
    value.backward()
    assert value == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(2, 3, 4))


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logits", "codes", "said"),
    [
        ((2, 3), (2, 3), r"logits must be \(batch, tokens, codebook_size\); got shape \(2, 3\)$"),
        ((2, 3, 4), (2, 4), r"with codes \(batch, tokens\); got \(2, 3, 4\) and \(2, 4\)$"),
        ((2, 3, 4), (6,), r"codes must be \(batch, tokens\); got shape \(6,\)$"),
        ((2, 1, 4), (2, 1), r"tokens must be >= 2; got 1$"),
        ((0, 3, 4), (0, 3), r"logits.numel\(\) must be >= 1; got 0$"),
    ],
)
def test_bad_input_is_refused(logits: tuple[int, ...], codes: tuple[int, ...], said: str) -> None:
    with pytest.raises(ValueError, match=r"^next_token_loss: .*" + said):
        next_token_loss(torch.zeros(logits), torch.zeros(codes, dtype=torch.int64))


def test_codes_are_int64() -> None:
    with pytest.raises(ValueError, match=r"^next_token_loss: codes must be int64; got torch.int32"):
        next_token_loss(torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.int32))
