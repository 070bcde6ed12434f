"""The losses of quantizers, against their formulas written out."""

import math

import pytest
import torch
from torch import Tensor

from ssltok.quantizers import (
    EMAVectorQuantizer,
    SimVQ,
    VectorQuantizer,
    codebook_entropy_loss,
    commitment_loss,
    orthogonality_loss,
)
from ssltok.quantizers._pull_fast import pull_together_fast
from ssltok.quantizers._unit_fast import unit_rows_fast


def data(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).exp() - 0.6


def naive_entropy(x: Tensor, e: Tensor, temperature: float, weight: float) -> Tensor:
    p = torch.softmax(-(x[:, None] - e).square().sum(dim=2) / temperature, dim=1)
    mean = p.mean(dim=0)
    return -(p * p.log()).sum(dim=1).mean() + weight * (mean * mean.log()).sum()


# Oracle


@pytest.mark.parametrize("chunk", [2**20, 30])
def test_entropy_is_its_formula_and_so_are_its_gradients(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssltok.quantizers._tuning.ENTROPY_SCORES", chunk)
    x, e = data(23, 3).requires_grad_(), data(7, 3, seed=1).requires_grad_()
    expected = naive_entropy(x, e, 0.9, 0.7)
    wanted = torch.autograd.grad(expected, (x, e))
    loss = codebook_entropy_loss(x, e, temperature=0.9, diversity_weight=0.7)
    torch.testing.assert_close(loss, expected)
    for got, want in zip(torch.autograd.grad(loss, (x, e)), wanted, strict=True):
        torch.testing.assert_close(got, want)
    valid = torch.arange(23) % 3 > 0
    torch.testing.assert_close(
        codebook_entropy_loss(x, e, valid, temperature=0.9, diversity_weight=0.7),
        naive_entropy(x[valid], e, 0.9, 0.7),
    )


@pytest.mark.parametrize("shape", [(5, 3), (6, 3), (7, 3), (40, 3), (3, 40)])
def test_orthogonality_is_its_formula(shape: tuple[int, int]) -> None:
    e = data(*shape).requires_grad_()
    unit = e / e.norm(dim=1, keepdim=True)
    expected = (unit @ unit.T - torch.eye(shape[0])).square().sum() / shape[0] ** 2
    torch.testing.assert_close(orthogonality_loss(e), expected)
    got, want = (torch.autograd.grad(v, e)[0] for v in (orthogonality_loss(e), expected))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("size", [3, 9])
def test_a_code_at_the_origin_is_one_off(size: int) -> None:
    """It has no direction: its row of the product is 0, which misses the identity by 1."""
    e = data(size, 2)
    e[1] = 0
    others = torch.cat([e[:1], e[2:]])
    with torch.no_grad():
        expected = (orthogonality_loss(others) * (size - 1) ** 2 + 1) / size**2
        torch.testing.assert_close(orthogonality_loss(e), expected)


@pytest.mark.parametrize("size", [2, 7])  # 4 * 2 <= 9 tokens: a copy of the codebook is kept
@pytest.mark.parametrize("masked", [False, True])
def test_the_joint_term_is_both_terms(masked: bool, size: int) -> None:
    x, e = data(9, 4).requires_grad_(), data(size, 4, seed=1).requires_grad_()
    codes = torch.arange(9) ** 2 % size
    valid = torch.arange(9) % 4 > 0 if masked else None
    q = e[codes]
    expected = 0.3 * commitment_loss(x, q, valid) + 0.8 * commitment_loss(q, x, valid)
    rows = slice(None) if valid is None else valid
    by_hand = 1.1 * (x[rows] - q[rows]).square().mean()
    loss = pull_together_fast(
        x, q, valid, commitment_weight=0.3, codebook_weight=0.8, codebook=e, codes=codes
    )
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(loss, by_hand)
    wanted = torch.autograd.grad(expected, (x, e))
    with torch.no_grad():
        e.zero_()  # an update before the backward pass is no fault
        got = torch.autograd.grad(loss, (x, e))
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_without_a_codebook_the_pull_is_the_commitment_alone() -> None:
    x, q = data(9, 4).requires_grad_(), data(9, 4, seed=1).requires_grad_()
    loss = pull_together_fast(x, q, None, commitment_weight=0.3)
    torch.testing.assert_close(loss, 0.3 * commitment_loss(x, q))
    (got,) = torch.autograd.grad(loss, x, retain_graph=True)
    torch.testing.assert_close(got, 0.3 * 2 * (x - q).detach() / 36)
    (none,) = torch.autograd.grad(loss, [q], allow_unused=True)
    assert none is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "dim"), [(0, 3), (1, 1), (700, 300), (40, 5)])
def test_unit_rows_are_torch_s_to_the_bit(rows: int, dim: int, dtype: torch.dtype) -> None:
    """700 x 300 numbers are worked on in four pieces; a row of 0 and a tiny one stay finite."""
    x = data(rows, dim).to(dtype)
    if rows > 1:
        x[1], x[2] = 0, 1e-13
    ours, torchs = x.clone().requires_grad_(), x.clone().requires_grad_()
    grad = data(rows, dim, seed=2).to(dtype)
    value, expected = unit_rows_fast(ours), torch.nn.functional.normalize(torchs, dim=-1)
    assert torch.equal(value, expected)
    value.backward(grad)
    expected.backward(grad)
    assert ours.grad is not None
    assert torchs.grad is not None
    assert torch.equal(ours.grad, torchs.grad)


