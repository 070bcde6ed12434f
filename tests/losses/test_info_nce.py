"""InfoNCE against MoCo's algorithm: concatenated logits and a cross-entropy."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok.losses import info_nce_loss
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def unit(z: Tensor) -> Tensor:
    return z / z.square().sum(1, keepdim=True).sqrt()


def with_queue(query: Tensor, key: Tensor, queue: Tensor, *, temperature: float) -> Tensor:
    """MoCo, algorithm 1: the positive logit first, then one for each row of the queue."""
    q, k, old = unit(query), unit(key.detach()), unit(queue.detach())
    logits = torch.cat([torch.stack([q[i] @ k[i] for i in range(len(q))])[:, None], q @ old.T], 1)
    labels = torch.zeros(len(q), dtype=torch.int64)
    return torch.nn.functional.cross_entropy(logits / temperature, labels)


def without_queue(query: Tensor, key: Tensor, *, temperature: float) -> Tensor:
    """MoCo v3, algorithm 1, one direction and without its factor 2 tau."""
    logits = unit(query) @ unit(key.detach()).T / temperature
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(query)))


def rows(sizes: tuple[int, ...], dim: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    return tuple(
        2 * torch.randn(n, dim, generator=generator, dtype=torch.float64) + 0.3 for n in sizes
    )


PARITY = [
    Parity(
        "info_nce_loss",
        f"He et al. 2020, algorithm 1, queue of {size}",
        partial(info_nce_loss, temperature=temperature),
        partial(with_queue, temperature=temperature),
        partial(rows, (batch, batch, size), 5),
    )
    for batch, size, temperature in [(4, 11, 0.07), (1, 1, 0.2)]
] + [
    Parity(
        "info_nce_loss",
        "Chen et al. 2021 (MoCo v3), algorithm 1, no queue",
        partial(info_nce_loss, temperature=0.2),
        partial(without_queue, temperature=0.2),
        partial(rows, (5, 5), 3),
    )
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


def test_the_factor_of_moco_v3() -> None:
    """Both directions and 2 tau, as its code adds them up."""
    q_a, k_b, q_b, k_a = rows((4, 4, 4, 4), 3, torch.Generator().manual_seed(0))
    tau = 0.3
    got = 2 * tau * sum(info_nce_loss(q, k, temperature=tau) for q, k in [(q_a, k_b), (q_b, k_a)])
    theirs = torch.zeros((), dtype=torch.float64)
    for q, k in ((q_a, k_b), (q_b, k_a)):
        logits = unit(q) @ unit(k).T / tau
        theirs = theirs + torch.nn.functional.cross_entropy(logits, torch.arange(4)) * (2 * tau)
    torch.testing.assert_close(got, theirs)


@pytest.mark.parametrize("many", [24, 2**19])  # keys in pieces of 16 and all at once
def test_a_long_queue_in_pieces_is_the_queue_at_once(
    many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Value, gradient and second derivative, with keys so far apart that each piece is higher."""
    query, key, queue = rows((3, 3, 53), 4, torch.Generator().manual_seed(1))
    queue = queue[(unit(queue) @ unit(query)[0]).argsort()]
    monkeypatch.setattr(sizes, "FEW_SIMILARITIES", 0)
    monkeypatch.setattr(sizes, "CACHED_SIMILARITIES", many)
    loss = partial(info_nce_loss, temperature=0.02)
    expected = with_queue(query.requires_grad_(), key, queue, temperature=0.02)
    torch.testing.assert_close(loss(query, key, queue), expected)
    (got,) = torch.autograd.grad(loss(query, key, queue), query)
    torch.testing.assert_close(got, torch.autograd.grad(expected, query)[0])
    assert torch.autograd.gradgradcheck(lambda q: loss(q, key, queue), query)
    stacked = torch.stack([query.detach(), query.detach() + 0.1 * key])
    each = torch.vmap(lambda q: loss(q, key, queue))(stacked)
    torch.testing.assert_close(each, torch.stack([loss(q, key, queue) for q in stacked]))


