"""Noise for the error, symmetric levels, growing codebooks, ordered and late codes: each against
the paper's formula, written naively in float64."""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok.quantizers import (
    FSP,
    FSQ,
    NSVQ,
    AffineVectorQuantizer,
    DiVeQ,
    EMAVectorQuantizer,
    GroupedQuantizer,
    GrowingQuantizer,
    LateQuantizer,
    MultiScaleQuantizer,
    OrderedQuantizer,
    ProjectedQuantizer,
    ResidualQuantizer,
    SymmetricFSQ,
    VectorQuantizer,
    balanced_codes,
    beam_codes,
    codebook_drift_loss,
    ema_update_,
    growing_sizes,
    nearest_codes,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(*shape: int, seed: int = 1, scale: float = 1.0) -> Tensor:
    """Skewed and off centre, with channels of unequal scales."""
    values = torch.randn(*shape, generator=seeded(seed), dtype=torch.float64).exp() - 0.7
    return scale * values * torch.logspace(-1, 1, shape[-1], dtype=torch.float64)


def vectors_of(seed: int, size: int = 7, dim: int = 4) -> Tensor:
    return data(size, dim, seed=seed)


# oracle: noise of the error's length


def naive_substitution(x: Tensor, codebook: Tensor, direction: Tensor) -> Tensor:
    rows = []
    for i in range(len(x)):
        code = codebook[int((codebook - x[i]).square().sum(1).argmin())]
        unit = (direction[i] / direction[i].norm()).detach()
        rows.append(x[i] + (code - x[i]).norm() * unit)
    return torch.stack(rows)


@pytest.mark.parametrize("variance", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["DiVeQ", "NSVQ"])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_error_s_length_in_a_direction(kind: str, variance: float, scale: float) -> None:
    book, x = scale * vectors_of(3), (scale * data(9, 4)).requires_grad_()
    variance = variance * scale**2
    quantizer: Any
    if kind == "DiVeQ":
        quantizer = DiVeQ(4, 7, noise_variance=variance, generator=seeded(5)).double()
    else:
        quantizer = NSVQ(4, 7, generator=seeded(5)).double()
    quantizer.set_codebook(book)
    vectors, codes, loss = quantizer(x)
    noise = torch.empty(9, 4, dtype=torch.float64).normal_(generator=seeded(5))
    leaf, weight = x.detach().clone().requires_grad_(), book.clone().requires_grad_()
    direction = noise
    if kind == "DiVeQ":
        direction = (weight[codes] - leaf).detach() + math.sqrt(variance) * noise
    expected = naive_substitution(leaf, weight, direction)
    torch.testing.assert_close(vectors, expected, rtol=1e-9, atol=1e-12 * scale)
    wave = torch.arange(36.0, dtype=torch.float64).reshape(9, 4).sin()
    (vectors * wave).sum().backward()
    (expected * wave).sum().backward()
    torch.testing.assert_close(x.grad, leaf.grad)
    torch.testing.assert_close(quantizer.weight.grad, weight.grad)
    assert loss == 0
    error = (vectors - x).norm(dim=1)
    torch.testing.assert_close(error, (quantizer.decode(codes) - x).norm(dim=1))


def test_without_noise_the_vectors_are_the_codes() -> None:
    quantizer = DiVeQ(4, 7, noise_variance=0.0, weight_generator=seeded()).double()
    x = data(9, 4)
    vectors, codes, _ = quantizer(x)
    torch.testing.assert_close(vectors, quantizer.decode(codes))


@pytest.mark.parametrize("build", [DiVeQ, NSVQ])
def test_a_latent_on_its_code_has_a_finite_gradient(build: Callable[..., Any]) -> None:
    quantizer = build(4, 7, weight_generator=seeded()).double()
    x = quantizer.codebook[:3].detach().clone().requires_grad_()
    vectors = quantizer(x).vectors
    torch.testing.assert_close(vectors, x)
    vectors.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    assert quantizer.weight.grad.isfinite().all()


@pytest.mark.parametrize("build", [DiVeQ, NSVQ])
def test_without_a_loss_the_codebook_learns(build: Callable[..., Any]) -> None:
    """The task alone moves codes to where the latents are."""
    quantizer = build(2, 4, generator=seeded(1), weight_generator=seeded(2))
    x = torch.randn(200, 2, generator=seeded(3)) * 0.1 + torch.tensor([2.0, -1.0])
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=1.0)
    before = (quantizer.decode(quantizer.encode(x)) - x).square().mean()
    for _ in range(60):
        optimizer.zero_grad()
        (quantizer(x).vectors - x).square().mean().backward()
        optimizer.step()
    after = (quantizer.decode(quantizer.encode(x)) - x).square().mean()
    assert after < 0.1 * before


