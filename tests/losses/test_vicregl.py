"""VICRegL's local part against its algorithm written out, token by token."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok.losses import vicreg_loss, vicregl_loss, vicregl_terms
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree, value_and_gradients
from tests.ranks import Ranks

WEIGHTS: dict[str, Any] = {
    "invariance_weight": 20.0,
    "variance_weight": 12.5,
    "covariance_weight": 0.5,
}
VALID_A = torch.arange(5) < torch.tensor([5, 3, 1, 4, 0, 2])[:, None]
VALID_B = torch.arange(4) < torch.tensor([2, 4, 3, 4, 3, 1])[:, None]

Match = tuple[int, int]


def matched(a: Tensor, b: Tensor, real_a: Tensor, real_b: Tensor, matches: int) -> list[Match]:
    """Of one series: the tokens nearest to one of the other view, and which that is."""
    pairs = []
    for i, row in enumerate((a[:, None] - b).square().sum(-1).sqrt().tolist()):
        distances = [d if real_b[j] else float("inf") for j, d in enumerate(row)]
        if real_a[i] and real_b.any():
            pairs.append((min(distances), i, distances.index(min(distances))))
    return [(i, j) for _, i, j in sorted(pairs)[:matches]]


def vicreg(a: dict[Match, Tensor], b: dict[Match, Tensor], eps: float) -> Tensor:
    """Terms of rows that are named by their series and the rank of their match."""
    dim = len(next(iter(a.values())))
    invariance = torch.stack([(a[key] - b[key]).square().mean() for key in a]).mean()
    variances, covariances = [], []
    for side in (a, b):
        hinges, crossed = [], []
        for rank in sorted({rank for _, rank in side}):
            rows = [row for (_, other), row in side.items() if other == rank]
            if len(rows) < 2:
                continue
            z = torch.stack(rows)
            z = z - z.mean(0)
            cov = z.T @ z / (len(z) - 1)
            hinges.append((1 - (cov.diagonal() + eps).sqrt()).clamp(min=0).mean())
            crossed.append((cov - cov.diagonal().diag()).square().sum() / dim)
        variances.append(torch.stack(hinges).mean())
        covariances.append(torch.stack(crossed).mean())
    return torch.stack([invariance, sum(variances), sum(covariances)])  # type: ignore[list-item]


def oracle(
    z_a: Tensor,
    z_b: Tensor,
    places_a: Tensor,
    places_b: Tensor,
    valid_a: Tensor | None = None,
    valid_b: Tensor | None = None,
    *,
    matches: int,
    eps: float = 1e-4,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
) -> Tensor:
    real_a = torch.ones(z_a.shape[:2], dtype=torch.bool) if valid_a is None else valid_a
    real_b = torch.ones(z_b.shape[:2], dtype=torch.bool) if valid_b is None else valid_b
    if places_a.ndim == 2:
        places_a, places_b = places_a[..., None], places_b[..., None]
    terms = torch.zeros(3, dtype=z_a.dtype)
    for x_a, x_b in ((z_a, z_b), (places_a, places_b)):
        for z, x, r, other_z, other_x, other_r in (
            (z_a, x_a, real_a, z_b, x_b, real_b),
            (z_b, x_b, real_b, z_a, x_a, real_a),
        ):
            mine, theirs = {}, {}
            for case in range(len(z)):
                found = matched(
                    x[case].detach(), other_x[case].detach(), r[case], other_r[case], matches
                )
                for rank, (i, j) in enumerate(found):
                    mine[case, rank], theirs[case, rank] = z[case, i], other_z[case, j]
            terms = terms + vicreg(mine, theirs, eps) / 2
    weights = torch.tensor([invariance_weight, variance_weight, covariance_weight])
    return (weights * terms).sum()


def draw(generator: torch.Generator, *, axes: int = 0) -> tuple[Tensor, ...]:
    shapes: Any = [(6, 5, 4), (6, 4, 4), (6, 5, axes)[: 3 if axes else 2],
                   (6, 4, axes)[: 3 if axes else 2]]  # fmt: skip
    return tuple(torch.randn(s, generator=generator, dtype=torch.float64) * 0.8 for s in shapes)


NAMED: list[tuple[str, int, dict[str, Any]]] = [
    ("places in time", 0, {"matches": 3, **WEIGHTS}),
    ("places of two axes", 2, {"matches": 2, "eps": 0.3}),
    ("every token", 0, {"matches": 20}),
    ("ragged", 0, {"matches": 20, "valid_a": VALID_A, "valid_b": VALID_B, **WEIGHTS}),
    ("ragged on one side", 2, {"matches": 20, "valid_b": VALID_B}),
]
PARITY = [
    Parity(
        "vicregl_loss", f"Bardes et al. 2022, {name}",
        partial(vicregl_loss, **options), partial(oracle, **options), partial(draw, axes=axes),
    )
    for name, axes, options in NAMED
]  # fmt: skip


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


def over_ranks(z_a: Tensor, z_b: Tensor, real_a: Tensor, real_b: Tensor) -> Tensor:
    """Places are the first coordinates, so that every input passes through the one weight."""
    return vicregl_loss(
        z_a, z_b, z_a[..., :2].detach(), z_b[..., :2].detach(), real_a > 0, real_b > 0, matches=3
    )


@pytest.mark.parametrize("cut", [0, 4])
def test_two_ranks_are_the_whole_batch(cut: int, two_ranks: Ranks) -> None:
    z_a, z_b, *_ = draw(torch.Generator().manual_seed(0))
    inputs = (z_a, z_b, VALID_A.long(), VALID_B.long())
    assert_ranks_agree(two_ranks, over_ranks, *inputs, cut=cut)


def test_all_real_is_none_padded() -> None:
    inputs = draw(torch.Generator().manual_seed(1))
    every = torch.ones_like(VALID_A), torch.ones_like(VALID_B)
    whole = value_and_gradients(partial(vicregl_loss, matches=3), inputs)
    for valid in (every, (every[0], None), (None, every[1])):
        call = partial(vicregl_loss, valid_a=valid[0], valid_b=valid[1], matches=3)
        torch.testing.assert_close(value_and_gradients(call, inputs), whole)
    nothing = torch.zeros_like(VALID_A)
    value, slopes = value_and_gradients(partial(vicregl_loss, valid_a=nothing), inputs)
    assert value == 0
    assert not slopes[0].any()


def test_one_token_at_one_place_is_vicreg_twice() -> None:
    a, b, *_ = draw(torch.Generator().manual_seed(2))
    place = torch.zeros(6, 1).double()
    torch.testing.assert_close(
        vicregl_loss(a[:, :1], b[:, :1], place, place, **WEIGHTS),
        2 * vicreg_loss(a[:, 0], b[:, 0], **WEIGHTS),
    )


def test_equal_views_match_themselves() -> None:
    """By feature and by place: the views do not differ, in whichever order the tokens come."""
    a, _, places, _ = draw(torch.Generator().manual_seed(3))
    order = torch.tensor([3, 0, 4, 1, 2])
    assert vicregl_terms(a, a[:, order], places, places[:, order]).invariance == 0
    apart = vicregl_terms(a, a[:, order], places, places).invariance  # by feature only
    by_place = (a - a[:, order]).square().mean()
    torch.testing.assert_close(apart, by_place)


def test_the_earlier_token_of_equally_near_ones() -> None:
    a, b, *_ = draw(torch.Generator().manual_seed(4))
    places = torch.zeros(6, 5).double()
    inputs = (a, b, places, places[:, :4])
    for valid in (None, VALID_B):
        for matches in (2, 4):
            call, naive = (
                partial(f, matches=matches, valid_b=valid) for f in (vicregl_loss, oracle)
            )
            torch.testing.assert_close(
                value_and_gradients(call, inputs)[1][0], value_and_gradients(naive, inputs)[1][0]
            )
    grid = torch.arange(5.0).double().expand(6, 5)  # by place each token is its own match
    both = torch.cat([b, b[:, :1]], dim=1)
    by_place = 2 * vicregl_terms(a, both, grid, grid, matches=2).invariance
    apart = vicregl_terms(a, both, places, places, matches=2).invariance * 2
    first = sum((x[:, :2] - y[:, :1]).square().mean() for x, y in ((a, both), (both, a)))
    torch.testing.assert_close(by_place - apart, 2 * (a - both)[:, :2].square().mean() - first)


def test_digits_at_unequal_scales() -> None:
    a, b, places_a, places_b = draw(torch.Generator().manual_seed(5))
    scale = torch.logspace(-1, 3, 4).double()
    narrow = tuple(x.float() for x in (a * scale, b * scale, places_a, places_b))
    sides: list[dict[str, Any]] = [{}, {"valid_a": VALID_A, "valid_b": VALID_B}]
    for ragged in sides:
        call = partial(vicregl_loss, matches=3, **ragged)
        value, slopes = value_and_gradients(call, narrow)
        expected, exact = value_and_gradients(call, tuple(x.double() for x in narrow))
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)
        for slope, wanted in zip(slopes[:2], exact[:2], strict=True):
            columns = wanted.abs().amax((0, 1))
            assert ((slope - wanted).abs().amax((0, 1)) <= 1e-4 * columns).all()


@pytest.mark.parametrize("who", ["vicregl_loss", "vicregl_terms"])
def test_bad_input_is_refused(who: str) -> None:
    call: Any = {"vicregl_loss": vicregl_loss, "vicregl_terms": vicregl_terms}[who]
    a, b, p, q = draw(torch.Generator().manual_seed(6))
    refused: list[tuple[tuple[Tensor, ...], dict[str, Any], str]] = [
        ((a[0], b, p, q), {}, r"z_a must be \(batch, tokens, dim\); got shape"),
        ((a, b[1:], p, q[1:]), {}, "z_b must have size 6 in dimension 0; got 5"),
        ((a, b[..., 1:], p, q), {}, "z_b must have size 4 in dimension 2; got 3"),
        ((a, b[:, :0], p, q[:, :0]), {}, r"z_b.numel\(\) must be >= 1; got 0"),
        ((a, b, p[:, 1:], q), {}, r"places_a must be \(batch, tokens\) or .*\(6, 4\) for \(6, 5"),
        ((a, b, p, q[..., None]), {}, r"places_a and places_b must have the same axes; got"),
        ((a, b, p.long(), q), {}, "places_a must be floating point; got torch.int64"),
        ((a, b, p, q, VALID_B), {}, r"valid_a must have shape \(6, 5\); got \(6, 4\)"),
        ((a[:1], b[:1], p[:1], q[:1]), {}, "batch must be >= 2; got 1"),
        ((a, b, p, q), {"matches": 0}, "matches must be >= 1; got 0"),
        ((a, b, p, q), {"eps": -1.0}, "eps must be >= 0; got -1.0"),
    ]
    for inputs, options, message in refused:
        with pytest.raises(ValueError, match=f"^{who}: {message}"):
            call(*inputs, **options)
    assert (
        call(*(x.to("meta") for x in (a, b, p, q)))[...].shape == ()
        if who.endswith("loss")
        else True
    )
