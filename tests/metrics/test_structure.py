"""LiDAR, CKA and DSE against their formulas written out, on known sets and on broken ones."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy import linalg
from torch import Tensor

from ssltok.losses import cka_loss
from ssltok.metrics import cka, dense_structure, lidar, rank_me


def normal(*shape: int, seed: int = 0) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn * torch.linspace(0.4, 1.7, shape[-1], dtype=torch.float64)


# --- LiDAR ----------------------------------------------------------------------------------


def lidar_oracle(x: Tensor, ridge: float) -> float:
    """As the paper writes it: both covariances, and the root of the inverse of one."""
    cases, views, dim = x.shape
    means = torch.stack([x[i].mean(0) for i in range(cases)])
    centre = means.mean(0)
    between = sum(torch.outer(m - centre, m - centre) for m in means) / cases
    within = ridge * torch.eye(dim, dtype=x.dtype)
    for i in range(cases):
        for j in range(views):
            within += torch.outer(x[i, j] - means[i], x[i, j] - means[i]) / (cases * views)
    root = linalg.inv(linalg.sqrtm(within.numpy()).real)
    eigenvalues = linalg.eigvalsh(root @ between.numpy() @ root).clip(min=0)  # type: ignore[union-attr]
    p = eigenvalues / eigenvalues.sum()
    return math.exp(-sum(q * math.log(q) for q in p if q > 1e-14))


@pytest.mark.parametrize(("cases", "views", "dim"), [(9, 4, 5), (4, 3, 7), (20, 2, 3)])
@pytest.mark.parametrize("ridge", [1e-4, 0.7])
def test_lidar_is_the_paper_s(cases: int, views: int, dim: int, ridge: float) -> None:
    x = normal(cases, 1, dim) + 0.6 * normal(cases, views, dim, seed=1)
    assert lidar(x, ridge=ridge).item() == pytest.approx(lidar_oracle(x, ridge), rel=1e-7)
    assert lidar(x + 1e6, ridge=ridge).item() == pytest.approx(lidar_oracle(x, ridge), rel=1e-6)
    assert lidar(x.float(), ridge=ridge).dtype == torch.float64


def test_lidar_does_not_count_what_augmentation_moves() -> None:
    """Two directions tell series apart; four more, as wide, tell only views apart."""
    means = torch.cat([normal(200, 2), torch.zeros(200, 4).double()], dim=1)[:, None]
    noise = torch.cat([torch.zeros(200, 8, 2).double(), normal(200, 8, 4, seed=1)], dim=2)
    x = means + noise - noise.mean(1, keepdim=True)
    assert lidar(x).item() < 2.01
    assert rank_me(x.flatten(0, 1)).item() > 5


def test_lidar_of_no_difference_and_of_wrong_sets() -> None:
    assert lidar(normal(1, 4, 3).repeat(5, 1, 1)).isnan()
    assert lidar(normal(1, 1, 3).repeat(5, 2, 1)).isnan()
    broken = normal(5, 4, 3)
    broken[2, 1, 0] = torch.inf
    assert lidar(broken).isnan()
    for shape, message in (((4, 3), r"\(cases, views, dim\)"), ((1, 2, 3), "cases must be >= 2"),
                           ((2, 1, 3), "views must be >= 2")):  # fmt: skip
        with pytest.raises(ValueError, match=f"^lidar: .*{message}"):
            lidar(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"^lidar: ridge must be > 0; got 0.0$"):
        lidar(normal(3, 3, 3), ridge=0.0)


# --- CKA ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cases", "first", "second"), [(30, 4, 6), (5, 9, 3), (12, 12, 12)])
def test_cka_is_hsic_of_centred_kernels(cases: int, first: int, second: int) -> None:
    x = normal(cases, first)
    y = x @ normal(first, second, seed=1) + normal(cases, second, seed=2)
    centring = torch.eye(cases, dtype=torch.float64) - 1 / cases
    k, l = (centring @ z @ z.T @ centring for z in (x, y))  # noqa: E741
    expected = (k * l).sum() / ((k * k).sum() * (l * l).sum()).sqrt()
    torch.testing.assert_close(cka(x, y), expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(cka(x, y), 1 - cka_loss(x, y))
    torch.testing.assert_close(cka(y * 1e-5 + 3, 1e5 * x), expected)
    assert cka(x, x).item() == pytest.approx(1)


def test_cka_of_constants_and_of_wrong_sets() -> None:
    x = normal(6, 3)
    assert cka(x, torch.full((6, 2), 0.1)) == 0
    assert cka(torch.cat([x, x[:, :1] * torch.nan], 1), x).isnan()
    with pytest.raises(ValueError, match="cka: first and second must have the same cases; got"):
        cka(x, x[:4])
    with pytest.raises(ValueError, match="cka: cases must be >= 2; got 1"):
        cka(x[:1], x[:1])


# --- DSE ------------------------------------------------------------------------------------


def nearest(rows: Tensor, centers: list[Tensor]) -> list[int]:
    return [min(range(len(centers)), key=lambda i: (r - centers[i]).norm().item()) for r in rows]


def k_means(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Lloyd's, started at the farthest; loops only. Data without ties."""
    centers = [max(rows, key=lambda r: (r - rows.mean(0)).norm().item())]
    while len(centers) < min(count, len(rows)):
        centers.append(max(rows, key=lambda r: min((r - c).norm().item() for c in centers)))
    for _ in range(20):
        near = [
            min(range(len(centers)), key=lambda i: (r - centers[i]).norm().item()) for r in rows
        ]
        for i in range(len(centers)):
            members = [r for r, label in zip(rows, near, strict=True) if label == i]
            if members:
                centers[i] = torch.stack(members).mean(0)
    return torch.stack(centers), torch.tensor(nearest(rows, centers))


