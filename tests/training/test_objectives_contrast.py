"""DCL to SALT against their papers, written naively in float64: queues, teachers, labels."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssltok import losses, training
from ssltok.augment import gaussian_noise
from ssltok.data import read_series
from ssltok.training import MAE, ObjectiveBatch, PretrainConfig, TrainingConfig, pretrain
from tests.training.objective_cases import (
    CHANNELS,
    DIM,
    FRAMES,
    LENGTH,
    PATCH,
    Patches,
    Series,
    Tokens,
    decoder,
    mlp,
)
from tests.training.test_objectives_newer import (
    CASES,
    drawn,
    moved,
    padding,
    seeded,
    unit,
    views_of,
)

COUNTS = [6, 5, 5, 3, 3, 1]  # tokens of `padding`
LABELS = torch.tensor([0, 1, 0, -1, 2, -1])


def real_rows(encoder: Any, view: Tensor, valid: Tensor | None) -> list[Tensor]:
    """The real tokens of each series."""
    tokens = encoder(view, valid=valid)
    counts = [FRAMES] * CASES if valid is None else COUNTS
    return [t[:n] for t, n in zip(tokens, counts, strict=True)]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("weight", [None, 0.4])
def test_dcl_compares_each_token(weight: float | None, padded: bool) -> None:
    encoder = Tokens().double()
    objective = training.DCL(
        encoder, projector=mlp(DIM, 4).double(), temperature=0.3, weight_temperature=weight
    )
    valid, views = padding() if padded else None, views_of(2)
    z = [objective.projector(torch.cat(real_rows(encoder, view, valid))) for view in views]
    if weight is None:
        wanted = losses.dcl_loss(z[0], z[1], temperature=0.3)
    else:
        wanted = losses.dclw_loss(z[0], z[1], temperature=0.3, weight_temperature=weight)
    output = objective(encoder, ObjectiveBatch(views, valid))
    torch.testing.assert_close(output.loss, wanted, rtol=1e-10, atol=0)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", ["LabelledNTXent", "MultiSimilarity", "SupCon"])
def test_tokens_have_the_labels_of_their_series(name: str, padded: bool) -> None:
    """And a token without one a label of its own, which its other views share."""
    encoder = Tokens().double()
    objective = getattr(training, name)(encoder, projector=mlp(DIM, 4).double(), views=3)
    valid, views = padding() if padded else None, views_of(3)
    rows, labels = [], []
    for view in views:
        own = 100
        for label, tokens in zip(LABELS.tolist(), real_rows(encoder, view, valid), strict=True):
            for token in tokens:
                rows.append(objective.projector(token))
                own += 1
                labels.append(label if label >= 0 else own)
    loss: Any = {
        "LabelledNTXent": losses.labelled_nt_xent_loss,
        "MultiSimilarity": losses.multi_similarity_loss,
        "SupCon": partial(losses.supcon_loss, temperature=0.1),
    }[name]
    output = objective(encoder, ObjectiveBatch(views, valid, LABELS))
    wanted = loss(torch.stack(rows), torch.tensor(labels))
    torch.testing.assert_close(output.loss, wanted, rtol=1e-10, atol=0)


def test_options_of_labelled_objectives_reach_their_losses() -> None:
    encoder, miner, views = Series().double(), losses.multi_similarity_pairs, views_of(2)
    head, labels = mlp(DIM, 4).double(), torch.tensor([0, 1, 0, 1, 2, 2])
    z = torch.cat([head(encoder(view)) for view in views])
    both = labels.repeat(2)
    scales = {"positive_scale": 3.0, "negative_scale": 7.0, "miner": miner}
    for objective, wanted in (
        (
            training.MultiSimilarity(encoder, projector=head, **scales),  # type: ignore[arg-type]
            losses.multi_similarity_loss(z, both, **scales),  # type: ignore[arg-type]
        ),
        (
            training.LabelledNTXent(encoder, projector=head, temperature=0.3, miner=miner),
            losses.labelled_nt_xent_loss(z, both, temperature=0.3, miner=miner),
        ),
    ):
        output = objective(encoder, ObjectiveBatch(views, labels=labels))
        torch.testing.assert_close(output.loss, wanted, rtol=1e-10, atol=0)
        assert wanted != 0


def test_without_labels_it_is_nt_xent() -> None:
    encoder, head, views = Series().double(), mlp(DIM, 4).double(), views_of(2)
    batch = ObjectiveBatch(views, labels=torch.full((CASES,), -1))
    labelled = training.LabelledNTXent(encoder, projector=head, temperature=0.3)
    plain = training.NTXent(encoder, projector=head, temperature=0.3)
    torch.testing.assert_close(labelled(encoder, batch).loss, plain(encoder, batch).loss)


def test_nnclr_looks_in_the_queue_that_the_first_views_filled() -> None:
    encoder = Series().double()
    objective: Any = training.NNCLR(
        encoder, projector=mlp(DIM, 4).double(), predictor=mlp(4, 4).double(), queue_size=9,
        temperature=0.3,
    ).double()  # fmt: skip
    book = objective.queue().clone()
    place = 0
    for turn in range(3):
        views = tuple(drawn(CASES, CHANNELS, LENGTH, seed=10 * turn + s) for s in range(2))
        z = [objective.projector(encoder(view)) for view in views]
        p = [unit(objective.predictor(one)) for one in z]
        total = torch.zeros(()).double()
        for one, other in ((0, 1), (1, 0)):
            for case in range(CASES):
                cosines = unit(book) @ unit(z[other][case])
                near = unit(book[cosines.argmax()]).detach()
                shares = (near @ p[one].T / 0.3).softmax(0)
                total = total - shares[case].log() / (2 * CASES)
        output = objective(encoder, ObjectiveBatch(views))
        torch.testing.assert_close(output.loss, total, rtol=1e-10, atol=0)
        objective.update(encoder, output.memory)
        for row in unit(z[0]).detach():
            book[place % 9] = row
            place += 1
        torch.testing.assert_close(objective.queue(), book)
        (slope,) = torch.autograd.grad(output.loss, objective.predictor[0].weight)
        assert slope.any()


def test_ressl_follows_the_teacher_of_the_second_view() -> None:
    encoder = Series().double()
    objective: Any = training.ReSSL(
        encoder, projector=mlp(DIM, 4).double(), queue_size=7, temperature=0.3,
        teacher_temperature=0.2, momentum=0.6,
    ).double()  # fmt: skip
    before = copy.deepcopy((encoder, objective.projector))
    moved(encoder)
    moved(objective.projector)
    views = views_of(2)
    book = unit(objective.queue())
    q = unit(objective.projector(encoder(views[0])))
    k = unit(before[1](before[0](views[1]))).detach()
    s, t = (q @ book.T / 0.3).softmax(1), (k @ book.T / 0.2).softmax(1)
    output = objective(encoder, ObjectiveBatch(views))
    wanted = (t * (t / s).log()).sum(1).mean()
    torch.testing.assert_close(output.loss, wanted, rtol=1e-10, atol=0)
    start = copy.deepcopy(objective.teacher.model.encoder.state_dict())
    objective.update(encoder, output.memory)
    for name, value in objective.teacher.model.encoder.state_dict().items():
        torch.testing.assert_close(value, 0.6 * start[name] + 0.4 * encoder.state_dict()[name])
    torch.testing.assert_close(unit(objective.queue()[:CASES]), k)


@pytest.mark.parametrize("padded", [False, True])
def test_vicregl_is_vicreg_of_means_and_of_matches(padded: bool) -> None:
    encoder = Tokens().double()
    objective = training.VICRegL(
        encoder, projector=mlp(DIM, 4).double(), token_projector=mlp(DIM, 3).double(), matches=2,
        global_weight=0.3, variance_weight=12.5, covariance_weight=0.5,
    )  # fmt: skip
    valid, views = padding() if padded else None, views_of(2)
    tokens = [real_rows(encoder, view, valid) for view in views]
    pooled = [objective.projector(torch.stack([t.mean(0) for t in side])) for side in tokens]
    weights = {"variance_weight": 12.5, "covariance_weight": 0.5}
    whole = losses.vicreg_loss(pooled[0], pooled[1], **weights)
    padded_z = [
        nn.utils.rnn.pad_sequence([objective.token_projector(t) for t in side], batch_first=True)
        for side in tokens
    ]
    real = None if valid is None else torch.arange(FRAMES) < torch.tensor(COUNTS)[:, None]
    places = torch.arange(FRAMES).double().expand(CASES, FRAMES)
    local = losses.vicregl_loss(
        padded_z[0], padded_z[1], places, places, real, real, matches=2, variance_weight=12.5,
        covariance_weight=0.5,
    )  # fmt: skip
    output = objective(encoder, ObjectiveBatch(views, valid))
    torch.testing.assert_close(output.loss, 0.3 * whole + 0.7 * local, rtol=1e-10, atol=0)


def test_vicregl_pools_as_it_is_told_and_refuses_what_has_no_tokens() -> None:
    encoder, views = Tokens().double(), views_of(2)
    objective = training.VICRegL(
        encoder, projector=nn.Identity(), token_projector=nn.Identity(), global_weight=1.0,
        pool=lambda tokens, real: tokens[:, 0],
    )  # fmt: skip
    first = [encoder(view)[:, 0] for view in views]
    torch.testing.assert_close(
        objective(encoder, ObjectiveBatch(views)).loss, losses.vicreg_loss(first[0], first[1])
    )
    with pytest.raises(ValueError, match=r"^VICRegL: features must be \(batch, tokens, dim\)"):
        objective(Series().double(), ObjectiveBatch(views))
    short = (views[0], views[1][..., :12])
    with pytest.raises(ValueError, match=r"^VICRegL: both views must have equally many tokens; g"):
        objective(encoder, ObjectiveBatch(short))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("beta", [0.0, None])
@pytest.mark.parametrize("rows", [1, 2])
def test_salt_predicts_a_teacher_that_stays(rows: int, beta: float | None, padded: bool) -> None:
    encoder, teacher = Patches(rows).double(), Patches(rows).double()
    objective: Any = training.SALT(
        encoder, teacher=teacher, decoder=decoder(DIM), mask_ratio=0.5, beta=beta
    ).double()
    known = copy.deepcopy(teacher)
    moved(teacher)  # the caller's own may go on; the copy does not
    (view,), valid = views_of(1), padding() if padded else None
    draws = objective.draw(CASES, seeded(3))
    hidden = draws[0].repeat(1, rows)
    real = None if valid is None else encoder.token_valid(valid)
    counted = hidden if real is None else hidden & real
    target = known.eval()(view, valid).detach()
    encoded = encoder(view, valid, visible=draws[1])
    slots = draws[1].shape[1]
    restore = [
        torch.where(draws[2] == slots, rows * slots, draws[2] + row * slots) for row in range(rows)
    ]
    options = {} if real is None else {"valid": real}
    apart = objective.decoder(encoded, torch.cat(restore, 1), **options) - target
    error = apart.abs() if beta == 0 else apart.square()
    batch = ObjectiveBatch((view,), valid, draws=draws)
    output = objective(encoder, batch)
    torch.testing.assert_close(output.loss, error[counted].mean(), rtol=1e-10, atol=0)
    objective.train()
    objective.update(encoder, output.memory)
    assert not any(module.training for module in objective.teacher.modules())
    assert not any(parameter.requires_grad for parameter in objective.teacher.parameters())
    torch.testing.assert_close(objective(encoder, batch).loss, output.loss, rtol=0, atol=0)


OBJECTIVES: dict[str, Any] = {
    "DCL": partial(training.DCL, projector_dim=4, hidden_dim=6),
    "LabelledNTXent": partial(training.LabelledNTXent, projector_dim=4, hidden_dim=6),
    "MultiSimilarity": partial(
        training.MultiSimilarity, projector_dim=4, hidden_dim=6,
        miner=losses.multi_similarity_pairs,
    ),
    "NNCLR": partial(training.NNCLR, projector_dim=4, hidden_dim=6, queue_size=16),
    "ReSSL": partial(training.ReSSL, projector_dim=4, hidden_dim=6, queue_size=16),
    "VICRegL": partial(training.VICRegL, projector_dim=4, matches=3),
}  # fmt: skip
THREE = PretrainConfig(TrainingConfig(steps=3, batch=4), cpu=True)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_it_pretrains_an_encoder(name: str) -> None:
    torch.manual_seed(0)
    encoder = Tokens()
    ragged = read_series([drawn(CHANNELS, n).float() for n in (24, 24, 20, 12, 24, 9, 16, 24)])
    trained = pretrain(
        encoder, OBJECTIVES[name], ragged, labels=torch.tensor([0, 1, -1, 0, 1, 2, 2, -1]),
        augment=gaussian_noise, config=THREE,
    )  # fmt: skip
    for key, value in encoder.state_dict().items():
        assert not torch.equal(trained.encoder.state_dict()[key], value), key


def test_a_pretrained_encoder_teaches_another() -> None:
    """MAE, then SALT: the teacher that comes out is the one that went in."""
    torch.manual_seed(0)
    x = read_series(drawn(8, CHANNELS, LENGTH).float())
    first = pretrain(Patches(), partial(MAE, decoder=decoder(CHANNELS * PATCH)), x, config=THREE)
    second = pretrain(
        Patches(),
        partial(training.SALT, teacher=first.encoder, decoder=decoder(DIM)), x, config=THREE,
    )  # fmt: skip
    stays = first.encoder.state_dict()
    for name, value in second.objective.teacher.state_dict().items():  # type: ignore[union-attr]
        assert torch.equal(value, stays[name])