# oracle: levels


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_symmetric_levels_are_the_paper_s(scale: float) -> None:
    levels = [2, 3, 4, 9]
    quantizer = SymmetricFSQ(levels).double()
    z = data(200, 4, scale=scale).requires_grad_()
    count = torch.tensor(levels, dtype=torch.float64)
    rounded = ((count - 1) * (z.tanh() + 1) / 2 + 0.5).floor()
    vectors, codes, loss = quantizer(z)
    torch.testing.assert_close(vectors, 2 / (count - 1) * rounded - 1)
    digits = rounded.long()
    assert torch.equal(codes, digits @ torch.tensor([1, 2, 6, 24]))
    assert loss == 0
    (slope,) = torch.autograd.grad(vectors.sum(), z)
    torch.testing.assert_close(slope, 1 - z.detach().tanh().square())


def test_noise_stands_for_rounding_in_a_share_of_the_samples() -> None:
    levels, z = [3, 5], data(400, 6, 2).requires_grad_()
    quantizer = SymmetricFSQ(levels, noise=0.4, generator=seeded(2)).double()
    vectors, codes, _ = quantizer(z)
    still = quantizer.eval()(z)
    assert torch.equal(codes, still.codes)
    noisy = (vectors != still.vectors).flatten(1).any(dim=1)
    assert 0.3 < noisy.double().mean() < 0.5
    left = (vectors - z.tanh()).detach()[noisy] * (torch.tensor(levels) - 1)  # uniform in +-1
    assert left.abs().max() <= 1
    assert left.abs().mean() == pytest.approx(0.5, abs=0.03)
    assert abs(left.mean()) < 0.05
    (slope,) = torch.autograd.grad(vectors.sum(), z)
    torch.testing.assert_close(slope, 1 - z.detach().tanh().square())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_perturbed_scalars_are_the_authors(scale: float) -> None:
    levels = [2, 5, 8]
    quantizer = FSP(levels, generator=seeded(3)).double()
    z = data(300, 3, scale=scale).requires_grad_()
    count = torch.tensor(levels, dtype=torch.float64)
    u = (z.tanh() + 1) / 2
    generator = seeded(3)
    shift = (torch.rand(300, 3, generator=generator, dtype=torch.float64) - 0.5) / count
    shaken = torch.where((u + shift > 0) & (u + shift < 1), u + shift, u)
    vectors, codes, loss = quantizer(z)
    torch.testing.assert_close(vectors, (shaken - 0.5) / 0.28867513459481287, atol=1e-9, rtol=0)
    digits = (u.clamp(max=1 - 1e-12) * count).floor()
    assert torch.equal(codes, digits.long() @ torch.tensor([1, 2, 10]))
    mean, variance = z.mean(0), z.var(0, correction=0)
    target = math.pi**2 / 12
    torch.testing.assert_close(
        loss, 0.1 * mean.square().mean() + 0.07 * (variance - target).square().mean()
    )
    (slope,) = torch.autograd.grad(vectors.sum(), z, retain_graph=True)
    torch.testing.assert_close(slope, math.sqrt(3) * (1 - z.detach().tanh().square()))
    middles = quantizer.eval()(z).vectors
    torch.testing.assert_close(middles, ((digits + 0.5) / count - 0.5) / 0.28867513459481287)