def radii_of(rows: Tensor, count: int) -> list[Tensor]:
    _, labels = k_means(rows, count)
    parts = [rows[labels == i] for i in range(count) if (labels == i).sum() > 1]
    wide = rows.shape[1]
    sums = [torch.linalg.matrix_norm(part - part.mean(0), "nuc") for part in parts]
    return [
        total / max(len(part) - 1, wide) ** 0.5 for total, part in zip(sums, parts, strict=True)
    ]


def dense_oracle(x: list[Tensor], local: int, wide: int, group: int) -> list[float]:
    """The authors' parts, cluster by cluster."""
    every = torch.cat(x)
    unit = (every - every.mean(0)).norm(dim=1).mean()
    series = [torch.stack(radii_of(rows, local)).mean() for rows in x]
    groups = [torch.cat(x[i : i + group]) for i in range(0, len(x), group)]
    sizes = [size for rows in groups for size in radii_of(rows, wide)]
    apart = []
    for rows in groups:
        centers, labels = k_means(rows, wide)
        others = [
            min((r - c).norm() for i, c in enumerate(centers) if i != label)
            for r, label in zip(rows, labels, strict=True)
        ]
        apart.append(torch.stack(others).mean())
    s = torch.linalg.svdvals(every)
    rank = (-(s / s.sum()) * (s / s.sum()).log()).sum().exp() / min(every.shape)
    parts = [torch.stack(part).mean() / unit for part in (apart, series, sizes)]
    return [*(part.item() for part in parts), rank.item()]


@pytest.mark.parametrize("normalize", [False, True])
def test_dense_structure_is_the_authors_parts(normalize: bool) -> None:
    x = normal(5, 7, 3) + 2 * normal(5, 1, 3, seed=1)
    lengths = [7, 5, 7, 6, 4]
    valid = torch.arange(7) < torch.tensor(lengths)[:, None]
    padded = torch.where(valid[..., None], x, torch.nan)
    rows = [part[:length] for part, length in zip(x, lengths, strict=True)]
    if normalize:
        rows = [part / part.norm(dim=1, keepdim=True) for part in rows]
    expected = dense_oracle(rows, 2, 4, 2)
    parts = dense_structure(
        padded, valid, series_clusters=2, group_clusters=4, group_size=2, normalize=normalize,
        dimension_weight=0.3,
    )  # fmt: skip
    assert [part.item() for part in parts[1:]] == pytest.approx(expected, rel=1e-9)
    score = expected[0] - (expected[1] + expected[2]) / 2 + 0.3 * expected[3]
    assert parts.score.item() == pytest.approx(score)


def test_dense_structure_sees_no_shift_and_no_scale_of_what_it_clusters() -> None:
    x = (16 * normal(6, 8, 3)).round() / 16
    one = dense_structure(x, group_clusters=5, normalize=False)
    other = dense_structure(4 * x + 2**20, group_clusters=5, normalize=False)
    for name in ("separation", "series_radius", "group_radius"):
        torch.testing.assert_close(getattr(other, name), getattr(one, name), rtol=1e-9, atol=0)
    torch.testing.assert_close(
        dense_structure(4 * x, group_clusters=5), dense_structure(x, group_clusters=5)
    )


def test_degraded_tokens_score_lower() -> None:
    """Clusters that are smeared, and a representation that lost its directions."""
    generator = torch.Generator().manual_seed(0)
    centers = 3 * torch.randn(4, 6, generator=generator)
    labels = torch.randint(4, (16, 12), generator=generator)
    noise = torch.randn(16, 12, 6, generator=generator)
    sharp, smeared = (
        dense_structure(centers[labels] + size * noise, group_clusters=4) for size in (0.1, 2.0)
    )
    assert sharp.score > smeared.score
    flat = centers[labels] + 0.1 * noise
    flat[..., 1:] *= 0.01
    assert dense_structure(flat, group_clusters=4).dimension < 0.6 * sharp.dimension


def test_dense_structure_of_points_and_of_wrong_tokens() -> None:
    single = dense_structure(normal(4, 2, 3), series_clusters=2, group_clusters=8, group_size=4)
    assert single.series_radius.isnan()
    assert single.group_radius.isnan()
    assert single.separation.isfinite()
    assert dense_structure(torch.ones(3, 4, 2)).score.isnan()
    broken = normal(3, 4, 2)
    broken[1, 2, 0] = -torch.inf
    assert dense_structure(broken).score.isnan()
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: dense_structure(torch.zeros(3, 4)), r"tokens must be \(cases, tokens, dim\)"),
        (lambda: dense_structure(torch.zeros(0, 4, 2)), r"tokens.numel\(\) must be >= 1"),
        (lambda: dense_structure(broken, broken[..., 0]), "valid must be boolean"),
        (lambda: dense_structure(broken, group_clusters=1), "group_clusters must be >= 2; got 1"),
        (lambda: dense_structure(broken, series_clusters=0), "series_clusters must be >= 1; got 0"),
        (lambda: dense_structure(broken, group_size=0), "group_size must be >= 1; got 0"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=f"^dense_structure: {message}"):
            call()