@pytest.mark.parametrize("kind", [EMAVectorQuantizer, SimVQ, VectorQuantizer])
def test_nothing_as_large_as_the_latents_is_kept(
    kind: type[EMAVectorQuantizer | SimVQ | VectorQuantizer],
) -> None:
    """For the backward pass, beside the latents and what is returned."""
    quantizer, latents, kept = kind(8, 4), torch.randn(99, 8, requires_grad=True), list[Tensor]()

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        vectors, codes, loss = quantizer(latents)
    there = {x.untyped_storage().data_ptr() for x in (latents, vectors, codes)}
    extra = [x.nbytes for x in kept if x.untyped_storage().data_ptr() not in there]
    assert kept
    assert sum(extra) < latents.nbytes / 2
    assert torch.autograd.grad(vectors.sum() + loss, latents)[0].abs().min() > 0


# Known values


def test_entropy_at_its_ends() -> None:
    e = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    collapsed = codebook_entropy_loss(torch.zeros(5, 1), e, temperature=1e-3)
    assert collapsed.item() == pytest.approx(0, abs=1e-6)
    even = codebook_entropy_loss(e.repeat(3, 1), e, temperature=1e-3)
    assert even.item() == pytest.approx(-math.log(4))
    torn = codebook_entropy_loss(
        torch.full((5, 1), 0.5), e[:2], temperature=1.0, diversity_weight=0
    )
    assert torn.item() == pytest.approx(math.log(2))


def test_orthonormal_codes_cost_nothing() -> None:
    e = torch.eye(4)[:3].mul(torch.tensor([[1.0], [2.0], [30.0]])).requires_grad_()
    assert orthogonality_loss(e).item() == 0


# Laws


def test_gradients_by_differences() -> None:
    x, e = data(6, 2).requires_grad_(), data(5, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, e: codebook_entropy_loss(x, e, temperature=0.8, diversity_weight=0.4), (x, e)
    )
    assert torch.autograd.gradcheck(orthogonality_loss, e)
    assert torch.autograd.gradcheck(lambda x: commitment_loss(x, e[:1].expand(6, 2)), x)


def test_commitment_leaves_the_codes_alone_and_sums_in_full_precision() -> None:
    x, q = data(9, 4).bfloat16().requires_grad_(), data(9, 4, seed=1).requires_grad_()
    commitment_loss(x, q).backward()
    assert q.grad is None
    assert commitment_loss(x, q.bfloat16()).dtype == torch.float32


def test_what_stands_at_padding_reaches_no_gradient() -> None:
    x = data(4, 3)
    x[1], x[2] = torch.nan, torch.inf
    x.requires_grad_()
    loss = commitment_loss(x, data(4, 3, seed=1), torch.tensor([True, False, False, True]))
    loss.backward()
    assert x.grad is not None
    assert (x.grad[1:3] == 0).all()
    rows = x.detach()[::3].clone().requires_grad_()
    commitment_loss(rows, data(4, 3, seed=1)[::3]).backward()
    torch.testing.assert_close(x.grad[::3], rows.grad)


def test_a_mask_that_hides_nothing_costs_no_digit_in_float64() -> None:
    x, e = data(7, 3), data(7, 3, seed=1)
    everything = torch.ones(7, dtype=torch.bool)
    masked, plain = (pull_together_fast(x, e, v, commitment_weight=0.3) for v in (everything, None))
    assert masked.dtype == torch.float64
    torch.testing.assert_close(masked, plain, rtol=1e-15, atol=0)


@pytest.mark.parametrize("narrow", ["tokens", "codebook"])
def test_entropy_of_two_dtypes_is_that_of_the_wider(narrow: str) -> None:
    x, e = data(9, 3), data(4, 3, seed=1)
    small = {"tokens": (x.float(), e), "codebook": (x, e.float())}[narrow]
    loss = codebook_entropy_loss(*small, temperature=0.9)
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, naive_entropy(small[0].double(), small[1].double(), 0.9, 1.0))


def test_far_tokens_give_finite_gradients() -> None:
    x = torch.tensor([[1e4], [0.0]], requires_grad=True)
    e = torch.tensor([[0.0], [1.0], [1e4]], requires_grad=True)
    codebook_entropy_loss(x, e, temperature=0.01).backward()
    assert x.grad is not None
    assert e.grad is not None
    assert x.grad.isfinite().all()
    assert e.grad.isfinite().all()


def test_entropy_keeps_no_matrix_for_the_backward_pass() -> None:
    x, e = torch.randn(512, 4, requires_grad=True), torch.randn(256, 4)
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        codebook_entropy_loss(x, e, temperature=1.0)
    assert max(kept) < 512 * 256 / 16


# Complaints


def test_complaints() -> None:
    x, e = torch.zeros(4, 3), torch.zeros(5, 3)
    with pytest.raises(ValueError, match="codebook_entropy_loss: temperature must be > 0; got -1"):
        codebook_entropy_loss(x, e, temperature=-1)
    with pytest.raises(ValueError, match="diversity_weight must be >= 0; got -1"):
        codebook_entropy_loss(x, e, temperature=1, diversity_weight=-1)
    with pytest.raises(ValueError, match=r"valid must have shape \(4,\); got \(3,\)"):
        codebook_entropy_loss(x, e, torch.ones(3, dtype=torch.bool), temperature=1)
    with pytest.raises(ValueError, match="commitment_loss: latents and quantized must share one"):
        commitment_loss(x, e)
    with pytest.raises(ValueError, match=r"commitment_loss: valid must have shape \(4,\); got"):
        commitment_loss(x, x, torch.ones(4, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="orthogonality_loss: codebook must require a gradient"):
        orthogonality_loss(e)
    with pytest.raises(ValueError, match=r"codebook must not be empty; got \(0, 3\)"):
        orthogonality_loss(e[:0])
    with pytest.raises(ValueError, match=r"must be \(codebook_size, dim\); got shape \(3,\)"):
        orthogonality_loss(e[0])