@pytest.mark.parametrize("kind", [FSP, SymmetricFSQ])
def test_noise_in_all_samples_is_noise_in_all_but_none(kind: Any) -> None:
    """What is left out where all samples get noise reads as it did: values, slopes and draws."""
    results = []
    for noise in (1.0, math.nextafter(1.0, 0.0)):
        generator = seeded(3)
        z = data(4, 6, 2, scale=2.0).requires_grad_()
        vectors, codes, loss = kind([3, 8], noise=noise, generator=generator).double()(z)
        (slope,) = torch.autograd.grad(vectors.square().sum() + loss, z)
        results.append((vectors, codes, loss, slope, torch.rand(3, generator=generator)))
    for whole, nearly in zip(*results, strict=True):
        assert torch.equal(whole, nearly)


def test_a_lost_latent_stays_lost_under_noise() -> None:
    vectors = FSP([3, 8])(torch.tensor([[0.5, math.nan], [0.5, 0.5]])).vectors
    assert vectors.isnan().tolist() == [[False, True], [False, False]]


def test_middles_are_the_centroids_of_uniform_channels() -> None:
    u = (torch.arange(6000, dtype=torch.float64) + 0.5) / 6000
    quantizer = FSP([5]).double().eval()
    codes = quantizer.encode(torch.atanh(2 * u - 1)[:, None])
    for code in range(5):
        centre = ((u[codes == code] - 0.5) * math.sqrt(12)).mean()
        torch.testing.assert_close(quantizer.codebook[code, 0], centre)


# oracle: beams


def brute_force(x: Tensor, books: list[Tensor]) -> tuple[Tensor, Tensor]:
    combinations = torch.tensor(list(itertools.product(*(range(len(book)) for book in books))))
    sums = sum(book[combinations[:, i]] for i, book in enumerate(books))
    error = (x[:, None] - sums).square().sum(2)
    return combinations[error.argmin(1)], error.amin(1)


@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_beams_enough_find_the_best_of_all_combinations(shift: float) -> None:
    books = [vectors_of(i, size=size, dim=3) for i, size in enumerate((4, 3, 5))]
    books[0] = books[0] + shift
    x = data(60, 3, seed=9) + shift
    best, least = brute_force(x, books)
    assert torch.equal(beam_codes(x, books, beams=12), best)  # 4 * 3 sums before the last
    greedy, errors = beam_codes(x, books, beams=1), []
    assert torch.equal(greedy[:, 0], nearest_codes(x, books[0]))
    for beams in (1, 2, 4, 12):
        codes = beam_codes(x, books, beams=beams)
        total = sum(book[codes[:, i]] for i, book in enumerate(books))
        errors.append(float((x - total).square().sum()))
    assert errors[0] > errors[-1] == pytest.approx(float(least.sum()))


def test_levels_learn_at_the_codes_of_the_beam() -> None:
    """Value and gradient are those of each level at these codes; scales count."""
    levels = [
        VectorQuantizer(3, size, commitment_weight=0.3, codebook_weight=0.7).double()
        for size in (4, 5)
    ]
    quantizer = ResidualQuantizer(levels, beams=4, scales=[1.0, 0.5])
    for i, level in enumerate(levels):
        level.set_codebook(vectors_of(i, size=4 + i, dim=3))
    x = data(30, 3, seed=4).requires_grad_()
    vectors, codes, loss = quantizer(x)
    books = [levels[0].weight.detach(), 0.5 * levels[1].weight.detach()]
    assert torch.equal(codes, brute_force(x.detach(), books)[0])
    assert torch.equal(quantizer.encode(x.detach()), codes)
    assert torch.equal(vectors, quantizer.decode(codes))
    leaf = x.detach().clone().requires_grad_()
    weights = [level.weight.detach().clone().requires_grad_() for level in levels]
    first = weights[0][codes[:, 0]]
    rest = (leaf - first.detach()) / 0.5
    expected = torch.zeros((), dtype=torch.float64)
    for given, chosen in ((leaf, first), (rest, weights[1][codes[:, 1]])):
        expected = expected + 0.3 * (given - chosen.detach()).square().mean()
        expected = expected + 0.7 * (given.detach() - chosen).square().mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(x.grad, leaf.grad)
    for level, weight in zip(levels, weights, strict=True):
        torch.testing.assert_close(level.weight.grad, weight.grad)


