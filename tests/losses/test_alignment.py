"""VF, REPA, SpeechTokenizer's two axes, Gram anchoring and CKA against their formulas."""

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ssltok.distributed import reduce_mean
from ssltok.losses import (
    cka_loss,
    d_axis_distillation_loss,
    gradient_ratio,
    gram_anchoring_loss,
    negative_cosine_loss,
    repa_loss,
    t_axis_distillation_loss,
    vf_loss,
    vf_terms,
)
from ssltok.nn import TokenEmbedding, TokenTransformer, Transformer
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree, value_and_gradients
from tests.ranks import Ranks

Pairs = list[tuple[Tensor, Tensor]]


def real(z: Tensor, f: Tensor, valid: Tensor | None) -> Pairs:
    """The real tokens of each series, `(tokens, dim)` each; none of a series without."""
    every = torch.ones(z.shape[:2], dtype=torch.bool) if valid is None else valid
    pairs = [(z[b][every[b]], f[b][every[b]].detach()) for b in range(len(z))]
    return [pair for pair in pairs if len(pair[0])]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / (a.square().sum() * b.square().sum()).sqrt()


def vf_oracle(
    z: Tensor, f: Tensor, valid: Tensor | None = None, *, distance_weight: float = 1.0,
    cosine_weight: float = 1.0, distance_margin: float = 0.25, cosine_margin: float = 0.5,
) -> Tensor:  # fmt: skip
    """Pair by pair, token by token."""
    distances, cosines = [], []
    zero = torch.zeros((), dtype=torch.float64)
    for own, other in real(z, f, valid):
        for i in range(len(own)):
            cosines.append((1 - cosine_margin - cosine(own[i], other[i])).maximum(zero))
            for j in range(len(own)):
                apart = (cosine(own[i], own[j]) - cosine(other[i], other[j])).abs()
                distances.append((apart - distance_margin).maximum(zero))
    first, second = torch.stack(distances).mean(), torch.stack(cosines).mean()
    return distance_weight * first + cosine_weight * second


def repa_oracle(z: Tensor, f: Tensor, valid: Tensor | None = None) -> Tensor:
    pairs = real(z, f, valid)
    return -torch.stack(
        [cosine(*rows) for pair in pairs for rows in zip(*pair, strict=True)]
    ).mean()


def d_axis_oracle(z: Tensor, f: Tensor, valid: Tensor | None = None) -> Tensor:
    pairs = real(z, f, valid)
    each = [cosine(a[:, d], b[:, d]) for a, b in pairs for d in range(z.shape[-1])]
    return -torch.stack(each).sigmoid().log().mean()


def t_axis_oracle(
    z: Tensor, f: Tensor, valid: Tensor | None = None, *, similarity_weight: float = 1.0
) -> Tensor:
    pairs = real(z, f, valid)
    rows = [rows for pair in pairs for rows in zip(*pair, strict=True)]
    size = torch.cat([(a - b).abs() for a, b in rows]).mean()
    turned = torch.stack([cosine(a, b) for a, b in rows]).sigmoid().log().mean()
    return size - similarity_weight * turned


def gram_oracle(
    z: Tensor, f: Tensor, valid: Tensor | None = None, *, clip_negative: bool = False
) -> Tensor:
    squares = []
    for own, other in real(z, f, valid):
        for i in range(len(own)):
            for j in range(len(own)):
                x, y = cosine(own[i], own[j]), cosine(other[i], other[j])
                if clip_negative:
                    x, y = (torch.where(part > 0, part, 0) for part in (x, y))
                squares.append((x - y) ** 2)
    return torch.stack(squares).mean()


def cka_oracle(z: Tensor, f: Tensor, valid: Tensor | None = None) -> Tensor:
    """HSIC with the centring matrix on both sides, as Kornblith et al. write it."""
    x, y = (torch.cat(part) for part in zip(*real(z, f, valid), strict=True))
    centring = torch.eye(len(x), dtype=x.dtype) - 1 / len(x)
    k, l = (centring @ part @ part.T @ centring for part in (x, y))  # noqa: E741
    return 1 - (k @ l).trace() / ((k @ k).trace() * (l @ l).trace()).sqrt()


