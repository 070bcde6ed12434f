"""LeJEPA to CAPI against their papers, written naively in float64: rows, sequences, states."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssltok import losses, training
from ssltok.masking import unit_mask
from ssltok.nn import Projector
from ssltok.training import ObjectiveBatch
from tests.training.objective_cases import (
    CHANNELS,
    DIM,
    FRAMES,
    LENGTH,
    Frames,
    Halves,
    Patches,
    RunningMean,
    Series,
    Tokens,
    mlp,
    patch_embedding,
)

CASES = 6


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def views_of(count: int) -> tuple[Tensor, ...]:
    return tuple(drawn(CASES, CHANNELS, LENGTH, seed=seed) for seed in range(count))


def padding() -> Tensor:
    """Series of six lengths: 24, 20, 17, 12, 9, 4 samples; 6, 5, 5, 3, 3, 1 tokens."""
    return torch.arange(LENGTH) < torch.tensor([24, 20, 17, 12, 9, 4])[:, None]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unit(z: Tensor) -> Tensor:
    return z / z.square().sum(-1, keepdim=True).sqrt()


SYMMETRIC: dict[str, tuple[dict[str, Any], Any]] = {
    "LeJEPA": (
        {"gaussian_weight": 0.3, "slices": 5, "global_views": 2},
        lambda z: losses.lejepa_loss(
            *z, gaussian_weight=0.3, slices=5, global_views=2, generator=seeded(9)
        ),
    ),
    "VISReg": (
        {"regularization_weight": 0.4, "slices": 5, "global_views": 1},
        lambda z: losses.visreg_loss(
            *z, regularization_weight=0.4, slices=5, global_views=1, generator=seeded(9)
        ),
    ),
    "FroSSL": (
        {"invariance_weight": 0.4}, lambda z: losses.frossl_loss(*z, invariance_weight=0.4)
    ),
    "MMCR": (
        {"compression_weight": 0.4}, lambda z: losses.mmcr_loss(*z, compression_weight=0.4)
    ),
    "EMPSSL": (
        {"agreement_weight": 4.0, "eps": 0.6},
        lambda z: losses.emp_ssl_loss(*z, agreement_weight=4.0, eps=0.6),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SYMMETRIC)
@pytest.mark.parametrize("padded", [False, True])
def test_views_are_projected_and_compared(name: str, padded: bool) -> None:
    """Each real token is a row of its loss."""
    encoder = Tokens().double()
    options, loss_of = SYMMETRIC[name]
    objective = getattr(training, name)(encoder, projector=mlp(DIM, 4).double(), views=3, **options)
    valid = padding() if padded else None
    views = views_of(3)
    rows = []
    for view in views:
        tokens = encoder(view, valid=valid)
        if valid is not None:
            tokens = torch.cat(
                [t[: int(n)] for t, n in zip(tokens, [6, 5, 5, 3, 3, 1], strict=True)]
            )
        rows.append(objective.projector(tokens.reshape(-1, DIM)))
    output = objective(encoder, ObjectiveBatch(views, valid, seed=9))
    torch.testing.assert_close(output.loss, loss_of(rows), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["LeJEPA", "VISReg", "LeNEPA"])
def test_another_seed_is_other_directions(name: str) -> None:
    encoder = (Frames() if name == "LeNEPA" else Series()).double()
    objective = getattr(training, name)(encoder, slices=3).double()
    views = views_of(objective.views)
    several = [objective(encoder, ObjectiveBatch(views, seed=seed)).loss for seed in (1, 1, 2)]
    assert torch.equal(several[0], several[1])
    assert not torch.equal(several[0], several[2])


def moved(module: nn.Module, by: float = 0.3) -> None:
    """A step of an optimizer, so that a student is not its teacher."""
    generator = seeded(1)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.add_(by * noise)


def test_simdino_follows_the_first_two_views() -> None:
    encoder = Series().double()
    objective: Any = training.SimDINO(
        encoder, projector=mlp(DIM, 5).double(), agreement_weight=0.7, eps=0.3, views=3,
        momentum=0.6,
    )  # fmt: skip
    before = copy.deepcopy((encoder, objective.projector))
    moved(encoder)
    moved(objective.projector)
    views = views_of(3)
    s = [unit(objective.projector(encoder(view))) for view in views]
    t = [unit(before[1](before[0](view))).detach() for view in views[:2]]
    cosines = [(s[v] * t[u]).sum(-1).mean() for u in range(2) for v in range(3) if u != v]
    dim, rates = 5, []
    for u in range(2):
        z = (s[u] + t[u]) / 2
        whole = torch.eye(dim).double() + dim / (CASES * 0.3) * z.T @ z
        rates.append(0.5 * torch.logdet(whole) * (dim + CASES) / (dim * CASES))
    wanted = -0.7 * torch.stack(cosines).mean() - torch.stack(rates).mean()
    output = objective(encoder, ObjectiveBatch(views))
    torch.testing.assert_close(output.loss, wanted, rtol=1e-10, atol=0)
    start = copy.deepcopy(objective.teacher.model.encoder.state_dict())
    objective.update(encoder, output.memory)
    for name, value in objective.teacher.model.encoder.state_dict().items():
        torch.testing.assert_close(value, 0.6 * start[name] + 0.4 * encoder.state_dict()[name])


def test_tico_reads_a_moment_of_the_rows_before() -> None:
    encoder = Series().double()
    objective = training.TiCo(
        encoder, projector=mlp(DIM, 4).double(), moment_momentum=0.7, contrast_weight=3.0,
        momentum=1.0,
    ).double()  # fmt: skip
    before = copy.deepcopy((encoder, objective.projector))
    moved(encoder)
    used = torch.zeros(4, 4, dtype=torch.float64)
    for turn in range(3):
        views = tuple(drawn(CASES, CHANNELS, LENGTH, seed=10 * turn + s) for s in range(2))
        a = torch.cat([unit(objective.projector(encoder(view))) for view in views])
        b = torch.cat([unit(before[1](before[0](view))) for view in views[::-1]]).detach()
        used = 0.7 * used + 0.3 * (a.T @ a).detach() / len(a)
        contrast = torch.stack([row @ used @ row for row in a]).mean()
        output = objective(encoder, ObjectiveBatch(views))
        wanted = 1 - (a * b).sum(-1).mean() + 3 * contrast
        torch.testing.assert_close(output.loss, wanted, rtol=1e-10, atol=0)
        objective.update(encoder, output.memory)
        torch.testing.assert_close(objective.moment(), used)


def sequences(encoder: Any, series: Tensor, valid: Tensor | None) -> list[list[Tensor]]:
    """The real tokens of each row of each series, in the order of time."""
    tokens = encoder(series, valid=valid)
    real = torch.ones(tokens.shape[:2]).bool() if valid is None else encoder.token_valid(valid)
    frames, out = encoder.frames, []
    for b in range(len(tokens)):
        for row in range(encoder.rows):
            places = range(row * frames, (row + 1) * frames)
            out.append([tokens[b, i] for i in places if real[b, i]])
    return out


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", [Frames, Halves])
def test_nepa_points_at_the_next_token_of_a_row(kind: Any, padded: bool) -> None:
    """And no row goes on in the next one, nor a series beyond its end."""
    encoder, predictor = kind().double(), RunningMean().double()
    objective = training.NEPA(encoder, predictor=predictor)
    valid = padding() if padded else None
    (view,) = views_of(1)
    cosines = []
    for tokens in sequences(encoder, view, valid):
        for i in range(len(tokens) - 1):
            p = predictor.last(torch.stack(tokens[: i + 1]).mean(0))
            cosines.append((unit(p) * unit(tokens[i + 1].detach())).sum())
    output = objective(encoder, ObjectiveBatch((view,), valid))
    torch.testing.assert_close(output.loss, -torch.stack(cosines).mean(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", [Frames, Halves])
def test_lenepa_is_a_regression_and_sigreg_of_each_row(kind: Any, padded: bool) -> None:
    encoder, predictor = kind().double(), RunningMean().double()
    projector = mlp(DIM, 3).double()
    objective = training.LeNEPA(
        encoder, projector=projector, predictor=predictor, gaussian_weight=2.0, slices=4
    )
    valid = padding() if padded else None
    (view,) = views_of(1)
    errors, gaussian = [], []
    for tokens in sequences(encoder, view, valid):
        if not tokens:
            continue
        e = projector(torch.stack(tokens))
        means = [torch.stack(tokens[: i + 1]).mean(0) for i in range(len(tokens))]
        p = projector(predictor.last(torch.stack(means)))
        errors += [(p[i] - e[i + 1]).square().mean() for i in range(len(tokens) - 1)]
        gaussian += [
            losses.sigreg_loss(side, slices=4, generator=seeded(9)) / len(side) for side in (p, e)
        ]
    output = objective(encoder, ObjectiveBatch((view,), valid, seed=9))
    wanted = torch.stack(errors).mean() + 2 * torch.stack(gaussian).mean()
    torch.testing.assert_close(output.loss, wanted, rtol=1e-9, atol=0)


def test_lenepa_of_the_paper_and_its_projector_s_statistics() -> None:
    """A causal network over patch embeddings; the projector's BatchNorm sees each side alone."""
    encoder = Patches().double()
    projector = Projector(DIM, hidden_dim=9, out_dim=4, layers=2).double()
    objective = training.LeNEPA(
        encoder, projector=projector, predictor=nn.Identity(), embed=patch_embedding, slices=4
    )
    (view,) = views_of(1)
    p = projector(encoder(view).flatten(0, 1)).unflatten(0, (CASES, FRAMES))
    embedded = patch_embedding(encoder, view, None)
    e = projector(embedded.flatten(0, 1)).unflatten(0, (CASES, FRAMES))
    wanted = losses.lenepa_loss(p, e, slices=4, generator=seeded(9))
    output = objective(encoder, ObjectiveBatch((view,), seed=9))
    torch.testing.assert_close(output.loss, wanted, rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", ["NEPA", "LeNEPA"])
def test_the_default_predictor_sees_no_later_token(name: str) -> None:
    objective = getattr(training, name)(Frames()).double()
    tokens = drawn(2, FRAMES, DIM)
    changed = tokens.clone()
    changed[:, 3:] = 9
    seen = [objective.predictor(x) for x in (tokens, changed)]
    torch.testing.assert_close(seen[0][:, :3], seen[1][:, :3])
    assert not torch.allclose(seen[0][:, 3:], seen[1][:, 3:])


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("rows", [1, 2])
def test_capi_predicts_the_clusters_of_hidden_places(rows: int, padded: bool) -> None:
    encoder = Patches(rows).double()
    objective = training.CAPI(
        encoder, prototypes=5, temperature=0.3, teacher_temperature=0.4,
        sampler=partial(unit_mask, ratio=0.5, unit=(1, 2)),
    ).double()  # fmt: skip
    teacher = copy.deepcopy(encoder)
    moved(encoder, 0.1)
    (view,), valid = views_of(1), padding() if padded else None
    draws = objective.draw(CASES, seeded(3))
    hidden = draws[0].repeat(1, rows)
    real = torch.ones_like(hidden) if valid is None else encoder.token_valid(valid)
    logits = objective.clusters(unit(teacher(view, valid).detach()))
    q = torch.zeros_like(logits)
    for place in range(rows * FRAMES):  # place by place, over the real tokens of the batch
        which = real[:, place]
        kernel = (logits[which, place] / 0.4).exp().detach()
        for _ in range(3):
            kernel = kernel / kernel.sum(0, keepdim=True)
            kernel = kernel / kernel.sum(1, keepdim=True)
        q[which, place] = kernel
    student = unit(encoder(view, valid, masked=draws[0])) @ objective.assign.weight.T
    terms = []
    for scores, where in ((student, hidden & real), (logits, real)):
        shares = (scores / 0.3).softmax(-1).log()
        terms.append(-(q * shares).sum(-1)[where].mean())
    output = objective(encoder, ObjectiveBatch((view,), valid, draws=draws))
    torch.testing.assert_close(output.loss, terms[0] + terms[1], rtol=1e-9, atol=0)
    objective.assign.weight.data.mul_(2)
    objective.update(encoder, output.memory)
    torch.testing.assert_close(objective.assign.weight.norm(dim=1), torch.ones(5).double())


def test_sequences_that_do_not_fit_are_refused() -> None:
    encoder = Frames()
    with pytest.raises(ValueError, match=r"^NEPA: features must have 6 tokens, rows times frames;"):
        training.NEPA(encoder)(encoder, ObjectiveBatch((torch.zeros(4, CHANNELS, 28),)))
    encoder.frames = 1
    with pytest.raises(ValueError, match=r"^LeNEPA: frames of the encoder must be >= 2; got 1"):
        training.LeNEPA(encoder)
    encoder = Frames()

    def wide(encoder: Any, series: Tensor, valid: Tensor | None) -> Tensor:
        return torch.zeros(len(series), FRAMES, DIM + 1)

    batch = ObjectiveBatch((torch.zeros(4, CHANNELS, LENGTH),))
    with pytest.raises(ValueError, match=r"^NEPA: predictor must return the shape of the embeddin"):
        training.NEPA(encoder, embed=wide)(encoder, batch)
    with pytest.raises(ValueError, match=r"^NEPA: views must be 1; got 2"):
        training.NEPA(encoder)(encoder, batch._replace(views=batch.views * 2))