def test_fewer_levels_have_the_best_codes_of_so_many() -> None:
    levels = [VectorQuantizer(3, 4, generator=seeded(i)).double() for i in range(3)]
    quantizer = ResidualQuantizer(levels, beams=16, dropout=1.0, generator=seeded(1))
    x = data(80, 3, scale=0.2)
    codes = quantizer(x).codes
    depth = (codes >= 0).sum(dim=1)
    assert depth.unique().tolist() == [1, 2, 3]
    for count in (1, 2, 3):
        rows = depth == count
        books = [level.weight.detach() for level in levels[:count]]
        assert torch.equal(codes[rows, :count], brute_force(x[rows], books)[0])


# oracle: balance


def naive_transport(x: Tensor, codebook: Tensor, sharpness: float, iterations: int) -> Tensor:
    """As the authors' code: rows of codes, columns of tokens, masses 1/K and 1/B."""
    distance = (x[:, None] - codebook).square().sum(2).sqrt()
    cost = (distance - distance.mean()) / distance.std()
    q = torch.exp(-sharpness * (cost - cost.min())).T
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(dim=1, keepdim=True) / len(codebook)
        q = q / q.sum(dim=0, keepdim=True) / len(x)
    return q.T.argmax(dim=1)


@pytest.mark.parametrize(("sharpness", "iterations"), [(10.0, 5), (3.0, 1), (2.0, 40)])
def test_balance_is_the_authors_transport(sharpness: float, iterations: int) -> None:
    x, book = data(60, 4), vectors_of(3) + 2
    found = balanced_codes(x, book, sharpness=sharpness, iterations=iterations)
    assert torch.equal(found, naive_transport(x, book, sharpness, iterations))
    assert not torch.equal(found, nearest_codes(x, book))
    padded = torch.cat([x[:20], torch.zeros(9, 4), torch.full((2, 4), torch.nan), x[20:]])
    rows = torch.cat([torch.arange(20), torch.arange(31, 71)])
    other = balanced_codes(padded, book, sharpness=sharpness, iterations=iterations)
    assert torch.equal(other[rows], found)
    assert (other >= 0).all()


@pytest.mark.parametrize("scale", [1e-5, 1e5])
def test_far_codes_are_used_in_training(scale: float) -> None:
    quantizer = VectorQuantizer(4, 7, search=partial(balanced_codes, iterations=50))
    quantizer.set_codebook((scale * (vectors_of(3) + 50)).float())  # all far away
    x = (scale * data(700, 4)).float()
    used = torch.bincount(quantizer(x).codes, minlength=7)
    nearest = torch.bincount(quantizer.encode(x), minlength=7)
    assert (used > 0).sum() >= 6 >= 2 * (nearest > 0).sum()
    assert used.max() < 300 < 600 < nearest.max()
    assert torch.equal(quantizer.eval()(x).codes, quantizer.encode(x))
    assert quantizer.train()(torch.zeros(0, 4)).codes.shape == (0,)


# oracle: statistics and weights of running means


