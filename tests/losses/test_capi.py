"""CAPI against its algorithm written out: assignments place by place, then a cross-entropy."""

from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok.losses import capi_loss, sinkhorn
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree, value_and_gradients
from tests.ranks import Ranks

MASK = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0]], dtype=torch.bool)


def assigned(logits: Tensor, *, temperature: float = 0.06, iterations: int = 3) -> Tensor:
    """The authors' loop at each place: columns over the batch, then rows, in turn."""
    out = torch.zeros_like(logits)
    for place in range(logits.shape[1]):
        q = (logits[:, place] / temperature).exp()
        for _ in range(iterations):
            q = q / q.sum(0, keepdim=True)
            q = q / q.sum(1, keepdim=True)
        out[:, place] = q
    return out


def oracle(student: Tensor, assignments: Tensor, mask: Tensor, *, temperature: float) -> Tensor:
    """Place by place, by the exponential."""
    total, count = torch.zeros((), dtype=student.dtype), 0
    for b in range(len(student)):
        for i in range(student.shape[1]):
            if mask[b, i]:
                shares = (student[b, i] / temperature).exp()
                shares = shares / shares.sum()
                total = total - (assignments[b, i].detach() * shares.log()).sum()
                count += 1
    return total / count


def draw(batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    student, teacher = torch.randn(2, batch, 3, 5, generator=generator, dtype=torch.float64)
    return student, assigned(0.3 * teacher + torch.linspace(0, 0.3, 5, dtype=torch.float64))


PARITY = [
    Parity(
        "capi_loss", f"Darcet et al. 2025, temperature {temperature}",
        partial(capi_loss, mask=MASK, temperature=temperature),
        partial(oracle, mask=MASK, temperature=temperature),
        partial(draw, 4),
    )
    for temperature in (0.12, 0.7)
]  # fmt: skip


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


@pytest.mark.parametrize("cut", [0, 2])
def test_two_ranks_are_the_whole_batch(cut: int, two_ranks: Ranks) -> None:
    inputs = (*draw(4, torch.Generator().manual_seed(0)), MASK)
    assert_ranks_agree(two_ranks, capi_loss, *inputs, cut=cut)


def test_sinkhorn_of_each_place_is_the_authors_assignment() -> None:
    """Every place uses every cluster over the batch: no cluster stands for a place."""
    logits = torch.randn(12, 3, 4, generator=torch.Generator().manual_seed(1)).double() * 0.3
    logits = logits + torch.tensor([0.0, 0.4, -0.4]).double()[:, None] * torch.arange(4)
    got = sinkhorn(logits.transpose(0, 1), epsilon=0.06).transpose(0, 1)
    torch.testing.assert_close(got, assigned(logits), rtol=1e-10, atol=1e-12)
    even = sinkhorn(logits.transpose(0, 1), epsilon=0.06, iterations=200).transpose(0, 1)
    torch.testing.assert_close(even.sum(0), torch.full((3, 4), 3.0).double(), rtol=0.02, atol=0)


def test_a_place_counts_as_much_as_another() -> None:
    """Unlike iBOT's, where a series does."""
    student, q = draw(4, torch.Generator().manual_seed(2))
    single = [
        capi_loss(student, q, torch.zeros_like(MASK).index_put((b, i), torch.tensor(True)))
        for b, i in zip(*[x[:, None] for x in MASK.nonzero().unbind(1)], strict=True)
    ]
    torch.testing.assert_close(capi_loss(student, q, MASK), torch.stack(single).mean())
    assert capi_loss(student, q, torch.zeros_like(MASK)) == 0


def test_digits_at_unequal_scales() -> None:
    """Clusters whose logits reach from 1 to 1e4."""
    student, q = draw(4, torch.Generator().manual_seed(2))
    narrow = (student * torch.logspace(0, 4, 5)).float(), q.float()
    value, slopes = value_and_gradients(partial(capi_loss, mask=MASK), narrow)
    wide = tuple(x.double() for x in narrow)
    expected, exact = value_and_gradients(partial(capi_loss, mask=MASK), wide)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(slopes[0].double(), exact[0], rtol=1e-5, atol=1e-6)


def test_bad_input_is_refused() -> None:
    z = torch.zeros(4, 3, 5)
    for inputs, said in [
        ((z, z[..., 1:], MASK), "student and assignments must share one shape; got"),
        ((z[0], z[0], MASK), r"student must be \(batch, tokens, codebook_size\); got shape"),
        ((z, z, MASK[:, 1:]), r"mask must have shape \(4, 3\); got \(4, 2\)"),
        ((z, z, MASK.float()), "mask must be boolean; got torch.float32"),
        ((z[:0], z[:0], MASK[:0]), r"student.numel\(\) must be >= 1; got 0"),
    ]:
        with pytest.raises(ValueError, match=f"^capi_loss: {said}"):
            capi_loss(*inputs)
    assert capi_loss(z.to("meta"), z.to("meta"), MASK.to("meta")).shape == ()
