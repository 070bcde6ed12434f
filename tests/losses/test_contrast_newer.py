"""DCL, NNCLR, ReSSL, multi-similarity and labelled NT-Xent against their formulas written out."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok import losses
from ssltok.state import FeatureQueue
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree, value_and_gradients
from tests.ranks import Ranks


def unit(z: Tensor) -> Tensor:
    return z / z.square().sum(-1, keepdim=True).sqrt()


def dcl(
    z_a: Tensor, z_b: Tensor, *, temperature: float, weight_temperature: float | None = None
) -> Tensor:
    """Sample by sample and view by view, equation 6; the weights of section 3.2."""
    views, batch = (unit(z_a), unit(z_b)), len(z_a)
    total = torch.zeros((), dtype=z_a.dtype)
    agreement = (views[0] * views[1]).sum(1).detach()
    for k in range(2):
        for i in range(batch):
            negatives = [
                (views[k][i] @ views[m][j] / temperature).exp()
                for m in range(2) for j in range(batch) if j != i
            ]  # fmt: skip
            weight: Any = 1.0
            if weight_temperature is not None:
                density = (agreement / weight_temperature).exp()
                weight = 2 - density[i] / density.mean()
            positive = views[0][i] @ views[1][i] / temperature
            total = total + torch.stack(negatives).sum().log() - weight * positive
    return total / (2 * batch)


def nnclr(pred: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    p, t = unit(pred), unit(target).detach()
    shares = [(t[b] @ p.T / temperature).exp() for b in range(len(p))]
    return -torch.stack([(s[b] / s.sum()).log() for b, s in enumerate(shares)]).mean()


def ressl(
    query: Tensor, key: Tensor, queue: Tensor, *, temperature: float, teacher_temperature: float
) -> Tensor:
    total = torch.zeros((), dtype=query.dtype)
    for q, k in zip(unit(query), unit(key).detach(), strict=True):
        s = (unit(queue).detach() @ q / temperature).exp()
        t = (unit(queue).detach() @ k / teacher_temperature).exp()
        s, t = s / s.sum(), t / t.sum()
        total = total + (t * (t.log() - s.log())).sum()
    return total / len(query)


Chosen = tuple[list[list[int]], list[list[int]]]


def chosen(z: Tensor, labels: Tensor, margin: float | None) -> Chosen:
    """Positives and negatives of each anchor by the rules of the paper, row by row."""
    rows, positives, negatives = unit(z.detach()), [], []
    for i, label in enumerate(labels.tolist()):
        others = [j for j in range(len(labels)) if j != i]
        p = [j for j in others if label >= 0 and labels[j] == label]
        n = [j for j in others if label >= 0 and labels[j] != label]
        if margin is not None:
            s = [float(rows[i] @ rows[j]) for j in range(len(rows))]
            hard_p = [j for j in p if n and s[j] < max(s[x] for x in n) + margin]
            hard_n = [j for j in n if p and s[j] > min(s[x] for x in p) - margin]
            p, n = hard_p, hard_n
        positives.append(p)
        negatives.append(n)
    return positives, negatives


def multi_similarity(
    z: Tensor, labels: Tensor, *, alpha: float, beta: float, base: float, margin: float | None
) -> Tensor:
    rows, total = unit(z), torch.zeros((), dtype=z.dtype)
    for i, (p, n) in enumerate(zip(*chosen(z, labels, margin), strict=True)):
        near = sum(((-alpha * (rows[i] @ rows[j] - base)).exp() for j in p), torch.zeros(()))
        far = sum(((beta * (rows[i] @ rows[j] - base)).exp() for j in n), torch.zeros(()))
        total = total + (1 + near).log() / alpha + (1 + far).log() / beta
    return total / len(z)


def labelled_nt_xent(
    z: Tensor, labels: Tensor, *, temperature: float, margin: float | None
) -> Tensor:
    rows, each = unit(z), []
    for i, (p, n) in enumerate(zip(*chosen(z, labels, margin), strict=True)):
        for j in p:
            one = (rows[i] @ rows[j] / temperature).exp()
            others = sum(((rows[i] @ rows[k] / temperature).exp() for k in n), torch.zeros(()))
            each.append(-(one / (one + others)).log())
    return torch.stack(each).mean()


def drawn(
    *shapes: tuple[int, int], labels: int = 0
) -> Callable[[torch.Generator], tuple[Tensor, ...]]:
    """Rows with another mean in each column; labels of unequal classes, -1 among them."""

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        rows = [
            torch.randn(s, generator=generator, dtype=torch.float64) + torch.linspace(-1, 1, s[1])
            for s in shapes
        ]
        if labels:
            y = torch.randint(-1, labels, (shapes[0][0],), generator=generator)
            y[:3] = torch.tensor([0, 0, 1])
            return (*rows, y)
        return tuple(rows)

    return draw


PAIR, LABELLED = drawn((6, 4), (6, 4)), drawn((9, 4), labels=3)
MINERS = {None: losses.label_pairs, 0.1: losses.multi_similarity_pairs}
PARITY = [
    Parity(
        "dcl_loss", "Yeh et al. 2022, equation 6",
        partial(losses.dcl_loss, temperature=0.3), partial(dcl, temperature=0.3), PAIR,
    ),
    Parity(
        "dclw_loss", "Yeh et al. 2022, section 3.2",
        partial(losses.dclw_loss, temperature=0.3, weight_temperature=0.4),
        partial(dcl, temperature=0.3, weight_temperature=0.4), PAIR,
    ),
    Parity(
        "nnclr_loss", "Dwibedi et al. 2021, algorithm 1",
        partial(losses.nnclr_loss, temperature=0.3), partial(nnclr, temperature=0.3), PAIR,
    ),
    Parity(
        "ressl_loss", "Zheng et al. 2021, equations 3 to 5",
        partial(losses.ressl_loss, temperature=0.3, teacher_temperature=0.2),
        partial(ressl, temperature=0.3, teacher_temperature=0.2), drawn((6, 4), (6, 4), (9, 4)),
    ),
    *(
        Parity(
            "multi_similarity_loss", f"Wang et al. 2019, margin {margin}",
            partial(
                losses.multi_similarity_loss, positive_scale=3.0, negative_scale=7.0,
                threshold=0.2, miner=miner,
            ),
            partial(multi_similarity, alpha=3.0, beta=7.0, base=0.2, margin=margin), LABELLED,
        )
        for margin, miner in MINERS.items()
    ),
    *(
        Parity(
            "labelled_nt_xent_loss", f"pytorch-metric-learning, margin {margin}",
            partial(losses.labelled_nt_xent_loss, temperature=0.3, miner=miner),
            partial(labelled_nt_xent, temperature=0.3, margin=margin), LABELLED,
        )
        for margin, miner in MINERS.items()
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", PARITY, ids=lambda c: f"{c.name}, {c.source}")
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


RANKED: dict[str, tuple[Callable[..., Tensor], Callable[..., tuple[Tensor, ...]]]] = {
    "dcl_loss": (losses.dcl_loss, PAIR),
    "dclw_loss": (losses.dclw_loss, PAIR),
    "nnclr_loss": (losses.nnclr_loss, PAIR),
    "multi_similarity_loss": (losses.multi_similarity_loss, LABELLED),
    "labelled_nt_xent_loss": (losses.labelled_nt_xent_loss, LABELLED),
}


@pytest.mark.parametrize("cut", [0, 4])
@pytest.mark.parametrize("name", RANKED)
def test_two_ranks_are_the_whole_batch(name: str, cut: int, two_ranks: Ranks) -> None:
    loss, draw = RANKED[name]
    assert_ranks_agree(two_ranks, loss, *draw(torch.Generator().manual_seed(0)), cut=cut)


# --- known values ---------------------------------------------------------------------------------


def test_rows_alike_cost_the_number_of_the_others() -> None:
    z = torch.full((5, 3), 2.0).double()
    log = torch.tensor([8.0, 5.0]).double().log()
    for scale in (1.0, 0.0):
        torch.testing.assert_close(losses.dcl_loss(scale * z, scale * z), log[0])
        torch.testing.assert_close(losses.dclw_loss(scale * z, scale * z), log[0])
        torch.testing.assert_close(losses.nnclr_loss(scale * z, z), log[1])
        assert losses.ressl_loss(scale * z, z, torch.randn(7, 3).double()) >= 0
    queue = z[:4]  # similarities that are all alike are uniform at any temperature
    assert abs(losses.ressl_loss(z, -z, queue)) < 1e-12


def test_decoupled_is_nt_xent_without_the_positive() -> None:
    """exp(nt_xent of a row) = exp(dcl of that row) + 1."""
    z_a, z_b = PAIR(torch.Generator().manual_seed(0))
    rows = torch.cat([unit(z_a), unit(z_b)]) / 0.3**0.5
    place = torch.arange(12) % 6
    similarity = rows @ rows.T
    positive = (rows * rows.roll(6, 0)).sum(1)
    apart = similarity.masked_fill(place[:, None] == place, -torch.inf).logsumexp(1) - positive
    torch.testing.assert_close(losses.dcl_loss(z_a, z_b, temperature=0.3), apart.mean())
    torch.testing.assert_close(
        losses.nt_xent_loss(z_a, z_b, temperature=0.3), (1 + apart.exp()).log().mean()
    )


def test_weights_are_one_in_the_mean_and_less_where_views_agree() -> None:
    """Wide weights are all 1; the slope in the positives shows each."""
    z_a, z_b = PAIR(torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        losses.dclw_loss(z_a, z_b, weight_temperature=1e12), losses.dcl_loss(z_a, z_b)
    )
    cosine = (unit(z_a) * unit(z_b)).sum(1)
    weight = 2 - 6 * (cosine / 0.5).softmax(0)
    torch.testing.assert_close(weight.mean(), torch.tensor(1.0).double())
    assert weight.argmin() == cosine.argmax()
    apart = losses.dclw_loss(z_a, z_b) - losses.dcl_loss(z_a, z_b)
    torch.testing.assert_close(apart, ((1 - weight) * cosine).mean() / 0.1)


def test_labels_of_samples_make_it_nt_xent() -> None:
    z_a, z_b = PAIR(torch.Generator().manual_seed(2))
    z, labels = torch.cat([z_a, z_b]), torch.arange(6).repeat(2)
    torch.testing.assert_close(
        losses.labelled_nt_xent_loss(z, labels, temperature=0.3),
        losses.nt_xent_loss(z_a, z_b, temperature=0.3),
    )


@pytest.mark.parametrize("loss", [losses.multi_similarity_loss, losses.labelled_nt_xent_loss])
@pytest.mark.parametrize("miner", [losses.label_pairs, losses.multi_similarity_pairs])
def test_rows_without_pairs_cost_nothing(loss: Any, miner: Any) -> None:
    """No label at all, and one class only or as many as rows once a miner wants both kinds."""
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    value, (slope,) = value_and_gradients(
        partial(loss, labels=torch.full((5,), -1), miner=miner), (z,)
    )
    assert value == 0
    assert not slope.any()
    for labels in (torch.zeros(5, dtype=torch.int64), torch.arange(5)):
        value, (slope,) = value_and_gradients(partial(loss, labels=labels, miner=miner), (z,))
        assert slope.isfinite().all()
        if miner is losses.multi_similarity_pairs:
            assert value == 0


def test_a_miner_of_one_s_own_decides() -> None:
    z, labels = LABELLED(torch.Generator().manual_seed(0))

    def first_two(z: Tensor, labels: Tensor) -> losses.LabelPairs:
        assert not z.requires_grad
        pair = torch.zeros(9, 9, dtype=torch.bool)
        negative = pair.clone()
        pair[0, 1] = negative[0, 2] = True
        return losses.LabelPairs(pair, negative)

    rows = unit(z)
    difference = (rows[0] @ rows[2] - rows[0] @ rows[1]) / 0.3
    torch.testing.assert_close(
        losses.labelled_nt_xent_loss(z.requires_grad_(), labels, temperature=0.3, miner=first_two),
        (1 + difference.exp()).log(),
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("margin", [-0.2, 0.1, 3.0])
def test_mined_pairs_are_the_paper_s(seed: int, margin: float) -> None:
    z, labels = LABELLED(torch.Generator().manual_seed(seed))
    pairs = losses.multi_similarity_pairs(z, labels, margin=margin)
    for mask, wanted in zip(pairs, chosen(z, labels, margin), strict=True):
        assert [row.nonzero().flatten().tolist() for row in mask] == wanted
    every = losses.label_pairs(z, labels)
    for mask, wanted in zip(every, chosen(z, labels, None), strict=True):
        assert [row.nonzero().flatten().tolist() for row in mask] == wanted
    assert (pairs.positive <= every.positive).all()
    assert (pairs.negative <= every.negative).all()


def test_pairs_of_few_rows_and_of_shapes_only() -> None:
    for rows in (0, 1):
        z, labels = torch.zeros(rows, 3), torch.zeros(rows, dtype=torch.int64)
        for pairs in (losses.label_pairs(z, labels), losses.multi_similarity_pairs(z, labels)):
            assert [m.shape for m in pairs] == [(rows, rows)] * 2
            assert not any(m.any() for m in pairs)
    z, labels = torch.zeros(4, 3, device="meta"), torch.zeros(4, dtype=torch.int64, device="meta")
    assert losses.multi_similarity_pairs(z, labels).positive.shape == (4, 4)


# --- the nearest of a queue -----------------------------------------------------------------------


def test_the_nearest_row_by_cosine() -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(20, 4, generator=generator).requires_grad_()
    queue = torch.randn(30, 4, generator=generator) * torch.logspace(-3, 3, 30)[:, None]
    nearest = losses.nearest_in_queue(query, queue)
    for row, one in zip(query.detach().double(), nearest, strict=True):
        cosines = [float(row @ other / row.norm() / other.norm()) for other in queue.double()]
        assert torch.equal(one, queue[cosines.index(max(cosines))])
    assert not nearest.requires_grad
    for scale in (1e-6, 1e20):
        assert torch.equal(losses.nearest_in_queue(scale * query, queue), nearest)
    assert losses.nearest_in_queue(query.to("meta"), queue.to("meta")).shape == (20, 4)
    assert losses.nearest_in_queue(query[:0], queue).shape == (0, 4)
    mapped = torch.func.vmap(losses.nearest_in_queue, in_dims=(0, None))
    assert torch.equal(mapped(query.detach().view(2, 10, 4), queue).flatten(0, 1), nearest)


def test_what_was_pushed_is_found_again_and_serves_other_losses() -> None:
    queue = FeatureQueue(8, 4, generator=torch.Generator().manual_seed(0))
    z = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    queue.update(z)
    assert torch.equal(losses.nearest_in_queue(3 * z, queue()), z)
    nearest = losses.nearest_in_queue(torch.eye(4), queue())
    for loss in (losses.nt_xent_loss, losses.cosine_regression_loss, losses.dcl_loss):
        value, slopes = value_and_gradients(loss, (torch.ones(4, 4), nearest))
        assert value.isfinite()
        assert slopes[0].any()


# --- digits and complaints ------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: f"{c.name}, {c.source}")
def test_digits_at_unequal_scales(case: Parity) -> None:
    """Features whose scales reach from 1 to 1e3."""
    inputs = case.draw(torch.Generator().manual_seed(3))
    scale = torch.logspace(0, 3, 4).double()
    narrow = tuple((x * scale).float() if x.is_floating_point() else x for x in inputs)
    wide = tuple(x.double() if x.is_floating_point() else x for x in narrow)
    value, slopes = value_and_gradients(case.ours, narrow)
    expected, exact = value_and_gradients(case.oracle, wide)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
    for slope, wanted in zip(slopes, exact, strict=True):
        bound = 1e-5 * float(wanted.abs().max())
        torch.testing.assert_close(slope.double(), wanted, rtol=1e-4, atol=bound)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, y: losses.dcl_loss(z[:1], z[:1]), "dcl_loss: batch must be >= 2; got 1"),
        (
            lambda z, y: losses.dclw_loss(z, z, weight_temperature=0.0),
            "dclw_loss: weight_temperature must be > 0; got 0.0",
        ),
        (lambda z, y: losses.nnclr_loss(z[:1], z[:1]), "nnclr_loss: batch must be >= 2; got 1"),
        (
            lambda z, y: losses.ressl_loss(z, z, z, teacher_temperature=-1.0),
            "ressl_loss: teacher_temperature must be > 0; got -1.0",
        ),
        (
            lambda z, y: losses.ressl_loss(z, z, z[:0]),
            "ressl_loss: rows of the queue must be >= 1; got 0",
        ),
        (
            lambda z, y: losses.nearest_in_queue(z, z[:0]),
            "nearest_in_queue: rows of the queue must be >= 1; got 0",
        ),
        (
            lambda z, y: losses.nearest_in_queue(z, z[:, 1:]),
            "nearest_in_queue: queue must have size 3 in dimension 1; got 2",
        ),
        (
            lambda z, y: losses.multi_similarity_loss(z, y[1:]),
            "multi_similarity_loss: labels must have size 4 in dimension 0; got 3",
        ),
        (
            lambda z, y: losses.multi_similarity_loss(z, y, positive_scale=0.0),
            "multi_similarity_loss: positive_scale must be > 0; got 0.0",
        ),
        (
            lambda z, y: losses.multi_similarity_loss(z, y, negative_scale=0.0),
            "multi_similarity_loss: negative_scale must be > 0; got 0.0",
        ),
        (
            lambda z, y: losses.labelled_nt_xent_loss(
                z, y, miner=lambda z, y: losses.LabelPairs(y[:, None] == y, y == y)
            ),
            r"labelled_nt_xent_loss: what miner returns as negative must have shape \(4, 4\)",
        ),
        (
            lambda z, y: losses.labelled_nt_xent_loss(
                z, y, miner=lambda z, y: losses.LabelPairs(z @ z.mT, z @ z.mT)
            ),
            "labelled_nt_xent_loss: what miner returns as positive must be boolean",
        ),
        (
            lambda z, y: losses.label_pairs(z, y.float()),
            "label_pairs: labels must be int64; got torch.float32",
        ),
        (
            lambda z, y: losses.multi_similarity_pairs(z.long(), y),
            "multi_similarity_pairs: z must be floating point; got torch.int64",
        ),
    ],
)
def test_bad_input_is_refused(call: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        call(torch.ones(4, 3), torch.tensor([0, 0, 1, 1]))


@pytest.mark.parametrize("name", ["dcl_loss", "dclw_loss", "nnclr_loss", "ressl_loss"])
def test_shapes_only(name: str) -> None:
    z = torch.zeros(4, 3, device="meta")
    inputs = (z, z, z) if name == "ressl_loss" else (z, z)
    assert getattr(losses, name)(*inputs).shape == ()