def test_single_codes_move_by_their_weights() -> None:
    book, counts = vectors_of(2), torch.rand(7, generator=seeded(4), dtype=torch.float64) + 0.5
    weights = torch.tensor([0.0, 0.3, 1.0, 0.5, 0.7, 0.0, 0.9], dtype=torch.float64)
    x = data(40, 4)
    codes = nearest_codes(x, book)
    sums, sizes = counts[:, None] * book, counts.clone()
    for k in range(7):
        share = 0.2 * float(weights[k])  # as in vector-quantize-pytorch's ema_update_weight
        rows = x[codes == k]
        sums[k] = (1 - share) * sums[k] + share * rows.sum(0)
        sizes[k] = (1 - share) * sizes[k] + share * len(rows)
    still = book[0].clone()
    ema_update_(book, counts, x, codes, decay=0.8, weights=weights)
    torch.testing.assert_close(book, sums / sizes[:, None])
    torch.testing.assert_close(counts, sizes)
    assert torch.equal(book[0], still)


def test_weights_of_one_change_nothing_and_others_complain() -> None:
    plain, weighted = (EMAVectorQuantizer(4, 7, generator=seeded()).double() for _ in range(2))
    x = data(40, 4)
    plain.update(x, plain.encode(x))
    weighted.update(x, weighted.encode(x), weights=torch.ones(7))
    torch.testing.assert_close(weighted.codebook, plain.codebook)
    with pytest.raises(ValueError, match=r"weights must have size 7 in dimension 0; got"):
        plain.update(x, plain.encode(x), weights=torch.ones(6))
    with pytest.raises(ValueError, match=r"weights must be floating point; got torch.int64"):
        plain.update(x, plain.encode(x), weights=torch.ones(7, dtype=torch.int64))


def test_the_codebook_has_the_latents_mean_and_variance() -> None:
    """Three steps of the paper's formula, in float64, with padding among the tokens."""
    quantizer = AffineVectorQuantizer(
        4, 7, decay=0.8, statistics_decay=0.6, generator=seeded()
    ).double()
    weight, counts = quantizer.weight.clone(), torch.ones(7, dtype=torch.float64)
    mean, variance = weight.mean(0), weight.var(0, correction=0)
    for step in range(3):
        x = (1 + step) * data(50, 4, seed=step) + 3 * step
        middle, spread = weight.mean(0), weight.std(0, correction=0)
        seen = (weight - middle) * variance.sqrt() / spread + mean
        torch.testing.assert_close(quantizer.codebook, seen)
        valid = torch.arange(50) % 5 > 0
        codes = quantizer.encode(x, valid)
        real = x[valid]
        assert torch.equal(codes[valid], torch.cdist(real, seen).argmin(1))
        quantizer.update(x, codes)
        raw = (real - mean) * spread / variance.sqrt() + middle
        for k in range(7):
            rows = raw[codes[valid] == k]
            total = 0.8 * counts[k] * weight[k] + 0.2 * rows.sum(0)
            counts[k] = 0.8 * counts[k] + 0.2 * len(rows)
            weight[k] = total / counts[k]
        mean = 0.6 * mean + 0.4 * real.mean(0)
        variance = 0.6 * variance + 0.4 * real.var(0, correction=0)
    torch.testing.assert_close(quantizer.weight, weight)
    torch.testing.assert_close(quantizer.mean, mean)
    torch.testing.assert_close(quantizer.codebook.mean(0), mean)
    torch.testing.assert_close(quantizer.codebook.var(0, correction=0), variance)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_affine_codes_follow_at_any_scale(scale: float) -> None:
    quantizer = AffineVectorQuantizer(4, 7, statistics_decay=0.0, decay=1.0, generator=seeded())
    x = (scale * data(50, 4)).float()
    quantizer.update(x, quantizer.encode(x))
    torch.testing.assert_close(quantizer.codebook.var(0, correction=0), x.var(0, correction=0))
    moved = quantizer.revive(x, quantizer.encode(x), share=0.0)
    assert not moved.any()