def draw(
    batch: int, tokens: int, dim: int, generator: torch.Generator, *, other: int | None = None,
    ragged: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Tokens and features that depend on them, with another scale and mean in each feature."""
    scale = torch.linspace(0.3, 1.8, dim, dtype=torch.float64)
    z = torch.randn(batch, tokens, dim, generator=generator, dtype=torch.float64)
    mix = torch.randn(dim, other or dim, generator=generator, dtype=torch.float64)
    if other is None:
        mix = torch.eye(dim, dtype=torch.float64) + 0.3 * mix
    noise = torch.randn(batch, tokens, other or dim, generator=generator, dtype=torch.float64)
    pair = (scale * z + 0.3 * scale, z @ mix + 0.6 * noise)
    if not ragged:
        return pair
    ends = torch.randint(1, tokens + 1, (batch,), generator=generator)
    ends[0], ends[-1] = tokens, 0  # a whole series, and one of nothing
    return (*pair, torch.arange(tokens) < ends[:, None])


def case(
    ours: Callable[..., Tensor], oracle: Callable[..., Tensor], name: str, drawn: Any,
    **options: Any,
) -> Parity:  # fmt: skip
    return Parity(ours.__name__, name, partial(ours, **options), partial(oracle, **options), drawn)


RAGGED = partial(draw, 4, 5, 3, ragged=True)
OTHER = partial(draw, 3, 4, 3, other=6)
PARITY = [
    case(vf_loss, vf_oracle, "Yao et al. 2025", partial(draw, 3, 4, 5)),
    case(vf_loss, vf_oracle, "Yao et al. 2025, ragged", RAGGED, distance_weight=0.4,
         cosine_weight=3.0, distance_margin=0.1, cosine_margin=0.3),
    case(repa_loss, repa_oracle, "Yu et al. 2024", partial(draw, 3, 4, 5)),
    case(repa_loss, repa_oracle, "Yu et al. 2024, ragged", RAGGED),
    case(d_axis_distillation_loss, d_axis_oracle, "Zhang et al. 2023", partial(draw, 3, 4, 5)),
    case(d_axis_distillation_loss, d_axis_oracle, "Zhang et al. 2023, ragged", RAGGED),
    case(t_axis_distillation_loss, t_axis_oracle, "Zhang et al. 2023", partial(draw, 3, 4, 5)),
    case(t_axis_distillation_loss, t_axis_oracle, "Zhang et al. 2023, ragged", RAGGED,
         similarity_weight=0.3),
    case(gram_anchoring_loss, gram_oracle, "Siméoni et al. 2025", OTHER),
    case(gram_anchoring_loss, gram_oracle, "Siméoni et al. 2025, clipped", RAGGED,
         clip_negative=True),
    case(cka_loss, cka_oracle, "Kornblith et al. 2019, more rows", OTHER),
    case(cka_loss, cka_oracle, "Kornblith et al. 2019, fewer", partial(draw, 2, 3, 9, other=11)),
    case(cka_loss, cka_oracle, "Kornblith et al. 2019, ragged", partial(
        draw, 4, 5, 3, other=2, ragged=True)),
]  # fmt: skip


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: f"{c.name}: {c.source}")
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


LOSSES: list[Callable[..., Tensor]] = [
    vf_loss, repa_loss, d_axis_distillation_loss, t_axis_distillation_loss,
    partial(gram_anchoring_loss, clip_negative=True), cka_loss,
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("cut", [0, 2])
def test_two_ranks_are_the_whole_batch(
    loss: Callable[..., Tensor], cut: int, two_ranks: Ranks
) -> None:
    """With different rows on each, and with none on one; ragged."""
    inputs = draw(5, 4, 3, torch.Generator().manual_seed(0), ragged=True)
    assert_ranks_agree(two_ranks, loss, *inputs, cut=cut)


@pytest.mark.parametrize("loss", LOSSES)
def test_padding_is_as_if_it_were_not_there(loss: Callable[..., Tensor]) -> None:
    """Behind the end or anywhere else; and all valid is no mask."""
    z, f = draw(3, 4, 5, torch.Generator().manual_seed(1))
    where = torch.tensor([True, False, True, True, False, True])
    longer = [torch.full((3, 6, 5), torch.nan, dtype=torch.float64) for _ in range(2)]
    for wide, part in zip(longer, (z, f), strict=True):
        wide[:, where] = part
    expected = loss(z, f)
    torch.testing.assert_close(loss(*longer, where.expand(3, -1)), expected)
    torch.testing.assert_close(loss(z, f, torch.ones(3, 4, dtype=torch.bool)), expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_no_real_token_costs_nothing_that_can_be_learned(loss: Callable[..., Tensor]) -> None:
    z, f = draw(2, 3, 4, torch.Generator().manual_seed(1))
    none = torch.zeros(2, 3, dtype=torch.bool)
    value, (slope, _) = value_and_gradients(partial(loss, valid=none), (z, f))
    assert value == (1 if loss is cka_loss else 0)
    assert not slope.any()


@pytest.mark.parametrize("loss", LOSSES)
def test_shapes_can_be_asked_without_numbers(loss: Callable[..., Tensor]) -> None:
    z, f, valid = (x.to("meta") for x in draw(3, 4, 5, torch.Generator(), ragged=True))
    for inputs in ((z, f), (z.bfloat16(), f, valid)):
        value = loss(*inputs)
        assert (value.shape, value.device.type) == ((), "meta")


# --- known values ---------------------------------------------------------------------------


def test_the_ends_of_the_ranges() -> None:
    z, _ = draw(2, 3, 4, torch.Generator().manual_seed(2))
    assert vf_loss(z, 8 * z) == 0
    assert vf_terms(z, -z).distances == 0  # all turned about: the same distances
    assert vf_terms(z, -z).cosines.item() == pytest.approx(1.5)
    assert vf_terms(z, -z, cosine_margin=0.0).cosines.item() == pytest.approx(2)
    assert repa_loss(z, 2 * z).item() == pytest.approx(-1)
    assert repa_loss(z, -z).item() == pytest.approx(1)
    assert d_axis_distillation_loss(z, 3 * z).item() == pytest.approx(math.log(1 + math.exp(-1)))
    assert d_axis_distillation_loss(z, -z).item() == pytest.approx(math.log(1 + math.e))
    assert t_axis_distillation_loss(z, z).item() == pytest.approx(math.log(1 + math.exp(-1)))
    one = torch.ones(1, 2, 3)
    poles = torch.tensor([[[1.0], [-1.0]]])
    assert gram_anchoring_loss(one, poles).item() == pytest.approx(2)  # 2^2, two of four
    clipped = gram_anchoring_loss(one, poles, clip_negative=True)
    assert clipped.item() == pytest.approx(0.5)


def test_repa_without_padding_is_the_negative_cosine() -> None:
    z, f = draw(2, 3, 4, torch.Generator().manual_seed(3))
    torch.testing.assert_close(repa_loss(z, f), negative_cosine_loss(z, f))


def test_cka_sees_no_rotation_no_scale_and_no_origin() -> None:
    z, f = draw(4, 5, 3, torch.Generator().manual_seed(4), other=6)
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    expected = cka_loss(z, f)
    assert 0.01 < expected < 0.99
    torch.testing.assert_close(cka_loss(3e5 * z - 8, 1e-6 * f @ turn + 2e-6), expected)
    torch.testing.assert_close(cka_loss(f, z), expected)
    torch.testing.assert_close(cka_loss(z.flatten(0, 1), f.flatten(0, 1)), expected)
    assert cka_loss(f, f @ turn).item() == pytest.approx(0, abs=1e-12)
    constant = torch.full((4, 7, 2), 0.7)  # whose mean rounds
    other = draw(4, 7, 3, torch.Generator())[0].float()
    for pair in ((constant, other), (other, constant)):
        value, (slope, _) = value_and_gradients(cka_loss, pair)
        assert value == 1
        assert not slope.any()


@pytest.mark.parametrize("sizes", [(3, 9, 11), (40, 2, 3), (7, 5, 5)])
def test_cka_of_few_rows_is_that_of_features(sizes: tuple[int, int, int]) -> None:
    """Kernels of rows where they are the smaller, products of features elsewhere."""
    rows, first, second = sizes
    z, f = draw(rows, 1, first, torch.Generator().manual_seed(5), other=second)
    z, f = (part.flatten(0, 1) - part.mean((0, 1)) for part in (z, f))
    cross, own, other = (
        torch.linalg.matrix_norm(part).square() for part in (z.T @ f, z.T @ z, f.T @ f)
    )
    torch.testing.assert_close(cka_loss(z, f), 1 - cross / (own * other).sqrt())


def test_series_are_related_by_their_vectors() -> None:
    """Of `(batch, dim)` the pairs are of series."""
    z, f = draw(1, 6, 4, torch.Generator().manual_seed(6))
    for loss in (vf_loss, repa_loss, gram_anchoring_loss):
        torch.testing.assert_close(loss(z[0], f[0]), loss(z, f))


# --- the weight by gradients ----------------------------------------------------------------


def two_losses(layer: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Whose gradients are 3 rows' mean squares and products, times 2 and 6."""
    return 2 * (rows @ layer).square().mean(), (rows @ layer).sin().mean()


def test_the_ratio_of_gradients() -> None:
    layer = torch.tensor([0.3, -0.8], dtype=torch.float64, requires_grad=True)
    rows = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    reference, loss = two_losses(layer, rows)
    ratio = gradient_ratio(reference, loss, layer, eps=1e-3)
    first = (4 * (rows @ layer)[:, None] * rows).mean(0).norm()
    second = ((rows @ layer).cos()[:, None] * rows).mean(0).norm()
    torch.testing.assert_close(ratio, (first / (second + 1e-3)).detach())
    assert not ratio.requires_grad
    (reference + ratio * loss).backward()  # both graphs are still there
    assert gradient_ratio(layer.sum(), (0 * layer).sum(), layer).item() == pytest.approx(
        2**0.5 * 1e4
    )
    assert gradient_ratio(layer.sum(), (0 * layer).sum(), layer, limit=9.0) == 9


def ratio_on_a_rank(rows: Tensor) -> Tensor:
    layer = torch.tensor([0.3, -0.8], dtype=torch.float64, requires_grad=True)
    assert dist.get_world_size() == 2
    return gradient_ratio(*two_losses(layer, rows), layer, average=lambda g: reduce_mean(g[None]))


def test_the_ratio_over_two_ranks_is_that_of_all_rows(two_ranks: Ranks) -> None:
    layer = torch.tensor([0.3, -0.8], dtype=torch.float64, requires_grad=True)
    rows = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = gradient_ratio(*two_losses(layer, rows), layer)
    for result in two_ranks.run(ratio_on_a_rank, (rows[:3],), (rows[3:],)):
        torch.testing.assert_close(result, expected)


# --- in use ---------------------------------------------------------------------------------


def test_a_hidden_layer_of_a_prior_is_aligned() -> None:
    """As the guide does: a hook on a layer, behind whose prefix the tokens stand."""
    torch.manual_seed(0)
    trunk = Transformer(8, depth=3, heads=2)
    prior = TokenTransformer(TokenEmbedding(5, 8), trunk, tokens=6)
    states: list[Tensor] = []
    trunk.layers[1].register_forward_hook(lambda module, args, out: states.append(out[0]))
    codes = torch.randint(5, (3, 6))
    prior(codes, torch.ones(3, 6, dtype=torch.bool))
    (state,) = states
    projector = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 7))
    repa_loss(projector(state[:, -6:]), torch.randn(3, 6, 7)).backward()
    assert all(p.grad is not None for p in trunk.layers[1].parameters())
    assert all(p.grad is None for p in trunk.layers[2].parameters())


