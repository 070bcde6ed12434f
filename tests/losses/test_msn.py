"""MSN's loss against its authors' steps, on probabilities."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok.losses import MSNLoss, msn_loss, msn_terms, power_law_prior
from tests.losses.laws import normal, probabilities
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def oracle(
    anchors: Tensor, targets: Tensor, temperature: float = 0.1, me_max_weight: float = 1.0
) -> Tensor:
    """Steps 1, 3 and 4 of the code: predictions, cross-entropy with repeated targets, me-max."""
    views, batch, prototypes = anchors.shape
    scores = (anchors.reshape(views * batch, prototypes) / temperature).exp()
    probs = scores / scores.sum(1, keepdim=True)
    repeated = torch.cat([targets.detach() for _ in range(views)])
    loss = -(repeated * probs.log()).sum(1).mean()
    mean = probs.mean(0)
    return loss + me_max_weight * ((mean * mean.log()).sum() + math.log(prototypes))


def draw(views: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return normal(generator, views, 5, 7), probabilities(generator, 5, 7)


PARITY = [
    Parity(
        "msn_loss",
        f"Assran et al. 2022, equation 1, {views} views, temperature {temperature}",
        partial(msn_loss, temperature=temperature, me_max_weight=weight),
        partial(oracle, temperature=temperature, me_max_weight=weight),
        partial(draw, views),
    )
    for views, temperature, weight in [(1, 0.1, 1.0), (3, 0.4, 5.0), (2, 1.0, 0.0)]
]


PRIOR = torch.tensor([0.4, 0.05, 0.1, 0.2, 0.05, 0.05, 0.15], dtype=torch.float64)


def pmsn(anchors: Tensor, targets: Tensor) -> Tensor:
    """The same with the divergence of the mean prediction from the prior."""
    loss = oracle(anchors, targets, temperature=0.4, me_max_weight=0.0)
    mean = (anchors / 0.4).softmax(-1).mean((0, 1))
    each = [p * (p / q).log() for p, q in zip(mean, PRIOR, strict=True)]
    return loss + 5 * torch.stack(each).sum()


def with_prior(anchors: Tensor, targets: Tensor) -> Tensor:
    return msn_loss(anchors, targets, PRIOR, temperature=0.4, me_max_weight=5.0)


PARITY.append(
    Parity("msn_loss", "Assran et al. 2022 (PMSN), a prior", with_prior, pmsn, partial(draw, 3))
)


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_published(case: Parity) -> None:
    assert_parity(case)


def of_rows(anchors: Tensor, targets: Tensor) -> Tensor:
    return msn_loss(anchors.movedim(1, 0), targets.softmax(-1), temperature=0.5, me_max_weight=2)


@pytest.mark.parametrize("cut", [3, 1])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, cut: int) -> None:
    """The mean prediction is one of all ranks, whose data differ."""
    generator = torch.Generator().manual_seed(3)
    anchors, targets = normal(generator, 6, 2, 5), normal(generator, 6, 5)
    anchors[:cut, :, 0] += 3
    assert_ranks_agree(two_ranks, of_rows, anchors, targets, cut=cut)


def prior_of_rows(anchors: Tensor, targets: Tensor) -> Tensor:
    prior = power_law_prior(5, exponent=1.0)
    return msn_loss(anchors.movedim(1, 0), targets.softmax(-1), prior, temperature=0.5)


@pytest.mark.parametrize("cut", [2, 0])
def test_two_ranks_have_one_prior(two_ranks: Ranks, cut: int) -> None:
    generator = torch.Generator().manual_seed(4)
    anchors, targets = normal(generator, 6, 2, 5), normal(generator, 6, 5)
    assert_ranks_agree(two_ranks, prior_of_rows, anchors, targets, cut=cut)


# --- known values ---------------------------------------------------------------------------


def test_one_prototype_for_all_is_the_greatest_concentration() -> None:
    anchors = torch.tensor([100.0, 0, 0, 0]).expand(2, 3, 4)
    terms = msn_terms(anchors, torch.eye(4)[:3])
    assert terms.concentration.item() == pytest.approx(math.log(4), rel=1e-6)


def test_every_prototype_once_is_none() -> None:
    terms = msn_terms(100 * torch.eye(4)[None], torch.eye(4))
    assert [t.item() for t in terms] == pytest.approx([0, 0], abs=1e-6)


def test_an_impossible_prototype_costs_a_number_not_infinity() -> None:
    """As a power of probabilities, the published form, this is infinite with gradient NaN."""
    anchors = torch.tensor([[[0.0, 1e4]]], requires_grad=True)
    value = msn_loss(anchors, torch.tensor([[1.0, 0.0]]))
    value.backward()
    assert value.item() == pytest.approx(1e5 + math.log(2))
    assert anchors.grad is not None
    torch.testing.assert_close(anchors.grad, torch.tensor([[[-10.0, 10.0]]]))


def test_a_prior_that_is_met_costs_nothing_and_a_uniform_one_is_msn() -> None:
    anchors, targets = draw(3, torch.Generator().manual_seed(0))
    mean = (anchors / 0.4).softmax(-1).mean((0, 1))
    met = msn_terms(anchors, targets, mean.requires_grad_(), temperature=0.4)
    assert abs(met.concentration.item()) < 1e-12
    assert not met.concentration.requires_grad, "a prior is detached"
    uniform = power_law_prior(7, exponent=0.0)
    torch.testing.assert_close(
        msn_terms(anchors.float(), targets.float(), uniform),
        msn_terms(anchors.float(), targets.float()),
    )
    bound = MSNLoss(temperature=0.4, me_max_weight=5.0)
    assert torch.equal(bound(anchors, targets, PRIOR), with_prior(anchors, targets))


def test_shares_of_a_power_law() -> None:
    for exponent in (0.0, 0.25, 2.0):
        prior = power_law_prior(9, exponent=exponent).double()
        ranks = torch.arange(1, 10).double()
        torch.testing.assert_close(prior / prior[0], ranks**-exponent, rtol=1e-6, atol=0)
        assert prior.sum().item() == pytest.approx(1, abs=1e-6)
    assert power_law_prior(1).tolist() == [1.0]


# --- laws -----------------------------------------------------------------------------------


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    anchors, targets = draw(3, torch.Generator().manual_seed(0))
    terms = msn_terms(anchors, targets, temperature=0.7)
    value = msn_loss(anchors, targets, temperature=0.7, me_max_weight=0.3)
    torch.testing.assert_close(value, terms.cross_entropy + 0.3 * terms.concentration)


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("anchors", "targets", "temperature", "said"),
    [
        (
            (2, 3, 4),
            (2, 3, 4),
            1.0,
            r"^msn_loss: targets must be \(batch, codebook_size\); got shape",
        ),
        (
            (3, 4),
            (3, 4),
            1.0,
            r"anchors must be \(views, batch, codebook_size\); got shape \(3, 4\)",
        ),
        (
            (2, 3, 4),
            (3, 5),
            1.0,
            r"with targets \(batch, codebook_size\); got \(2, 3, 4\) and \(3, 5",
        ),
        ((2, 0, 4), (0, 4), 1.0, r"anchors.numel\(\) must be >= 1; got 0$"),
        ((2, 3, 4), (3, 4), 0.0, r"temperature must be > 0; got 0.0$"),
    ],
)
def test_bad_input_is_refused(
    anchors: tuple[int, ...], targets: tuple[int, ...], temperature: float, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        msn_loss(torch.zeros(anchors), torch.zeros(targets), temperature=temperature)


def test_a_prior_that_does_not_fit_is_refused() -> None:
    anchors, targets = torch.zeros(2, 3, 4), torch.zeros(3, 4)
    for prior, said in [
        (torch.ones(5), "prior must have size 4 in dimension 0; got 5"),
        (torch.ones(3, 4), r"prior must be \(codebook_size,\); got shape \(3, 4\)"),
        (torch.ones(4).long(), "prior must be floating point; got torch.int64"),
    ]:
        for function in (msn_loss, msn_terms):
            with pytest.raises(ValueError, match=f"^{function.__name__}: {said}"):
                function(anchors, targets, prior)
    with pytest.raises(TypeError, match=r"^msn_loss: prior must be a tensor; got list"):
        msn_loss(anchors, targets, [0.25] * 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^power_law_prior: codebook_size must be >= 1; got 0"):
        power_law_prior(0)
    with pytest.raises(ValueError, match=r"^power_law_prior: exponent must be >= 0; got -1.0"):
        power_law_prior(3, exponent=-1.0)
    meta = [x.to("meta") for x in (anchors, targets, torch.ones(4))]
    assert msn_loss(*meta).shape == ()