def test_revival_moves_no_other_code() -> None:
    quantizer = AffineVectorQuantizer(4, 7, generator=seeded()).double()
    x = 3 * data(50, 4) + 9
    quantizer.initialize(x, generator=seeded())
    quantizer.update(x, quantizer.encode(x))
    quantizer.counts[2] = 0
    before = quantizer.codebook
    moved = quantizer.revive(x, quantizer.encode(x), generator=seeded(1))
    assert moved.tolist() == [k == 2 for k in range(7)]
    torch.testing.assert_close(quantizer.codebook[~moved], before[~moved])
    assert (quantizer.codebook[2] - x).norm(dim=1).min() < 1e-8


def naive_drift(x: Tensor, codebook: Tensor, temperature: float, strength: float) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for token in x.detach():
        distance = (codebook - token).square().sum(1)
        weight = strength * len(codebook) * (-distance.detach() / temperature).softmax(0)
        weight = weight.clamp(max=1)
        weight[int(distance.argmin())] = 0
        total = total + (weight * distance).sum()
    return total / x.numel()


@pytest.mark.parametrize("temperature", [0.1, 30.0])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_codes_drift_by_the_kernel(temperature: float, shift: float) -> None:
    x = data(20, 4) + shift
    book = (vectors_of(3) + shift).requires_grad_()
    valid = torch.arange(20) % 4 > 0
    padded = torch.where(valid[:, None], x, torch.nan)
    loss = codebook_drift_loss(padded, book, valid, temperature=temperature, strength=0.2)
    other = book.detach().clone().requires_grad_()
    expected = naive_drift(x[valid], other, temperature, 0.2)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-9)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(book.grad, other.grad, rtol=1e-6, atol=1e-9)
    none = codebook_drift_loss(x, book, torch.zeros(20, dtype=torch.bool), temperature=1.0)
    assert none == 0


def test_a_drifting_encoder_takes_unused_codes_along() -> None:
    """Without the kernel the far code stays; with it, it follows."""
    places = []
    for strength in (0.0, 0.2):
        quantizer = VectorQuantizer(
            1, 2,
            regularizer=partial(codebook_drift_loss, temperature=100.0, strength=strength),
        )  # fmt: skip
        quantizer.set_codebook(torch.tensor([[0.0], [5.0]]))
        optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.5)
        for step in range(40):
            optimizer.zero_grad()
            quantizer(torch.full((4, 1), -0.1 * step)).loss.backward()
            optimizer.step()
        places.append(float(quantizer.weight[1].detach()))
    assert places[0] == 5
    assert places[1] < 2


# oracle: sequences


def test_places_choose_among_their_codes() -> None:
    inner = VectorQuantizer(3, 9, generator=seeded()).double()
    quantizer = GrowingQuantizer(inner, [2, 4, 4, 9], channel_dim=1)
    x = data(5, 6, 3).movedim(2, 1)
    codes = quantizer.encode(x)
    for place in range(6):
        size = [2, 4, 4, 9, 9, 9][place]
        expected = nearest_codes(x[:, :, place], inner.weight[:size])
        assert torch.equal(codes[:, place], expected)
    assert quantizer.sizes_at(6) == [2, 4, 4, 9, 9, 9]
    loss = quantizer(x).loss
    chosen = inner.weight[codes].movedim(2, 1)
    torch.testing.assert_close(loss, 1.25 * (x - chosen).square().mean())


@pytest.mark.parametrize(("places", "smallest"), [(1, 2), (7, 2), (300, 1), (4, 64)])
def test_sizes_grow_from_few_to_all(places: int, smallest: int) -> None:
    sizes = growing_sizes(places, 64, smallest=smallest)
    assert len(sizes) == places
    assert sizes == sorted(sizes)
    assert sizes[-1] == 64
    assert places == 1 or sizes[0] == smallest


