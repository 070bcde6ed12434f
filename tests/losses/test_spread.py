"""Coding rate, SimDINO, EMP-SSL, FroSSL, TiCo and MMCR against their formulas written out."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok.losses import (
    coding_rate,
    emp_ssl_loss,
    emp_ssl_terms,
    frossl_loss,
    frossl_terms,
    mmcr_loss,
    simdino_loss,
    simdino_terms,
    tico_loss,
    tico_terms,
)
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree, value_and_gradients
from tests.ranks import Ranks


def unit(z: Tensor) -> Tensor:
    return z / z.square().sum(-1, keepdim=True).sqrt()


def rate(z: Tensor, eps: float) -> Tensor:
    """With the whole determinant, whichever is smaller."""
    batch, dim = z.shape
    return 0.5 * torch.logdet(torch.eye(dim, dtype=z.dtype) + dim / (batch * eps) * z.T @ z)


def simdino_oracle(
    student: Tensor, teacher: Tensor, *, agreement_weight: float = 1.0, eps: float = 0.5,
    average: bool = True,
) -> Tensor:  # fmt: skip
    """The authors' two terms, pair by pair and view by view."""
    s, t = unit(student), unit(teacher.detach())
    batch, dim = student.shape[1:]
    cosines = [(s[v] * t[u]).sum(-1).mean() for u in range(len(t)) for v in range(len(s)) if u != v]
    rates = [rate((s[u] + t[u]) / 2 if average else s[u], eps) for u in range(len(t))]
    gamma = (dim + batch) / (dim * batch)
    return -agreement_weight * torch.stack(cosines).mean() - gamma * torch.stack(rates).mean()


def emp_ssl_oracle(*views: Tensor, agreement_weight: float = 200.0, eps: float = 0.2) -> Tensor:
    z = [unit(view) for view in views]
    mean = unit(sum(z[1:], z[0]) / len(z))
    cosines = torch.stack([(part * mean).sum(-1).mean() for part in z]).mean()
    return -torch.stack([rate(part, eps) for part in z]).mean() - agreement_weight * cosines


def frossl_oracle(*views: Tensor, invariance_weight: float = 1.0) -> Tensor:
    """The authors' loss of many views, always with the `dim x dim` covariance."""
    z = [view / view.square().sum(0).sqrt() for view in views]
    mean = sum(z[1:], z[0]) / len(z)
    total = torch.zeros((), dtype=z[0].dtype)
    for part in z:
        covariance = part.T @ part
        covariance = covariance / covariance.trace().detach()
        distance = len(z) * part.shape[1] * (part - mean).square().mean()
        total = total + covariance.square().sum().log() + invariance_weight * distance
    return total


def tico_oracle(
    z_a: Tensor, z_b: Tensor, moment: Tensor | None = None, *, contrast_weight: float = 8.0,
    momentum: float = 0.9,
) -> Tensor:  # fmt: skip
    """The listing, row by row, with a detached covariance."""
    a, b = unit(z_a), unit(z_b)
    used = (1 - momentum) * sum(torch.outer(row, row) for row in a).detach() / len(a)  # type: ignore[union-attr]
    if moment is not None:
        used = used + momentum * moment.detach()
    contrast = torch.stack([row @ used @ row for row in a]).mean()
    return 1 - (a * b).sum(-1).mean() + contrast_weight * contrast


def mmcr_oracle(*views: Tensor, compression_weight: float = 0.0) -> Tensor:
    """With singular values by the eigenvalues of the smaller product."""

    def nuclear(matrix: Tensor) -> Tensor:
        small = matrix if len(matrix) <= matrix.shape[1] else matrix.T
        total: Tensor = torch.linalg.eigvalsh(small @ small.T).sqrt().sum()
        return total

    z = torch.stack([unit(view) for view in views])
    each = torch.stack([nuclear(z[:, b]) for b in range(z.shape[1])]).mean()
    return -nuclear(z.mean(0)) + compression_weight * each