# --- complaints -----------------------------------------------------------------------------

Z = torch.zeros(2, 3, 4)
W = torch.ones(2, requires_grad=True)
COMPLAINTS: list[tuple[Callable[[], object], str]] = [
    (lambda: vf_loss(Z, Z[..., :3]), "vf_loss: projected and target must share one shape; got"),
    (lambda: vf_loss(Z, Z, distance_margin=-0.1), "vf_loss: distance_margin must be >= 0; got -0"),
    (lambda: vf_terms(Z, Z, cosine_margin=-0.1), "vf_terms: cosine_margin must be >= 0; got -0.1"),
    (lambda: repa_loss(Z[0, 0], Z[0, 0]), "repa_loss: projected must be (..., tokens, dim); got"),
    (lambda: cka_loss(Z, Z[:, :2]), "cka_loss: tokens and target must be of the same tokens; got"),
    (lambda: gram_anchoring_loss(Z, Z[:1]), "gram_anchoring_loss: tokens and anchor must be of"),
    (lambda: d_axis_distillation_loss(Z[0], Z[0]), "d_axis_distillation_loss: projected must be ("),
    (lambda: t_axis_distillation_loss(Z[0], Z[0]), "t_axis_distillation_loss: projected must be ("),
    (lambda: repa_loss(Z, Z, torch.ones(2, 3)), "repa_loss: valid must be boolean; got torch."),
    (lambda: repa_loss(Z, Z, Z[..., 0, :] > 0), "repa_loss: valid must have shape (2, 3); got"),
    (lambda: cka_loss(Z[:, :0], Z[:, :0]), "cka_loss: tokens.numel() must be >= 1; got 0"),
    (lambda: gradient_ratio(W.sum(), W * 2, W), "gradient_ratio: loss must be a scalar; got shape"),
    (lambda: gradient_ratio(W.sum(), W.sum(), W, eps=0.0), "gradient_ratio: eps must be > 0; got"),
    (lambda: gradient_ratio(W.sum(), W.sum(), W, limit=-1.0), "gradient_ratio: limit must be >= 0"),
]


@pytest.mark.parametrize(("call", "message"), COMPLAINTS)
def test_what_is_wrong_is_said(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        call()
