"""Vector quantizers and low-dimensional codes around them, against the paper written out."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from ssltok.quantizers import (
    FSQ,
    EMAVectorQuantizer,
    GroupedQuantizer,
    ProjectedQuantizer,
    Quantized,
    VectorQuantizer,
    codebook_entropy_loss,
    kmeans,
    orthogonality_loss,
    rotation_trick,
    sample_codes,
)
from tests.ranks import Ranks

both = pytest.mark.parametrize("kind", [VectorQuantizer, EMAVectorQuantizer])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64).exp() - 0.6


# Oracle


@pytest.mark.parametrize("cosine", [False, True])
def test_values_and_gradients_are_the_papers(cosine: bool) -> None:
    quantizer = VectorQuantizer(
        3, 7, cosine=cosine, commitment_weight=0.4, codebook_weight=0.9, generator=seeded(1)
    ).double()
    x = data(20, 3).requires_grad_()
    quantized = quantizer(x)
    wave = torch.arange(60).reshape(20, 3).double().sin()
    ((quantized.vectors * wave).sum() + 2 * quantized.loss).backward()

    y = x.detach().clone().requires_grad_()
    e = quantizer.weight.detach().clone().requires_grad_()
    z, codes_of = (normalize(y, dim=1), normalize(e, dim=1)) if cosine else (y, e)
    distances = (z[:, None] - codes_of).square().sum(dim=2)
    codes = distances.argmin(dim=1)
    q = codes_of[codes]
    loss = 0.9 * (z.detach() - q).square().mean() + 0.4 * (z - q.detach()).square().mean()
    (((z + (q - z).detach()) * wave).sum() + 2 * loss).backward()

    assert torch.equal(quantized.codes, codes)
    assert torch.equal(quantized.vectors, q.detach())
    torch.testing.assert_close(quantized.loss, loss)
    torch.testing.assert_close(x.grad, y.grad)
    torch.testing.assert_close(quantizer.weight.grad, e.grad)


def test_the_regularizer_is_added_and_sees_what_is_real() -> None:
    def penalty(tokens: Tensor, codebook: Tensor, valid: Tensor | None) -> Tensor:
        entropy = codebook_entropy_loss(tokens, codebook, valid, temperature=0.6)
        return 0.3 * entropy + 5 * orthogonality_loss(codebook)

    plain = VectorQuantizer(3, 7, channel_dim=1, generator=seeded(1)).double()
    with_it = VectorQuantizer(
        3, 7, channel_dim=1, regularizer=penalty, generator=seeded(1)
    ).double()
    x = data(4, 3, 5)
    valid = torch.rand(4, 5, generator=seeded(2)) < 0.6
    rows = x.movedim(1, -1)[valid]
    unit = normalize(plain.weight, dim=1)
    p = torch.softmax(-torch.cdist(rows, plain.weight).square() / 0.6, dim=1)
    entropy = -(p * p.log()).sum(1).mean() + (p.mean(0) * p.mean(0).log()).sum()
    expected = 0.3 * entropy + 5 * (unit @ unit.T - torch.eye(7)).square().mean()
    torch.testing.assert_close(with_it(x, valid).loss - plain(x, valid).loss, expected)


def test_low_dimensional_codes_are_two_products() -> None:
    inner = VectorQuantizer(2, 9, generator=seeded(1))
    quantizer = ProjectedQuantizer(inner, 5, channel_dim=1, generator=seeded(2)).double()
    x = data(3, 5, 4)
    rows = x.movedim(1, -1) @ quantizer.project_in.weight.T + quantizer.project_in.bias
    codes = torch.cdist(rows, inner.weight.expand(3, -1, -1)).argmin(dim=2)
    vectors = inner.weight[codes] @ quantizer.project_out.weight.T + quantizer.project_out.bias
    got = quantizer(x)
    assert torch.equal(got.codes, codes)
    torch.testing.assert_close(got.vectors, vectors.movedim(-1, 1))
    torch.testing.assert_close(quantizer.project(x), rows)
    torch.testing.assert_close(quantizer.codebook[codes], vectors)
    torch.testing.assert_close(got.loss, 1.25 * (rows - inner.weight[codes]).square().mean())


def test_projections_hand_start_and_revival_on() -> None:
    quantizer = ProjectedQuantizer(VectorQuantizer(2, 9), 5, channel_dim=1, generator=seeded(2))
    x = data(3, 5, 14).float()
    valid = torch.rand(3, 14, generator=seeded(2)) < 0.6
    quantizer.initialize(x, valid, steps=2, generator=seeded(4))
    rows = quantizer.project(x)[valid]
    expected = kmeans(rows, 9, steps=2, generator=seeded(4))
    inner: Any = quantizer.quantizer
    torch.testing.assert_close(inner.weight.data, expected.centers)
    torch.testing.assert_close(inner.counts, expected.counts)
    inner.counts[4] = 0
    (moved,) = quantizer.revive(x, quantizer(x, valid).codes, share=0.01)
    assert moved.tolist() == [False] * 4 + [True] + [False] * 4
    assert (inner.weight[4] - rows).abs().amax(dim=1).amin() < 1e-6
    quantizer = ProjectedQuantizer(FSQ([5, 5]), 5)
    quantizer.initialize(x.movedim(1, -1))
    assert quantizer.revive(x.movedim(1, -1), quantizer.encode(x.movedim(1, -1))) == ()


# Known values


def test_latents_on_codes_cost_nothing() -> None:
    for kind in (VectorQuantizer, EMAVectorQuantizer):
        quantizer = kind(3, 5)
        result = quantizer(quantizer.codebook.detach())
        assert result.codes.tolist() == [0, 1, 2, 3, 4]
        assert result.loss == 0


def test_what_learns_how() -> None:
    assert [name for name, _ in VectorQuantizer(2, 3).named_parameters()] == ["weight"]
    assert list(EMAVectorQuantizer(2, 3).parameters()) == []
    assert sorted(EMAVectorQuantizer(2, 3).state_dict()) == ["counts", "weight"]


def test_the_gradient_codebook_counts_slowly_and_forgets_when_set() -> None:
    quantizer = VectorQuantizer(2, 3)
    codes = torch.tensor([0, 0, 2, -1])
    quantizer.update(torch.zeros(4, 2), codes)
    torch.testing.assert_close(quantizer.counts, torch.tensor([1.01, 0.99, 1.0]))
    quantizer.set_codebook(torch.zeros(3, 2))
    assert quantizer.counts.tolist() == [1, 1, 1]


# Laws


@both
def test_training_lowers_the_error(kind: Any) -> None:
    x = data(400, 4).float()
    quantizer = kind(4, 16, generator=seeded(0))
    optimizer = torch.optim.SGD([*quantizer.parameters(), nn.Parameter(torch.zeros(1))], lr=2.0)
    errors = []
    for _ in range(60):
        vectors, codes, loss = quantizer(x)
        errors.append(float((vectors - x).square().mean()))
        optimizer.zero_grad()
        if loss.requires_grad:
            loss.backward()
        optimizer.step()
        quantizer.update(x, codes)
    assert errors[-1] < 0.5 * errors[0]


@both
def test_initialize_respects_layout_and_padding(kind: Any) -> None:
    first = kind(3, 6, channel_dim=1)
    second = kind(3, 6)
    x = data(5, 3, 8).float()
    valid = torch.rand(5, 8, generator=seeded(2)) < 0.5
    padded = torch.where(valid[:, None], x, torch.nan)
    first.initialize(padded, valid, generator=seeded(4))
    second.initialize(x.movedim(1, -1)[valid], generator=seeded(4))
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.counts, second.counts)
    assert first.counts.sum() == valid.sum()


@both
def test_revival_leaves_out_what_the_codes_call_padding(kind: Any) -> None:
    quantizer = kind(2, 20)
    quantizer.counts.copy_(torch.tensor([50.0] + 19 * [0.0]))
    x = torch.tensor([[1.0, 1.0], [1.0, 1.0], [9.0, 9.0], [torch.nan, 9.0]])
    quantizer.revive(x, torch.tensor([0, 0, -1, -1]))
    assert (quantizer.weight[1:] == 1).all()


def test_draws_happen_in_training_alone() -> None:
    search = partial(sample_codes, temperature=5.0, generator=seeded(0))
    quantizer = VectorQuantizer(3, 9, search=search, generator=seeded(1))
    x = data(200, 3).float()
    assert not torch.equal(quantizer(x).codes, quantizer.encode(x))
    assert torch.equal(quantizer.eval()(x).codes, quantizer.encode(x))


def test_the_backward_pass_keeps_nothing_of_tokens_times_codes() -> None:
    quantizer = VectorQuantizer(4, 512)
    x = torch.randn(1024, 4, requires_grad=True)
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        quantizer(x)
    assert max(kept) <= 1024 * 4


@pytest.mark.parametrize("estimate", [None, rotation_trick])
def test_compiled_gradients_are_the_eager_ones(
    estimate: Callable[[Tensor, Tensor], Tensor] | None,
) -> None:
    options = {} if estimate is None else {"estimator": estimate}
    quantizer = VectorQuantizer(4, 9, generator=seeded(0), **options)  # type: ignore[arg-type]
    x = data(30, 4).float()
    grads = []
    torch._dynamo.reset()
    for run in (quantizer, _compiled(quantizer)):
        leaf = x.clone().requires_grad_()
        quantizer.zero_grad()
        result = run(leaf)
        ((result.vectors * x.sin()).sum() + result.loss).backward()
        grads.append((leaf.grad, quantizer.weight.grad))
    torch.testing.assert_close(grads[0], grads[1])


def _compiled(quantizer: nn.Module) -> Callable[[Tensor], Quantized]:
    return torch.compile(quantizer, fullgraph=True, backend="aot_eager")


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"  # torch's own, while tracing
)


def _ddp_step(x: Tensor) -> dict[str, Tensor]:
    wrapped = DistributedDataParallel(VectorQuantizer(3, 8, generator=seeded(0)))
    vectors, codes, loss = wrapped(x)
    (vectors.square().mean() + loss).backward()
    torch.optim.SGD(wrapped.parameters(), lr=1.0).step()
    wrapped.module.update(x, codes)
    return copy.deepcopy(wrapped.module.state_dict())


def test_gradient_codebooks_agree_under_ddp(two_ranks: Ranks) -> None:
    x = data(40, 3).float()
    a, b = two_ranks.run(_ddp_step, (x[:20],), (x[20:],))
    alone = VectorQuantizer(3, 8, generator=seeded(0))
    vectors, codes, loss = alone(x)
    (vectors.square().mean() + loss).backward()
    torch.optim.SGD(alone.parameters(), lr=1.0).step()
    alone.update(x, codes)
    for key, value in alone.state_dict().items():
        assert torch.equal(a[key], b[key])
        torch.testing.assert_close(a[key], value)


def test_shared_heads_learn_once_from_all_heads() -> None:
    inner = EMAVectorQuantizer(2, 5, decay=0.8, generator=seeded(0))
    lone = copy.deepcopy(inner)
    heads = GroupedQuantizer([inner] * 3)
    x = data(30, 6).float()
    result = heads(x)
    heads.update(x, result.codes)
    stacked = torch.cat([x[:, :2], x[:, 2:4], x[:, 4:]])
    lone.update(stacked, torch.cat(result.codes.unbind(1)))
    torch.testing.assert_close(inner.weight, lone.weight)
    torch.testing.assert_close(inner.counts, lone.counts)


# Complaints


@both
def test_complaints_of_the_constructor(kind: Any) -> None:
    who = kind.__name__
    with pytest.raises(ValueError, match=f"{who}: dim must be >= 1; got 0"):
        kind(0, 4)
    with pytest.raises(ValueError, match=f"{who}: codebook_size must be >= 1; got 0"):
        kind(4, 0)
    with pytest.raises(ValueError, match=f"{who}: commitment_weight must be >= 0; got -1"):
        kind(4, 4, commitment_weight=-1)
    with pytest.raises(ValueError, match=r"codebook_weight must be >= 0; got -0.5"):
        VectorQuantizer(4, 4, codebook_weight=-0.5)
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\]; got 1.01"):
        EMAVectorQuantizer(4, 4, decay=1.01)
    with pytest.raises(ValueError, match="ProjectedQuantizer: dim must be >= 1; got 0"):
        ProjectedQuantizer(kind(2, 3), 0)
    with pytest.raises(
        ValueError, match=r"ProjectedQuantizer: every part must have channel_dim=-1"
    ):
        ProjectedQuantizer(kind(2, 3, channel_dim=1), 4)
    with pytest.raises(TypeError, match="every part must be a quantizer; got Linear"):
        ProjectedQuantizer(nn.Linear(2, 3), 4)
    with pytest.raises(ValueError, match="codebook needs one code for each vector inside"):
        _ = ProjectedQuantizer(GroupedQuantizer([kind(2, 3)] * 2), 4).codebook


@both
def test_complaints_of_the_methods_touch_no_state(kind: Any) -> None:
    quantizer = kind(3, 4)
    before = copy.deepcopy(quantizer.state_dict())
    x = data(5, 2, 3).float()
    codes = quantizer.encode(x)
    who = kind.__name__
    with pytest.raises(ValueError, match=rf"{who}: codes must have shape \(5, 2\); got \(2, 5\)"):
        quantizer.update(x, codes.T)
    with pytest.raises(ValueError, match=rf"{who}: codes must have shape \(5, 2\); got \(5, 1\)"):
        quantizer.revive(x, codes[:, :1])
    with pytest.raises(ValueError, match=r"codes must be int64; got torch.int32"):
        quantizer.update(x, codes.int())
    with pytest.raises(ValueError, match=r"codes must lie in \[-1, 4\); got values from 4 to 4"):
        quantizer.update(x, torch.full_like(codes, 4))
    with pytest.raises(ValueError, match=rf"{who}: vectors must have shape \(4, 3\); got \(3, 4\)"):
        quantizer.set_codebook(torch.zeros(3, 4))
    with pytest.raises(TypeError, match=rf"{who}: vectors must be a tensor; got list"):
        quantizer.set_codebook([0.0])
    for key, value in quantizer.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_loss_on_a_buffer_is_refused() -> None:
    quantizer = EMAVectorQuantizer(3, 4, regularizer=lambda x, e, valid: orthogonality_loss(e))
    with pytest.raises(ValueError, match=r"orthogonality_loss: codebook must require a gradient"):
        quantizer(data(5, 3).float())