def test_no_similarities_with_a_long_queue_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are `batch x queue`; what the backward pass needs is as large as query and queue."""
    monkeypatch.setattr(sizes, "FEW_SIMILARITIES", 0)
    query, key, queue = rows((20, 20, 90), 4, torch.Generator().manual_seed(2))
    numbers: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        numbers.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        info_nce_loss(query.requires_grad_(), key, queue)
    assert max(numbers) == queue.numel() < 20 * 90


def whole_queue(query: Tensor, key: Tensor) -> Tensor:
    """A queue that all ranks share, as `FeatureQueue` does."""
    queue = torch.linspace(-1, 1, 6 * key.shape[1], dtype=key.dtype).reshape(6, -1).cos()
    return info_nce_loss(query, key, queue)


@pytest.mark.parametrize("loss", [info_nce_loss, whole_queue])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, loss: partial[Tensor]) -> None:
    inputs = rows((7, 7), 4, torch.Generator().manual_seed(0))
    assert_ranks_agree(two_ranks, loss, *inputs, cut=2)


# --- known values ---------------------------------------------------------------------------


def test_a_perfect_key_among_orthogonal_ones() -> None:
    """Were the key in the queue as well, it would cost about log 2."""
    eye = torch.eye(4, dtype=torch.float64)
    value = info_nce_loss(eye[:1], eye[:1], eye[1:], temperature=0.5).item()
    assert value == pytest.approx(math.log(math.exp(2) + 3) - 2)
    twice = info_nce_loss(eye[:1], eye[:1], eye, temperature=0.05).item()
    assert twice == pytest.approx(math.log(2), abs=1e-6)


def test_chance_is_the_log_of_the_candidates() -> None:
    z = torch.ones(3, 4)
    assert info_nce_loss(z, z).item() == pytest.approx(math.log(3))
    assert info_nce_loss(z, z, torch.ones(9, 4)).item() == pytest.approx(math.log(10))


def test_the_default_temperature_is_moco_s() -> None:
    inputs = rows((4, 4, 9), 5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(info_nce_loss(*inputs), with_queue(*inputs, temperature=0.07))


# --- laws -----------------------------------------------------------------------------------


def test_no_gradient_into_key_or_queue() -> None:
    leaves = [x.requires_grad_() for x in rows((3, 3, 5), 4, torch.Generator().manual_seed(0))]
    gradients = torch.autograd.grad(info_nce_loss(*leaves), leaves, allow_unused=True)
    assert gradients[0].abs().sum() > 0
    assert all(gradient is None for gradient in gradients[1:])


def test_gradients_are_right() -> None:
    query, key, queue = rows((3, 3, 5), 4, torch.Generator().manual_seed(0))
    query.requires_grad_()
    assert torch.autograd.gradcheck(lambda q: info_nce_loss(q, key, queue), query)
    assert torch.autograd.gradgradcheck(lambda q: info_nce_loss(q, key), query)


# --- complaints -----------------------------------------------------------------------------

Z = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("inputs", "temperature", "said"),
    [
        ((Z, torch.zeros(5, 3)), 0.1, r"^info_nce_loss: query and key must share one shape; got"),
        ((Z[0], Z[0]), 0.1, r"^info_nce_loss: query must be \(batch, dim\); got shape \(3,\)$"),
        ((Z[:1], Z[:1]), 0.1, r"^info_nce_loss: batch must be >= 2; got 1$"),
        ((Z[:0], Z[:0], Z), 0.1, r"^info_nce_loss: batch must be >= 1; got 0$"),
        ((Z, Z, Z[:0]), 0.1, r"^info_nce_loss: rows of the queue must be >= 1; got 0$"),
        ((Z, Z, torch.zeros(4, 2)), 0.1, r"^info_nce_loss: queue must have size 3 in dimension 1"),
        ((Z, Z, Z[0]), 0.1, r"^info_nce_loss: queue must be \(queue, dim\); got shape \(3,\)$"),
        ((Z, Z, Z.int()), 0.1, r"^info_nce_loss: queue must be floating point; got torch.int32$"),
        ((Z, Z), -1.0, r"^info_nce_loss: temperature must be > 0; got -1.0$"),
    ],
)
def test_bad_input_is_refused(inputs: tuple[Tensor, ...], temperature: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        info_nce_loss(*inputs, temperature=temperature)