def draw(views: int, batch: int, dim: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Views of one sample, with another scale and mean in each feature."""
    scale = torch.linspace(0.3, 1.8, dim, dtype=torch.float64)
    z = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(views, batch, dim, generator=generator, dtype=torch.float64)
    return tuple(scale * (z + 0.5 * part) + 0.4 * scale for part in noise)


def stacks(
    views: int, known: int, batch: int, dim: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    drawn = draw(views + known, batch, dim, generator)
    return torch.stack(drawn[:views]), torch.stack(drawn[views:])


def with_moment(batch: int, dim: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    *pair, other = draw(3, batch, dim, generator)
    return (*pair, other.T @ other / batch)


def case(
    name: str,
    ours: Callable[..., Tensor],
    oracle: Callable[..., Tensor],
    drawn: Any,
    **options: Any,
) -> Parity:
    return Parity(ours.__name__, name, partial(ours, **options), partial(oracle, **options), drawn)


SIMDINO = partial(case, ours=simdino_loss, oracle=simdino_oracle)
EMP = partial(case, ours=emp_ssl_loss, oracle=emp_ssl_oracle)
FROSSL = partial(case, ours=frossl_loss, oracle=frossl_oracle)
TICO = partial(case, ours=tico_loss, oracle=tico_oracle)
MMCR = partial(case, ours=mmcr_loss, oracle=mmcr_oracle)
PARITY = [
    SIMDINO("Wu et al. 2025, more rows", drawn=partial(stacks, 2, 2, 7, 4)),
    SIMDINO("Wu et al. 2025, small crops", drawn=partial(stacks, 4, 2, 3, 6), eps=0.2),
    SIMDINO("Wu et al. 2025, the student's rate", drawn=partial(stacks, 3, 1, 5, 5),
            agreement_weight=0.4, average=False),
    EMP("Tong et al. 2023, more rows", drawn=partial(draw, 3, 7, 4)),
    EMP("Tong et al. 2023, fewer", drawn=partial(draw, 5, 3, 6), agreement_weight=2.0, eps=0.7),
    FROSSL("Skean et al. 2024, more rows", drawn=partial(draw, 2, 7, 4)),
    FROSSL("Skean et al. 2024, fewer", drawn=partial(draw, 3, 4, 9), invariance_weight=0.3),
    TICO("Zhu et al. 2022, the first step", drawn=partial(draw, 2, 7, 4)),
    TICO("Zhu et al. 2022, fewer rows", drawn=partial(draw, 2, 3, 6), contrast_weight=20.0),
    TICO("Zhu et al. 2022, later", drawn=partial(with_moment, 5, 4), momentum=0.4),
    MMCR("Yerxa et al. 2023, more rows", drawn=partial(draw, 2, 7, 4)),
    MMCR("Yerxa et al. 2023, fewer", drawn=partial(draw, 3, 3, 6), compression_weight=0.4),
]  # fmt: skip


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: f"{c.name}: {c.source}")
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


def simdino_of_rows(*views: Tensor) -> Tensor:
    return simdino_loss(torch.stack(views), torch.stack(views[:2][::-1]))


def tico_of_rows(z_a: Tensor, z_b: Tensor) -> Tensor:
    """With the moment of other rows, the same on all ranks."""
    return tico_loss(z_a, z_b, torch.diag(torch.arange(4.0, dtype=torch.float64)))


OVER_RANKS: list[tuple[Callable[..., Tensor], int]] = [
    (emp_ssl_loss, 3), (frossl_loss, 3), (tico_loss, 2), (tico_of_rows, 2),
    (simdino_of_rows, 3), (partial(mmcr_loss, compression_weight=0.4), 2),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "views"), OVER_RANKS)
@pytest.mark.parametrize("cut", [0, 2])
def test_two_ranks_are_the_whole_batch(
    loss: Callable[..., Tensor], views: int, cut: int, two_ranks: Ranks
) -> None:
    """With different rows on each, and with none on one."""
    inputs = draw(views, 7, 4, torch.Generator().manual_seed(0))
    assert_ranks_agree(two_ranks, loss, *inputs, cut=cut)


@pytest.mark.parametrize(("batch", "dim"), [(7, 4), (4, 7), (5, 5), (1, 3), (3, 1)])
def test_the_coding_rate_is_that_of_both_products(batch: int, dim: int) -> None:
    z = torch.stack(draw(3, batch, dim, torch.Generator().manual_seed(0)))
    for eps in (0.5, 0.01):
        whole = torch.stack([rate(part, eps) for part in z])
        torch.testing.assert_close(coding_rate(z, eps=eps), whole, rtol=1e-12, atol=0)
        torch.testing.assert_close(coding_rate(z[None], eps=eps)[0], whole, rtol=1e-12, atol=0)


# --- known values ---------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "dim"), [(8, 4), (4, 8)])
def test_an_even_batch_has_the_highest_rate(batch: int, dim: int) -> None:
    """r orthogonal directions: r / 2 log(1 + D / (r eps)); collapse: 1 / 2 log(1 + D / eps)."""
    least = min(batch, dim)
    rows = torch.eye(least, dim, dtype=torch.float64).repeat(-(-batch // least), 1)[:batch]
    expected = least / 2 * math.log(1 + dim / (least * 0.3))
    assert coding_rate(rows, eps=0.3).item() == pytest.approx(expected)
    same = rows[:1].expand(batch, -1)
    assert coding_rate(same, eps=0.3).item() == pytest.approx(math.log(1 + dim / 0.3) / 2)
    assert coding_rate(torch.zeros(batch, dim)) == 0
    assert simdino_terms(rows.expand(2, -1, -1), rows[None], eps=0.3, average=False).agreement == 1
    torch.testing.assert_close(
        emp_ssl_terms(rows, 5 * rows, eps=0.3).rate, coding_rate(rows, eps=0.3)
    )


def test_frossl_of_even_and_of_equal_features() -> None:
    even = torch.linalg.qr(draw(1, 8, 5, torch.Generator().manual_seed(0))[0])[0]
    terms = frossl_terms(even, 4 * even)
    assert terms.concentration.item() == pytest.approx(-2 * math.log(5))
    assert terms.invariance.item() == pytest.approx(0, abs=1e-12)
    equal = torch.arange(1.0, 9)[:, None].expand(8, 5)
    assert frossl_loss(equal, equal).item() == pytest.approx(0, abs=1e-5)
    apart = frossl_terms(even, -even).invariance.item()  # 2 views, 5 columns of norm 1, 8 rows
    assert apart == pytest.approx(2 * 2 * 5 / 8)


@pytest.mark.parametrize(("batch", "dim"), [(7, 12), (12, 7)])
def test_frossl_in_few_calls_is_that_by_view(
    batch: int, dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = draw(3, batch, dim, torch.Generator().manual_seed(4))
    views = tuple(torch.logspace(-4, 4, dim, dtype=view.dtype) * view for view in views)
    views[1][:, 2] = 0.0  # a feature without a direction in one of the views
    once = value_and_gradients(partial(frossl_loss, invariance_weight=3.0), views)
    monkeypatch.setattr(sizes, "FEW_NUMBERS", batch * dim - 1)
    for ours, other in zip(
        once, value_and_gradients(partial(frossl_loss, invariance_weight=3.0), views), strict=True
    ):
        torch.testing.assert_close(ours, other, rtol=1e-12, atol=1e-12)


def test_frossl_of_zero_features_and_of_a_zero_view() -> None:
    """What is 0 everywhere counts nowhere; 0 features beside others do not change the others."""
    z_a, z_b = draw(2, 6, 4, torch.Generator().manual_seed(0))
    wide = [torch.cat([z, torch.zeros(6, 3, dtype=z.dtype)], dim=1) for z in (z_a, z_b)]
    one, other = frossl_terms(z_a, z_b), frossl_terms(*wide)
    torch.testing.assert_close(one, other)
    zero = torch.zeros(6, 4, dtype=torch.float64)
    value, slopes = value_and_gradients(frossl_loss, (zero, zero))
    assert value == 0
    assert not any(slope.any() for slope in slopes)


def test_tico_ranges_from_even_to_collapsed() -> None:
    even = torch.eye(5, dtype=torch.float64)
    assert tico_terms(even, even, momentum=0.0).contrast.item() == pytest.approx(1 / 5)
    same = even[:1].expand(4, -1)
    assert [x.item() for x in tico_terms(same, -same, momentum=0.0)] == [2, 1]
    used = torch.diag(torch.tensor([1.0, 0, 0, 0, 0]).double())
    assert tico_terms(same, same, used, momentum=1.0).contrast == 1
    assert tico_terms(even[1:], even[1:], used, momentum=1.0).contrast == 0


def test_mmcr_of_views_that_agree_and_of_some_that_do_not() -> None:
    even = torch.eye(4, dtype=torch.float64)
    assert mmcr_loss(even, 3 * even).item() == pytest.approx(-4)
    assert mmcr_loss(even, -even).item() == pytest.approx(0)
    same = even[:1].expand(9, -1)
    assert mmcr_loss(same, same).item() == pytest.approx(-3)  # one singular value, sqrt(9)
    apart = mmcr_loss(even, even.roll(1, 1), compression_weight=1.0)
    assert (apart - mmcr_loss(even, even.roll(1, 1))).item() == pytest.approx(2)  # orthogonal pairs


# --- laws -----------------------------------------------------------------------------------


LOSSES: dict[str, tuple[Callable[..., Tensor], int]] = {
    "emp_ssl": (partial(emp_ssl_loss, agreement_weight=1.0), 3),
    "frossl": (frossl_loss, 3),
    "mmcr": (mmcr_loss, 2),
    "simdino": (simdino_of_rows, 3),
    "tico": (tico_loss, 2),
    "rate": (coding_rate, 1),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("batch", "dim"), [(24, 6), (6, 24)])
def test_digits_at_unequal_scales(name: str, batch: int, dim: int) -> None:
    """Features from 1 to 1e4 in float32, on both sides of the smaller product."""
    loss, count = LOSSES[name]
    scales = torch.logspace(0, 4, dim)
    generator = torch.Generator().manual_seed(6)
    shared = torch.randn(batch, dim, generator=generator)
    noise = torch.randn(count, batch, dim, generator=generator)
    views = tuple(scales * (shared + 0.5 * part) for part in noise)
    value, slopes = value_and_gradients(loss, views)
    expected, exact = value_and_gradients(loss, tuple(z.double() for z in views))
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
    for got, wanted in zip(slopes, exact, strict=True):
        error = (got.double() - wanted).abs().amax(dim=0)
        assert (error <= 1e-3 * wanted.abs().amax(dim=0)).all(), error / wanted.abs().amax(dim=0)


@pytest.mark.parametrize("name", ["frossl", "rate"])
def test_no_large_product_is_built(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear in the smaller of rows and features."""
    loss, count = LOSSES[name]
    sizes: list[int] = []
    matmul = torch.Tensor.__matmul__

    def watched(a: Tensor, b: Tensor) -> Tensor:
        out: Tensor = matmul(a, b)
        sizes.append(out.numel())
        return out

    monkeypatch.setattr(torch.Tensor, "__matmul__", watched)
    loss(*draw(count, 3, 400, torch.Generator().manual_seed(0)))
    assert sizes
    assert max(sizes) <= 3 * 3 * count


def test_tico_second_derivatives_and_maps() -> None:
    """C is detached, so that the slope is not the value's; it has a slope of its own."""
    z_a, z_b = draw(2, 4, 6, torch.Generator().manual_seed(0))
    moment = torch.eye(6, dtype=torch.float64) / 6

    def slope(a: Tensor) -> Tensor:
        out: Tensor = torch.func.grad(tico_loss)(a, z_b, moment)
        return out

    def slope_written_out(a: Tensor) -> Tensor:
        out: Tensor = torch.func.grad(tico_oracle)(a, z_b, moment)
        return out

    torch.testing.assert_close(
        torch.func.jacrev(slope)(z_a), torch.func.jacrev(slope_written_out)(z_a)
    )
    stacked = torch.stack([z_a, 2 * z_b])
    mapped = torch.func.vmap(slope)(stacked)
    for a, got in zip(stacked, mapped, strict=True):
        torch.testing.assert_close(got, slope(a))


def test_meta() -> None:
    z = torch.zeros(4, 3, device="meta")
    for loss in (emp_ssl_loss, frossl_loss, tico_loss, partial(mmcr_loss, compression_weight=0.1)):
        assert loss(z, z).shape == ()
    assert simdino_loss(z.expand(2, 4, 3), z.expand(2, 4, 3)).shape == ()
    assert coding_rate(z).shape == ()


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [emp_ssl_loss, frossl_loss, mmcr_loss])
def test_views_that_do_not_fit_are_refused(loss: Any) -> None:
    z, who = torch.zeros(4, 3), loss.__name__
    for views, said in [
        ((z,), "number of views must be >= 2; got 1"),
        ((z, z[1:]), r"the views must share one shape; got \(4, 3\) and \(3, 3\)"),
        ((z[0], z[0]), r"each view must be \(batch, dim\); got shape \(3,\)"),
        ((z[:0], z[:0]), "batch must be >= 1; got 0"),
        ((z[:, :0], z[:, :0]), "dim must be >= 1; got 0"),
    ]:
        with pytest.raises(ValueError, match=f"^{who}: {said}"):
            loss(*views)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda z: coding_rate(z[0, 0]), r"coding_rate: z must be \(batch, dim\), with any axes"),
        (lambda z: coding_rate(z, eps=0.0), "coding_rate: eps must be > 0; got 0.0"),
        (lambda z: coding_rate(z[:0]), r"coding_rate: z.numel\(\) must be >= 1; got 0"),
        (lambda z: simdino_loss(z[:1], z[:1]), "simdino_loss: student must hold two views or mo"),
        (lambda z: simdino_loss(z[:2], z), "simdino_loss: student must hold two views or more"),
        (lambda z: simdino_loss(z, z[:0]), "simdino_loss: student must hold two views or more"),
        (lambda z: simdino_loss(z, z, eps=-1.0), "simdino_loss: eps must be > 0; got -1.0"),
        (lambda z: emp_ssl_loss(*z, eps=0.0), "emp_ssl_loss: eps must be > 0; got 0.0"),
        (
            lambda z: tico_loss(z[0], z[1], z[2]),
            r"tico_loss: moment must be \(3, 3\); got",
        ),
        (lambda z: tico_loss(z[0], z[1], momentum=2.0), "tico_loss: momentum must lie in"),
    ],
)
def test_bad_input_is_refused(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match="^" + said):
        call(torch.zeros(3, 4, 3))
