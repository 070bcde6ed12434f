"""Objectives against their papers, written naively in float64: rows, masks, targets, states."""

import copy
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssltok import training
from ssltok.losses import barlow_twins_loss, sigreg_loss, vibcreg_loss, vicreg_loss
from ssltok.nn import IterNorm, Projector, average_max_pool
from ssltok.quantizers import VectorQuantizer
from ssltok.training import ObjectiveBatch, ObjectiveOutput
from tests.training.objective_cases import (
    CHANNELS,
    DIM,
    FRAMES,
    LENGTH,
    PATCH,
    Patches,
    Series,
    Steps,
    Tokens,
    mlp,
    wide_pool,
)

CASES = 6


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def padding() -> Tensor:
    """Series of six lengths: 24, 20, 17, 12, 9, 4 samples; 6, 5, 5, 3, 3, 1 tokens."""
    return torch.arange(LENGTH) < torch.tensor([24, 20, 17, 12, 9, 4])[:, None]


def named(part: Any) -> Any:
    """Any objective, whose parts have names that mypy does not know."""
    return part


def standardized(z: Tensor) -> Tensor:
    return (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt()


def unit(z: Tensor) -> Tensor:
    return z / z.square().sum(-1, keepdim=True).sqrt()


def entropy(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of one row."""
    shares = (logits / temperature).exp()
    return -(target * (shares / shares.sum()).log()).sum()


# Rows: which features the loss compares, and how they get there.


def twins(z_a: Tensor, z_b: Tensor, weight: float) -> Tensor:
    c = standardized(z_a).T @ standardized(z_b) / len(z_a)
    total = torch.zeros((), dtype=z_a.dtype)
    for i, j in itertools.product(range(len(c)), repeat=2):
        total = total + ((1 - c[i, i]) ** 2 if i == j else weight * c[i, j] ** 2)
    return total


@pytest.mark.parametrize("padded", [False, True])
def test_each_real_token_is_a_row(padded: bool) -> None:
    valid = padding() if padded else None
    encoder = Tokens().double()
    objective = training.BarlowTwins(
        encoder, projector=nn.Identity(), redundancy_weight=0.3, divide_by_dim=True
    )
    views = drawn(CASES, CHANNELS, LENGTH), drawn(CASES, CHANNELS, LENGTH, seed=1)
    counts = [6, 5, 5, 3, 3, 1] if padded else [6] * CASES
    rows = []
    for view in views:
        tokens = [
            encoder(view[b : b + 1], None if valid is None else valid[b : b + 1])[0, :count]
            for b, count in enumerate(counts)
        ]
        rows.append(torch.cat(tokens))
    output = objective(encoder, ObjectiveBatch(views, valid))
    assert torch.allclose(output.loss, twins(rows[0], rows[1], 0.3) / DIM, rtol=1e-10)
    invariance = output.logged["invariance"]
    assert torch.allclose(invariance, twins(rows[0], rows[1], 0.0), rtol=1e-10)
    assert torch.allclose(
        output.logged["redundancy"], twins(rows[0], rows[1], 1.0) - invariance, rtol=1e-9
    )


def test_a_pool_sees_the_real_tokens() -> None:
    encoder, valid = Tokens().double(), padding()
    objective = training.VICReg(
        encoder, projector=mlp(2 * DIM, 5).double(), pool=wide_pool, variance_weight=3.0,
        invariance_weight=2.0, covariance_weight=7.0,
    )  # fmt: skip
    views = drawn(CASES, CHANNELS, LENGTH), drawn(CASES, CHANNELS, LENGTH, seed=1)
    z = []
    for view in views:
        pooled = []
        for b, count in enumerate([6, 5, 5, 3, 3, 1]):
            tokens = encoder(view[b : b + 1], valid[b : b + 1])[0, :count]
            pooled.append(torch.cat([tokens.mean(0), tokens.amax(0)]))
        z.append(objective.projector(torch.stack(pooled)))
    spread = torch.zeros((), dtype=torch.float64)
    together = torch.zeros((), dtype=torch.float64)
    for part in z:
        covariance = torch.cov(part.T)
        spread = spread + (1 - (covariance.diagonal() + 1e-4).sqrt()).clamp(min=0).mean()
        together = together + (covariance - covariance.diagonal().diag()).square().sum() / 5
    distance = (z[0] - z[1]).square().mean()
    wanted = {"invariance": distance, "variance": spread, "covariance": together}
    output = objective(encoder, ObjectiveBatch(views, valid))
    for name, value in wanted.items():
        assert torch.allclose(output.logged[name], value, rtol=1e-10), name
    assert torch.allclose(output.loss, 2 * distance + 3 * spread + 7 * together, rtol=1e-10)


def test_one_batch_norm_sees_all_views() -> None:
    encoder = Series().double()
    torch.manual_seed(0)
    objective = training.NTXent(encoder, projector_dim=4, hidden_dim=5, temperature=0.4).double()
    views = drawn(CASES, CHANNELS, LENGTH), 3 + 2 * drawn(CASES, CHANNELS, LENGTH, seed=1)
    first, norm, _, last = named(objective.projector).mlp
    hidden = torch.cat([encoder(view) for view in views]) @ first.weight.T
    hidden = (standardized(hidden) * norm.weight + norm.bias).clamp(min=0)
    z = unit(hidden @ last.weight.T + last.bias)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(2 * CASES):
        others = [(z[i] @ z[j] / 0.4).exp() for j in range(2 * CASES) if j != i]
        total = total - ((z[i] @ z[(i + CASES) % (2 * CASES)] / 0.4).exp() / sum(others)).log()
    loss = objective(encoder, ObjectiveBatch(views)).loss
    assert torch.allclose(loss, total / (2 * CASES), rtol=1e-9)


class Given(nn.Module):
    """An encoder whose features the caller has already."""

    dim = 8


NC_VQVAE: dict[str, tuple[Callable[..., Tensor], Callable[[], nn.Module]]] = {
    "barlow_twins": (
        lambda a, b: barlow_twins_loss(a, b) / 24,
        lambda: training.BarlowTwins(Given(), projector_dim=24, divide_by_dim=True),
    ),
    "vicreg": (vicreg_loss, lambda: training.VICReg(Given(), projector_dim=24)),
    "vibcreg": (
        partial(vibcreg_loss, covariance_weight=100.0),
        lambda: training.VIbCReg(
            Given(), projector_dim=24, group_size=8, covariance_weight=100.0
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NC_VQVAE)
def test_nc_vqvae_is_reached_to_the_bit(name: str) -> None:
    """Its projector of one start, its constants, pooled vectors of which one view is quantised."""
    loss, build = NC_VQVAE[name]
    torch.manual_seed(0)
    whiten = IterNorm(24, group_size=8) if name == "vibcreg" else None
    projector = Projector(8, hidden_dim=24, out_dim=24, layers=3, whiten=whiten)
    torch.manual_seed(0)
    objective = build()
    ours, theirs = named(objective.projector).state_dict(), projector.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    pooled = [average_max_pool(drawn(16, 4, 3, 5, seed=seed).float()) for seed in (1, 2)]
    wanted = loss(*projector(torch.cat(pooled)).chunk(2))
    output = objective(Given(), ObjectiveBatch((), features=tuple(pooled)))
    assert torch.equal(output.loss, wanted)


# Several views.


def test_sigreg_of_three_views() -> None:
    encoder = Series().double()
    objective = training.SIGReg(
        encoder, projector=mlp(DIM, 4).double(), gaussian_weight=0.2, slices=7, views=3
    )
    views = tuple(drawn(CASES, CHANNELS, LENGTH, seed=seed) for seed in range(3))
    z = [objective.projector(encoder(view)) for view in views]
    pairs = [(z[0] - z[1]), (z[0] - z[2]), (z[1] - z[2])]
    distance = sum(pair.square().mean() for pair in pairs) / 3
    generator = torch.Generator().manual_seed(9)
    gaussian = sum(sigreg_loss(part, slices=7, generator=generator) for part in z) / 3
    output = objective(encoder, ObjectiveBatch(views, seed=9))
    assert torch.allclose(output.loss, 0.8 * distance + 0.2 * gaussian, rtol=1e-10)
    assert torch.allclose(output.logged["gaussian"], torch.as_tensor(gaussian), rtol=1e-10)
    other = objective(encoder, ObjectiveBatch(views, seed=10))
    assert not torch.equal(other.loss, output.loss), "another seed, other directions"


def test_w_mse_of_three_views() -> None:
    encoder = Series().double()
    objective = training.WMSE(encoder, projector=mlp(DIM, 3).double(), eps=0.0, views=3)
    views = tuple(drawn(CASES, CHANNELS, LENGTH, seed=seed) for seed in range(3))
    white = []
    for view in views:
        z = objective.projector(encoder(view))
        centered = z - z.mean(0)
        factor = torch.linalg.cholesky(centered.T @ centered / (CASES - 1))
        white.append(unit(torch.linalg.solve_triangular(factor, centered.T, upper=False).T))
    pairs = [(0, 1), (0, 2), (1, 2)]
    wanted = sum((white[i] - white[j]).square().sum(-1).mean() for i, j in pairs) / 3
    output = objective(encoder, ObjectiveBatch(views))
    assert torch.allclose(output.loss, torch.as_tensor(wanted), rtol=1e-8)
    shuffled = training.WMSE(encoder, projector=objective.projector, eps=0.1, sub_batch=2, views=3)
    losses = [shuffled(encoder, ObjectiveBatch(views, seed=seed)).loss for seed in (1, 1, 2)]
    assert torch.equal(losses[0], losses[1])
    assert not torch.allclose(losses[0], losses[2]), "another seed, another shuffle"


@pytest.mark.parametrize("tokens", [False, True])
def test_supcon_with_few_labels(tokens: bool) -> None:
    encoder = (Tokens if tokens else Series)().double()
    objective = training.SupCon(encoder, projector=nn.Identity(), temperature=0.5)
    views = drawn(CASES, CHANNELS, LENGTH), drawn(CASES, CHANNELS, LENGTH, seed=1)
    labels, valid = torch.tensor([1, -1, 1, 0, -1, 2]), padding()
    rows: list[tuple[Tensor, tuple[int, int], int]] = []  # vector, what it is of, label
    for view in views:
        for b, count in enumerate([6, 5, 5, 3, 3, 1]):
            part = encoder(view[b : b + 1], valid[b : b + 1])[0]
            label = int(labels[b])
            if tokens:
                rows += [(unit(part[t]), (b, t), label) for t in range(count)]
            else:
                rows.append((unit(part), (b, 0), label))
    total = torch.zeros((), dtype=torch.float64)
    for i, (vector, of, label) in enumerate(rows):
        scores = torch.stack([vector @ other[0] / 0.5 for other in rows])
        others = [j for j in range(len(rows)) if j != i]
        alike = [j for j in others if (rows[j][2] == label if label >= 0 else rows[j][1] == of)]
        assert alike
        total = total + (scores[others].logsumexp(0) - scores[alike]).mean()
    output = objective(encoder, ObjectiveBatch(views, valid, labels))
    assert torch.allclose(output.loss, total / len(rows), rtol=1e-9)
    none = objective(encoder, ObjectiveBatch(views, valid, torch.full((CASES,), -1)))
    contrast = training.NTXent(encoder, projector=nn.Identity(), temperature=0.5)
    assert torch.allclose(none.loss, contrast(encoder, ObjectiveBatch(views, valid)).loss)


def test_swav_predicts_the_assignments_of_the_first_two_views() -> None:
    encoder = Series().double()
    objective = training.SwAV(
        encoder, projector=mlp(DIM, 4), prototypes=3, temperature=0.3, epsilon=0.2, views=3
    ).double()
    views = tuple(drawn(CASES, CHANNELS, LENGTH, seed=seed) for seed in range(3))
    scores = [
        unit(objective.projector(encoder(view))) @ objective.assign.weight.T for view in views
    ]
    targets = []
    for part in scores[:2]:
        q = (part.detach() / 0.2).exp()
        for _ in range(3):
            q = q / q.sum(0) / 3
            q = q / q.sum(1, keepdim=True) / CASES
        targets.append(q * CASES)
    total, count = torch.zeros((), dtype=torch.float64), 0
    for t, v, b in itertools.product(range(2), range(3), range(CASES)):
        if t != v:
            total, count = total + entropy(scores[v][b], targets[t][b], 0.3), count + 1
    output = objective(encoder, ObjectiveBatch(views))
    assert torch.allclose(output.loss, total / count, rtol=1e-9)
    objective.assign.weight.data.mul_(3.0)
    objective.update(encoder, output.memory)
    lengths = objective.assign.weight.square().sum(1)
    assert torch.allclose(lengths, torch.ones_like(lengths))


# Teachers.


def moved(encoder: nn.Module, objective: nn.Module, *parts: str) -> None:
    """Move the student, so that its teacher is another."""
    torch.manual_seed(5)
    with torch.no_grad():
        for module in [encoder, *(getattr(objective, part) for part in parts)]:
            for parameter in module.parameters():
                parameter += 0.3 * torch.randn_like(parameter)


def test_dino_follows_the_first_two_views() -> None:
    encoder = Series().double()
    objective = training.DINO(
        encoder, head=mlp(DIM, 5), teacher_temperature=0.5, momentum=0.75, views=3
    ).double()
    before = copy.deepcopy((encoder, objective.head))
    moved(encoder, objective, "head")
    objective.center.update(drawn(4, 5, seed=8))
    center = objective.center().clone()
    views = tuple(drawn(CASES, CHANNELS, LENGTH, seed=seed) for seed in range(3))
    known = [before[1](before[0](view)) for view in views[:2]]
    scores = [named(objective.head)(encoder(view)) for view in views]
    total, count = torch.zeros((), dtype=torch.float64), 0
    for t, v, b in itertools.product(range(2), range(3), range(CASES)):
        if t != v:
            shares = ((known[t][b] - center) / 0.5).exp().detach()
            total, count = total + entropy(scores[v][b], shares / shares.sum(), 0.1), count + 1
    output = objective(encoder, ObjectiveBatch(views))
    assert torch.allclose(output.loss, total / count, rtol=1e-9)
    objective.update(encoder, output.memory)
    wanted = 0.9 * center + 0.1 * torch.cat(known).mean(0)
    assert torch.allclose(objective.center(), wanted)
    pairs = zip(
        objective.teacher.model.parameters(),
        [*before[0].parameters(), *before[1].parameters()],
        [*encoder.parameters(), *objective.head.parameters()],
        strict=True,
    )
    for teacher, old, new in pairs:
        assert torch.allclose(teacher, 0.75 * old + 0.25 * new)


def test_byol_predicts_the_teachers_other_view() -> None:
    encoder = Series().double()
    objective = training.BYOL(
        encoder, projector=mlp(DIM, 4), predictor=mlp(4, 4), momentum=0.75
    ).double()
    before = copy.deepcopy((encoder, objective.projector))
    moved(encoder, objective, "projector", "predictor")
    views = drawn(CASES, CHANNELS, LENGTH), drawn(CASES, CHANNELS, LENGTH, seed=1)
    total = torch.zeros((), dtype=torch.float64)
    for one, other in (views, views[::-1]):
        pred = unit(objective.predictor(objective.projector(encoder(one))))
        target = unit(before[1](before[0](other))).detach()
        total = total + (pred - target).square().sum(1).mean()
    output = objective(encoder, ObjectiveBatch(views))
    assert torch.allclose(output.loss, total, rtol=1e-10)
    objective.momentum = 0.5  # a schedule sets it
    objective.update(encoder, output.memory)
    new = [*encoder.parameters(), *objective.projector.parameters()]
    old = [*before[0].parameters(), *before[1].parameters()]
    for teacher, a, b in zip(objective.teacher.model.parameters(), old, new, strict=True):
        assert torch.allclose(teacher, (a + b) / 2)


def test_simsiam_stops_at_the_other_view() -> None:
    encoder = Series().double()
    objective = training.SimSiam(encoder, projector=mlp(DIM, 4), predictor=mlp(4, 4)).double()
    views = drawn(CASES, CHANNELS, LENGTH), drawn(CASES, CHANNELS, LENGTH, seed=1)
    total = torch.zeros((), dtype=torch.float64)
    for one, other in (views, views[::-1]):
        pred = unit(objective.predictor(objective.projector(encoder(one))))
        target = unit(objective.projector(encoder(other))).detach()
        total = total - (pred * target).sum(1).mean() / 2
    output = objective(encoder, ObjectiveBatch(views))
    assert torch.allclose(output.loss, total, rtol=1e-10)
    grads = [torch.autograd.grad(loss, list(encoder.parameters())) for loss in (output.loss, total)]
    assert all(torch.allclose(a, b, rtol=1e-8) for a, b in zip(*grads, strict=True))


def test_a_teacher_in_training_uses_the_statistics_of_the_batch_and_keeps_none() -> None:
    for name in ("BYOL", "MoCo"):
        encoder = Series().double()
        objective = getattr(training, name)(encoder, projector_dim=4, hidden_dim=5).double()
        views = (3 + drawn(CASES, CHANNELS, LENGTH), 3 + drawn(CASES, CHANNELS, LENGTH, seed=1))
        objective.eval()
        norm = objective.teacher.model.head.mlp[1]
        seen: list[Tensor] = []
        norm.register_forward_hook(lambda module, args, out, seen=seen: seen.append(out.clone()))
        objective(encoder, ObjectiveBatch(views))
        assert torch.allclose(seen[0].mean(0), torch.zeros(5, dtype=torch.float64), atol=1e-9)
        assert int(norm.num_batches_tracked) == 0
    for name in ("Data2Vec", "IBOT"):
        objective = getattr(training, name)(Patches())
        assert not objective.train().teacher.model.training


def test_moco_finds_the_key_in_the_queue() -> None:
    encoder = Series().double()
    objective = training.MoCo(
        encoder, projector=mlp(DIM, 4), queue_size=9, temperature=0.3, momentum=0.75
    ).double()
    before = copy.deepcopy((encoder, objective.projector))
    moved(encoder, objective, "projector")
    views = drawn(CASES, CHANNELS, LENGTH), drawn(CASES, CHANNELS, LENGTH, seed=1)
    query = unit(objective.projector(encoder(views[0])))
    key = before[1](before[0](views[1])).detach()
    queue = objective.queue().clone()
    total = torch.zeros((), dtype=torch.float64)
    for b in range(CASES):
        right = (query[b] @ unit(key[b]) / 0.3).exp()
        wrong = sum((query[b] @ old / 0.3).exp() for old in queue)
        total = total - (right / (right + wrong)).log() / CASES
    output = objective(encoder, ObjectiveBatch(views))
    assert torch.allclose(output.loss, total, rtol=1e-9)
    objective.update(encoder, output.memory)
    assert torch.allclose(objective.queue(), torch.cat([key, queue[CASES:]]))


# Objectives that hide parts of a series.


def test_ts2vec_draws_crops_that_overlap() -> None:
    objective = training.TS2Vec(Steps(), mask_ratio=0.3, least_overlap=4)
    share = []
    for seed in range(30):
        draws = objective.draw(50, torch.Generator().manual_seed(seed))
        first, second, hidden_first, hidden_second, shared = draws
        steps = shared.shape[1]
        assert steps >= 4
        assert torch.equal(first[:, -steps:], shared)
        assert torch.equal(second[:, :steps], shared)
        for crop, hidden in ((first, hidden_first), (second, hidden_second)):
            assert crop.shape == hidden.shape
            assert bool((crop.diff(dim=1) == 1).all())
            assert int(crop.min()) >= 0
            assert int(crop.max()) < LENGTH
        assert not torch.equal(hidden_first[:, -steps:], hidden_second[:, :steps])
        share += [hidden_first.double().mean(), hidden_second.double().mean()]
    assert abs(float(torch.stack(share).mean()) - 0.3) < 0.01


class Shifted(Steps):
    """An encoder that says something of padding as well."""

    def forward(self, series: Tensor, valid: Any = None, *, masked: Any = None) -> Tensor:
        return super().forward(series, valid, masked=masked) + 1


@pytest.mark.parametrize("padded", [False, True])
def test_ts2vec_compares_the_shared_steps(padded: bool) -> None:
    encoder = Shifted().double()
    objective = training.TS2Vec(encoder, instance_weight=0.3, temporal_unit=1)
    series, valid = drawn(CASES, CHANNELS, LENGTH), padding()
    first, second = torch.arange(3, 10).repeat(CASES, 1), torch.arange(6, 18).repeat(CASES, 1)
    first[1:] += 2  # another place in other series
    second[1:] += 2
    hidden = [drawn(CASES, n, seed=n) > 0 for n in (7, 12)]
    draws = (first, second, *hidden, first[:, -4:])
    z: list[Tensor] = []
    for crop, mask, overlap in ((first, hidden[0], slice(3, 7)), (second, hidden[1], slice(0, 4))):
        vectors = []
        for b in range(CASES):
            part = series[b : b + 1][:, :, crop[b]]
            real = valid[b : b + 1][:, crop[b]] if padded else None
            steps = encoder(part, real, masked=mask[b : b + 1])[0]
            if real is not None:
                steps[~real[0]] = 0
            vectors.append(steps[overlap])
        z.append(torch.stack(vectors))
    total = torch.zeros((), dtype=torch.float64)
    for scale in range(3):
        first_view, second_view = z
        if scale:
            first_view, second_view = (x.unflatten(1, (-1, 2**scale)).amax(2) for x in z)
        count = first_view.shape[1]
        terms = {"instance": [], "temporal": []}  # type: dict[str, list[Tensor]]
        for case, step in itertools.product(range(CASES), range(count)):
            for one, other in ((first_view, second_view), (second_view, first_view)):
                anchor, positive = one[case, step], one[case, step] @ other[case, step]
                rows = torch.cat([one[:, step], other[:, step]]) @ anchor
                keep = torch.arange(2 * CASES) != case
                terms["instance"].append(rows[keep].logsumexp(0) - positive)
                rows = torch.cat([one[case], other[case]]) @ anchor
                keep = torch.arange(2 * count) != step
                terms["temporal"].append(rows[keep].logsumexp(0) - positive)
        total = total + 0.3 * torch.stack(terms["instance"]).mean() / 3
        if scale >= 1 and count > 1:
            total = total + 0.7 * torch.stack(terms["temporal"]).mean() / 3
    batch = ObjectiveBatch((series,), valid if padded else None, draws=draws)
    assert torch.allclose(objective(encoder, batch).loss, total, rtol=1e-8)


class Places(nn.Module):
    """An encoder that says where each token is: its row, its place, and a weight to train."""

    dim, frames, rows = 3, FRAMES, 2

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, series: Tensor, valid: Any = None, *, visible: Tensor) -> Tensor:
        row = torch.arange(2)[None, :, None].expand(len(series), -1, visible.shape[1])
        place = visible[:, None].expand_as(row)
        one = torch.ones_like(row)
        return torch.stack([row, place, one], -1).flatten(1, 2) * self.weight

    def token_valid(self, valid: Tensor) -> Tensor:
        return valid[:, ::PATCH].repeat(1, 2)


class Recorder(nn.Module):
    """A decoder that puts tokens back to their places, zeros between them."""

    def forward(self, encoded: Tensor, restore: Tensor, valid: Tensor | None = None) -> Tensor:
        self.valid = valid
        hidden = torch.zeros_like(encoded[:, :1])
        index = restore[..., None].expand(-1, -1, encoded.shape[2])
        self.back = torch.cat([encoded, hidden], 1).gather(1, index)
        return self.back


def test_mae_puts_every_row_back_to_its_places() -> None:
    decoder, encoder = Recorder(), Places()

    def target(series: Tensor, valid: Tensor | None) -> Tensor:
        return drawn(CASES, 2 * FRAMES, 3, seed=4)

    objective = training.MAE(
        encoder, decoder=decoder, mask_ratio=0.5, target=target, normalize_target=False
    )
    draws = objective.draw(CASES, torch.Generator().manual_seed(0))
    mask = draws[0]
    assert mask.sum(1).tolist() == [3] * CASES
    series, valid = drawn(CASES, CHANNELS, LENGTH), padding()
    for real in (None, valid):
        output = objective(encoder, ObjectiveBatch((series,), real, draws=draws))
        total, count = 0.0, 0
        for b, row, place in itertools.product(range(CASES), range(2), range(FRAMES)):
            token = row * FRAMES + place
            if mask[b, place]:
                assert decoder.back[b, token].tolist() == [0, 0, 0]
            else:
                assert decoder.back[b, token].tolist() == [row, place, 1]
            if mask[b, place] and (real is None or real[b, place * PATCH]):
                total += float(target(series, None)[b, token].square().mean())
                count += 1
        assert math.isclose(float(output.loss.detach()), total / count, rel_tol=1e-12)
        assert torch.equal(output.loss.detach(), output.logged["reconstruction"])
        if real is None:
            assert decoder.valid is None
        else:
            assert torch.equal(named(decoder).valid, encoder.token_valid(real))


def patches(series: Tensor, valid: Tensor | None) -> Tensor:
    if valid is not None:
        series = torch.where(valid[:, None], series, 0)
    pieces = [series[..., i : i + PATCH].flatten(1) for i in range(0, LENGTH, PATCH)]
    return torch.stack(pieces, 1)


@pytest.mark.parametrize("padded", [False, True])
def test_mae_predicts_the_patches(padded: bool) -> None:
    class Constant(nn.Module):
        def forward(self, encoded: Tensor, restore: Tensor, **valid: Tensor) -> Tensor:
            return encoded.mean() * 0 + torch.arange(8.0, dtype=torch.float64).expand(
                CASES, FRAMES, -1
            )

    encoder, series = Patches().double(), drawn(CASES, CHANNELS, LENGTH)
    objective = training.MAE(encoder, decoder=Constant(), mask_ratio=0.5)
    draws = objective.draw(CASES, torch.Generator().manual_seed(0))
    valid = padding() if padded else None
    errors = []
    for b, place in itertools.product(range(CASES), range(FRAMES)):
        if draws[0][b, place] and (valid is None or valid[b, place * PATCH]):
            patch = patches(series, valid)[b, place]
            patch = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt()
            errors.append((torch.arange(8.0) - patch).square().mean())
    output = objective(encoder, ObjectiveBatch((series,), valid, draws=draws))
    assert torch.allclose(output.loss, torch.stack(errors).mean(), rtol=1e-10)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("padded", [False, True])
def test_mae_has_no_error_beyond_the_end_of_a_series(padded: bool, rows: int) -> None:
    """The last patch lacks a sample, and those of padded series end where they like."""
    length = LENGTH - 1

    class Constant(nn.Module):
        def forward(self, encoded: Tensor, restore: Tensor, **valid: Tensor) -> Tensor:
            return encoded.mean() * 0 + torch.arange(8.0, dtype=torch.float64).expand(
                CASES, rows * FRAMES, -1
            )

    encoder, series = Patches(rows).double(), drawn(CASES, CHANNELS, LENGTH)[..., :length]
    objective = training.MAE(encoder, decoder=Constant(), mask_ratio=0.8)
    draws = objective.draw(CASES, torch.Generator().manual_seed(0))
    last = torch.arange(CASES) * 2 % length + 1 if padded else torch.full((CASES,), length)
    valid = torch.arange(length) < last[:, None]
    errors = []
    for b, place in itertools.product(range(CASES), range(FRAMES)):
        first, end = place * PATCH, min((place + 1) * PATCH, int(last[b]))
        if draws[0][b, place] and first < end:
            patch = series[b, :, first:end].flatten()
            variance = patch.var() if len(patch) > 1 else torch.zeros(())
            patch = (patch - patch.mean()) / (variance + 1e-6).sqrt()
            guess = torch.arange(8.0).view(2, PATCH)[:, : end - first].flatten()
            errors.append((guess - patch).square().mean())
    batch = ObjectiveBatch((series,), valid if padded else None, draws=draws)
    assert torch.allclose(objective(encoder, batch).loss, torch.stack(errors).mean(), rtol=1e-10)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("padded", [False, True])
def test_beit_predicts_the_codes(rows: int, padded: bool) -> None:
    torch.manual_seed(0)
    encoder = Patches(rows).double()
    quantizer = VectorQuantizer(CHANNELS * PATCH, 5).double()
    objective = training.BEiT(encoder, quantizer=quantizer, label_smoothing=0.2).double()
    series, valid = drawn(CASES, CHANNELS, LENGTH), padding() if padded else None
    (mask,) = objective.draw(CASES, torch.Generator().manual_seed(0))
    assert mask.sum(1).tolist() == [3] * CASES  # two fifths of six, rounded up
    vectors = patches(series, valid)
    tokens = encoder(series, valid, masked=mask)
    total, count = torch.zeros((), dtype=torch.float64), 0
    for b, row, place in itertools.product(range(CASES), range(rows), range(FRAMES)):
        if mask[b, place] and (valid is None or valid[b, place * PATCH]):
            distances = (quantizer.weight - vectors[b, place]).square().sum(1)
            target = torch.full((5,), 0.2 / 5, dtype=torch.float64)
            target[distances.argmin()] += 0.8
            logits = named(objective.head)(tokens[b, row * FRAMES + place])
            total, count = total + entropy(logits, target, 1.0), count + 1
    output = objective(encoder, ObjectiveBatch((series,), valid, draws=(mask,)))
    assert torch.allclose(output.loss, total / count, rtol=1e-9)
    output.loss.backward()
    assert quantizer.weight.grad is None
    assert quantizer.weight.requires_grad, "the caller's own stays as it was"
    assert not named(objective.quantizer).weight.requires_grad
    with torch.no_grad():
        quantizer.weight.zero_()
    again = objective(encoder, ObjectiveBatch((series,), valid, draws=(mask,)))
    assert torch.equal(again.loss, output.loss), "a copy"


@pytest.mark.parametrize("padded", [False, True])
def test_data2vec_predicts_the_teachers_layers(padded: bool) -> None:
    torch.manual_seed(0)
    encoder = Patches(2).double()
    objective = training.Data2Vec(encoder, beta=None, momentum=0.75).double()
    before = copy.deepcopy(encoder)
    moved(encoder, objective, "predictor")
    series, valid = drawn(CASES, CHANNELS, LENGTH), padding() if padded else None
    (mask,) = objective.draw(CASES, torch.Generator().manual_seed(1))
    layers = before.hidden_states(series, valid).mlp
    assert len(layers) == 2
    pred = named(objective.predictor)(encoder(series, valid, masked=mask))
    real = torch.ones(CASES, 2 * FRAMES, dtype=torch.bool)
    if valid is not None:
        real = valid[:, ::PATCH].repeat(1, 2)
    errors = []
    for b in range(CASES):
        parts = [layer[b, real[b]] for layer in layers]
        target = sum(standardized(part) for part in parts) / 2
        assert isinstance(target, Tensor)
        hidden = mask.repeat(1, 2)[b, real[b]]
        errors.append((pred[b, real[b]] - target)[hidden])
    output = objective(encoder, ObjectiveBatch((series,), valid, draws=(mask,)))
    assert torch.allclose(output.loss, torch.cat(errors).square().mean(), rtol=1e-9)
    one = training.Data2Vec(encoder, beta=None, top=1, predictor=objective.predictor).double()
    last = training.Data2Vec(
        encoder, beta=None, predictor=objective.predictor,
        layers=lambda e, x, v: named(e).hidden_states(x, v).mlp[1:],
    ).double()  # fmt: skip
    losses = [o(encoder, ObjectiveBatch((series,), valid, draws=(mask,))).loss for o in (one, last)]
    assert torch.equal(*losses)
    objective.update(encoder, output.memory)
    old, new = dict(before.named_parameters()), dict(encoder.named_parameters())
    for name, parameter in objective.teacher.model.named_parameters():
        assert torch.allclose(parameter, 0.75 * old[name] + 0.25 * new[name])


@pytest.mark.parametrize("padded", [False, True])
def test_ibot_follows_hidden_places_and_the_other_view(padded: bool) -> None:
    torch.manual_seed(0)
    encoder = Patches().double()
    objective = training.IBOT(
        encoder, head=mlp(DIM, 5), patch_head=mlp(DIM, 4), teacher_temperature=0.5, momentum=0.75
    ).double()
    before = copy.deepcopy((encoder, objective.head, objective.patch_head))
    moved(encoder, objective, "head", "patch_head")
    objective.center.update(drawn(7, 5, seed=8))
    objective.patch_center.update(drawn(7, 4, seed=9))
    centers = objective.center().clone(), objective.patch_center().clone()
    views = drawn(CASES, CHANNELS, LENGTH), drawn(CASES, CHANNELS, LENGTH, seed=1)
    valid = padding() if padded else None
    real = torch.ones(CASES, FRAMES, dtype=torch.bool)
    if valid is not None:
        real = valid[:, ::PATCH]
    draws = objective.draw(CASES, torch.Generator().manual_seed(1))
    assert [part.sum(1).tolist() for part in draws] == [[2] * CASES] * 2  # 0.3 of six

    def probabilities(scores: Tensor, center: Tensor) -> Tensor:
        shares = ((scores - center) / 0.5).exp().detach()
        return shares / shares.sum()

    dino, ibot = [], []
    whole, places = [], []
    for v, (view, mask) in enumerate(zip(views, draws, strict=True)):
        other = views[1 - v]
        for b in range(CASES):
            only = None if valid is None else valid[b : b + 1]
            seen = encoder(view[b : b + 1], only, masked=mask[b : b + 1])[0]
            known = before[0](view[b : b + 1], only)[0]
            across = before[0](other[b : b + 1], only)[0]
            score = named(objective.head)(seen[real[b]].mean(0))
            whole.append(before[1](known[real[b]].mean(0)))
            places += list(before[2](known[real[b]]))
            target = probabilities(before[1](across[real[b]].mean(0)), centers[0])
            dino.append(entropy(score, target, 0.1))
            hidden = [t for t in range(FRAMES) if mask[b, t] and real[b, t]]
            each = [
                entropy(
                    named(objective.patch_head)(seen[t]),
                    probabilities(before[2](known[t]), centers[1]),
                    0.1,
                )
                for t in hidden
            ]
            zero = torch.zeros((), dtype=torch.float64)
            ibot.append(sum(each, zero) / max(1, len(each)))
    output = objective(encoder, ObjectiveBatch(views, valid, draws=draws))
    assert torch.allclose(output.logged["series"], torch.stack(dino).mean(), rtol=1e-9)
    assert torch.allclose(output.logged["patches"], torch.stack(ibot).mean(), rtol=1e-9)
    assert torch.allclose(
        output.loss, torch.stack(dino).mean() + torch.stack(ibot).mean(), rtol=1e-9
    )
    objective.update(encoder, output.memory)
    for center, old, scores in (
        (objective.center, centers[0], whole),
        (objective.patch_center, centers[1], places),
    ):
        assert torch.allclose(center(), 0.9 * old + 0.1 * torch.stack(scores).mean(0))
    old, new = list(before), [encoder, objective.head, objective.patch_head]
    for teacher, first, second in zip(
        objective.teacher.model.parameters(),
        [p for part in old for p in part.parameters()],
        [p for part in new for p in part.parameters()],
        strict=True,
    ):
        assert torch.allclose(teacher, 0.75 * first + 0.25 * second)


@pytest.mark.parametrize("name", ["BEiT", "Data2Vec"])
def test_masks_depend_on_the_generator_alone_and_differ_by_series(name: str) -> None:
    options = {"quantizer": VectorQuantizer(8, 4)} if name == "BEiT" else {}
    objective = getattr(training, name)(Patches(), **options)
    (mask,) = objective.draw(40, torch.Generator().manual_seed(0))
    assert len(set(map(tuple, mask.tolist()))) > 5


def test_outputs_are_what_the_protocol_names() -> None:
    assert ObjectiveBatch._fields == ("views", "valid", "labels", "features", "draws", "seed")
    assert ObjectiveBatch(()) == ((), None, None, None, (), 0)
    assert ObjectiveOutput._fields == ("loss", "logged", "memory")
    assert isinstance(training.VICReg(Series(), projector_dim=3), training.Objective)
    assert not isinstance(nn.Linear(2, 2), training.Objective)