def test_tails_are_dropped_by_sample_and_uniformly() -> None:
    inner = EMAVectorQuantizer(3, 9, generator=seeded()).double()
    quantizer = OrderedQuantizer(inner, fewest=2, generator=seeded(1))
    x = data(400, 2, 3, 3)
    vectors, codes, loss = quantizer(x)
    flat = (codes >= 0).flatten(1)
    counts = flat.sum(1)
    assert torch.equal(flat, torch.arange(6) < counts[:, None])
    assert counts.unique().tolist() == [2, 3, 4, 5, 6]
    assert (torch.bincount(counts)[2:].double() - 80).abs().max() < 30
    whole = inner.encode(x)
    assert torch.equal(codes[codes >= 0], whole[codes >= 0])
    assert (vectors[codes < 0] == 0).all()
    rows = x[codes >= 0]
    torch.testing.assert_close(loss, inner(rows).loss)
    assert torch.equal(quantizer.eval()(x).codes, whole)
    short = quantizer.shorten(whole, 4)
    assert torch.equal(short.flatten(1)[:, :4], whole.flatten(1)[:, :4])
    assert (short.flatten(1)[:, 4:] == -1).all()


def test_codes_come_by_and_by() -> None:
    quantizer = LateQuantizer(FSQ([5, 3]), wait=2, ramp=3, generator=seeded(2)).double()
    x, shares = data(2000, 2), []
    for _ in range(8):
        vectors, codes, _ = quantizer(x)
        decoded = quantizer.decode(codes)
        late = (vectors == decoded).all(dim=1)
        assert torch.equal(vectors[~late], x[~late])
        shares.append(float(late.double().mean()))
        quantizer.update(x, torch.full_like(codes, -1))  # padding is no step
        quantizer.update(x, codes)
    assert shares == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1, 1, 1], abs=0.05)
    assert torch.equal(LateQuantizer(FSQ([5, 3]), wait=9).double().eval()(x).vectors, decoded)


def test_a_late_loss_counts_as_often_as_it_quantizes() -> None:
    inner = VectorQuantizer(3, 9, generator=seeded()).double()
    quantizer = LateQuantizer(inner, wait=0, ramp=3)
    x = data(20, 3).requires_grad_()
    result = quantizer(x)
    torch.testing.assert_close(result.loss, 0.25 * inner(x).loss)
    wait = LateQuantizer(inner, wait=5)(x)
    (slope,) = torch.autograd.grad(wait.vectors.sum() + wait.loss, x)
    assert torch.equal(slope, torch.ones_like(x))


def naive_scales(
    x: Tensor, valid: Tensor, books: list[Tensor], strides: list[int]
) -> tuple[Tensor, Tensor]:
    rest, codes = x.clone(), torch.full((len(x), len(books)), -1)
    for level, (book, stride) in enumerate(zip(books, strides, strict=True)):
        for begin in range(0, len(x), stride):
            cell = [i for i in range(begin, min(begin + stride, len(x))) if valid[i]]
            if cell:
                mean = rest[cell].mean(0)
                k = int((book - mean).square().sum(1).argmin())
                rest[cell] = rest[cell] - book[k]
                codes[cell, level] = k
    return codes, torch.where(valid[:, None], x - rest, 0.0)


def test_scales_code_the_means_of_cells() -> None:
    levels = [VectorQuantizer(3, size, generator=seeded(size)).double() for size in (4, 5, 6)]
    quantizer = MultiScaleQuantizer(levels, strides=[4, 3, 1])
    x, valid = data(3, 10, 3), torch.rand(3, 10, generator=seeded(2)) < 0.7
    vectors, codes, loss = quantizer(x.where(valid[..., None], torch.nan), valid)
    books = [level.weight.detach() for level in levels]
    for row in range(3):
        expected = naive_scales(x[row], valid[row], books, [4, 3, 1])
        assert torch.equal(codes[row], expected[0])
        torch.testing.assert_close(vectors[row], expected[1])
    assert torch.equal(quantizer.decode(codes), vectors)  # a cell's first place may be padding
    loss.backward()
    assert all(level.weight.grad is not None for level in levels)


