"""The loss by share masked: the naive sum, fixed masks, and a prior left as it was."""

import pytest
import torch

from ssltok.masking import random_mask
from ssltok.pipelines import loss_by_share
from ssltok.training import keyed_generator
from tests.pipelines.test_prior import build

# Oracle.


@pytest.mark.parametrize("widths", [(4,), (2, 4)])
def test_it_is_the_mean_surprise_of_the_hidden_tokens(widths: tuple[int, ...]) -> None:
    _, prior = build(widths)
    prior.eval()
    generator = keyed_generator(0, "codes")
    codes = torch.randint(prior.mask_index, (5, sum(prior.sizes)), generator=generator)
    codes[0, -1] = -1
    labels = torch.tensor([0, 2, -1, 1, 1])
    found = loss_by_share(prior, codes, labels, shares=(0.3,), seed=4)
    draws = keyed_generator(4, "loss at 0.3")
    surprises = []
    with torch.no_grad():
        for number, part in enumerate(torch.split(codes, list(prior.sizes), dim=1)):
            shape = (part.shape[0], part.shape[1])
            mask = random_mask(shape, ratio=0.3, valid=part >= 0, generator=draws).mask
            context = prior.context(codes[:, : prior.sizes[0]]) if number else None
            hidden = part.masked_fill(mask, prior.mask_index)
            logits = prior.logits_of(number, labels, context)(hidden, mask)
            surprises += [
                -float(row.double().log_softmax(0)[code])
                for row, code in zip(logits, part[mask], strict=True)
            ]
    assert found == {0.3: pytest.approx(sum(surprises) / len(surprises), rel=1e-5)}


# Laws.


def test_batches_do_not_matter_and_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    _, prior = build((2, 4))
    prior.train()
    generator = keyed_generator(1, "codes")
    codes = torch.randint(prior.mask_index, (7, sum(prior.sizes)), generator=generator)
    labels, noise = torch.full((7,), -1), torch.get_rng_state()
    whole = loss_by_share(prior, codes, labels)
    assert list(whole) == [0.1, 0.25, 0.5, 0.75, 0.9, 1.0]
    monkeypatch.setattr("ssltok.pipelines._stage_two._prior_loss.AT_ONCE", 3)
    parts = loss_by_share(prior, codes, labels)
    assert parts == {share: pytest.approx(loss, rel=1e-5) for share, loss in whole.items()}
    assert all(module.training for module in prior.modules())
    assert torch.equal(noise, torch.get_rng_state())
    assert loss_by_share(prior, codes, labels, seed=1) != parts


# Complaints.


def test_refuses() -> None:
    _, prior = build()
    codes = torch.zeros(2, sum(prior.sizes), dtype=torch.int64)
    with pytest.raises(ValueError, match=r"ratio must lie in \[0, 1\]; got 1.5"):
        loss_by_share(prior, codes, torch.tensor([0, 0]), shares=(1.5,))
    with pytest.raises(ValueError, match=r"^loss_by_share: number of codes must be >= 1; got 0$"):
        loss_by_share(prior, codes[:0], torch.zeros(0, dtype=torch.int64))