def test_scales_learn_from_their_cells() -> None:
    """`update` sees one token for each cell; a prior's second code of a cell is not read."""
    levels = [EMAVectorQuantizer(2, 3, decay=0.5, generator=seeded(i)).double() for i in (0, 1)]
    quantizer = MultiScaleQuantizer(levels, strides=[2, 1])
    books = [level.codebook.clone() for level in levels]
    x = data(4, 6, 2)
    codes = quantizer.encode(x)
    quantizer.update(x, codes)
    means = x.reshape(12, 2, 2).mean(1)
    known = codes[..., 0].reshape(12, 2)[:, 0]
    counts, expected = torch.ones(3, dtype=torch.float64), books[0]
    ema_update_(expected, counts, means, known, decay=0.5)
    torch.testing.assert_close(levels[0].codebook, expected)
    other = codes.clone()
    other[:, 1::2, 0] = (codes[:, 1::2, 0] + 1) % 3
    assert torch.equal(quantizer.decode(other), quantizer.decode(codes))


# complaints


COMPLAINTS: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "variance": (lambda: DiVeQ(2, 3, noise_variance=-1.0), ValueError, "noise_variance must be"),
    "levels": (lambda: SymmetricFSQ([1, 3]), ValueError, r"min\(levels\) must be >= 2; got"),
    "noise": (lambda: FSP([3], noise=1.5), ValueError, r"noise must lie in \[0, 1\]; got 1.5"),
    "beams": (lambda: ResidualQuantizer([FSQ([3])], beams=0), ValueError, "beams must be >= 1"),
    "searched": (
        lambda: ResidualQuantizer([FSQ([3])] * 2, beams=2), TypeError, "must have with_codes.*FSQ",
    ),
    "sizes fall": (
        lambda: GrowingQuantizer(VectorQuantizer(2, 4), [3, 2, 4]), ValueError, "must not fall",
    ),
    "sizes end": (
        lambda: GrowingQuantizer(VectorQuantizer(2, 4), [2, 3]), ValueError, "size, 4; got",
    ),
    "growing what": (lambda: GrowingQuantizer(FSQ([3]), [3]), TypeError, "with_codes.*got FSQ"),
    "inside": (
        lambda: ProjectedQuantizer(GrowingQuantizer(VectorQuantizer(2, 4), [4]), 3),
        ValueError, "outermost; got GrowingQuantizer inside",
    ),
    "strides": (
        lambda: MultiScaleQuantizer([FSQ([3])] * 2, strides=[1, 2]), ValueError, "not rise; got",
    ),
    "fewest": (lambda: OrderedQuantizer(FSQ([3]), fewest=0), ValueError, "fewest must be >= 1"),
    "wait": (lambda: LateQuantizer(FSQ([3]), wait=-1), ValueError, "wait must be >= 0; got"),
    "drift": (
        lambda: codebook_drift_loss(torch.zeros(2, 2), torch.zeros(2, 2), temperature=0.0),
        ValueError, "temperature must be > 0; got",
    ),
    "beam": (lambda: beam_codes(torch.zeros(2, 2), [], beams=1), ValueError, "number of codebooks"),
    "balance": (
        lambda: balanced_codes(torch.zeros(2, 2), torch.zeros(2, 2), sharpness=0.0), ValueError,
        "sharpness must be > 0; got 0.0",
    ),
    "shorten": (
        lambda: OrderedQuantizer(FSQ([3])).shorten(torch.zeros(2, 3, dtype=torch.int64), 0),
        ValueError, "count must be >= 1; got 0",
    ),
    "levels of a code": (
        lambda: OrderedQuantizer(GroupedQuantizer([FSQ([3])] * 2)).shorten(
            torch.zeros(2, 3, dtype=torch.int64), 1
        ),
        ValueError, r"codes must have shape \(samples, ..., 2\); got \(2, 3\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPLAINTS)
def test_complaints(name: str) -> None:
    call, kind, message = COMPLAINTS[name]
    with pytest.raises(kind, match=message):
        call()
