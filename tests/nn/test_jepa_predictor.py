"""The predictor of a joint-embedding architecture."""

import pytest
import torch

from ssltok.nn import JEPAPredictor, RotaryPositions, Transformer, sinusoidal_positions
from tests.nn.test_transformer import scrambled

HERE = torch.tensor([[0, 5, 3], [2, 1, -1], [8, 0, 6]])
THERE = torch.tensor([[4, 2], [0, 7], [1, -1]])


def small(*, rotary: bool = False, positions: bool = True) -> JEPAPredictor:
    turn = RotaryPositions(4, grid=(4096,)) if rotary else None
    trunk = Transformer(8, depth=2, heads=2, rotary=turn)
    predictor = scrambled(JEPAPredictor(6, trunk, positions=positions), std=0.3)
    assert isinstance(predictor, JEPAPredictor)
    return predictor.eval()


# Oracle ---------------------------------------------------------------------------------------


def test_is_the_transcription_of_the_paper() -> None:
    """Row by row and without any -1: what is missing is not there."""
    predictor = small().double()
    context = torch.randn(3, 3, 6, dtype=torch.float64)
    made = predictor(context, HERE, THERE)
    for row in range(3):
        tokens = []
        for latent, place in zip(context[row], HERE[row].tolist(), strict=True):
            if place >= 0:
                where = torch.tensor(place, dtype=torch.float64)
                tokens.append(predictor.inward(latent) + sinusoidal_positions(where, 8))
        seen = len(tokens)
        for place in THERE[row].tolist():
            if place >= 0:
                where = torch.tensor(place, dtype=torch.float64)
                tokens.append(predictor.target_token + sinusoidal_positions(where, 8))
        mixed = predictor.trunk(torch.stack(tokens).unsqueeze(0))[0, seen:]
        torch.testing.assert_close(made[row, : len(mixed)], predictor.outward(mixed))


def test_rotary_places_are_those_of_the_tokens() -> None:
    """Spread over the whole sequence, with what is neither seen nor asked left unread."""
    predictor = small(rotary=True, positions=False).double()
    context = torch.randn(1, 3, 6, dtype=torch.float64)
    made = predictor(context, HERE[:1], THERE[:1])
    spread = torch.zeros(1, 9, 8, dtype=torch.float64)
    spread[0, HERE[0]] = predictor.inward(context[0])
    spread[0, THERE[0]] = predictor.target_token
    valid = torch.zeros(1, 9, dtype=torch.bool)
    valid[0, HERE[0]] = valid[0, THERE[0]] = True
    mixed = predictor.trunk(spread, valid=valid)
    torch.testing.assert_close(made[0], predictor.outward(mixed[0, THERE[0]]))


# Known values ---------------------------------------------------------------------------------


def test_two_targets_at_one_place_get_one_answer() -> None:
    predictor = small()
    twice = torch.tensor([[4, 4]] * 3)
    made = predictor(torch.randn(3, 3, 6), HERE, twice)
    torch.testing.assert_close(made[:, 0], made[:, 1])


def test_the_order_of_the_context_does_not_matter() -> None:
    predictor = small()
    context = torch.randn(3, 3, 6)
    order = [2, 0, 1]
    made = predictor(context[:, order], HERE[:, order], THERE)
    expected = predictor(context, HERE, THERE)
    torch.testing.assert_close(made[:2], expected[:2])
    torch.testing.assert_close(made[2, 0], expected[2, 0])


# Laws -----------------------------------------------------------------------------------------


def test_what_has_no_place_cannot_leak() -> None:
    predictor = small()
    context = torch.randn(3, 3, 6, requires_grad=True)
    garbage = context.masked_fill((HERE < 0).unsqueeze(-1), torch.nan)
    made = predictor(garbage, HERE, THERE)[THERE >= 0]
    made.square().sum().backward()
    assert context.grad is not None
    assert torch.equal(context.grad.abs().sum(dim=2) > 0, HERE >= 0)
    for parameter in predictor.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


def test_a_series_does_not_depend_on_its_batch() -> None:
    predictor = small()
    context = torch.randn(3, 3, 6, requires_grad=True)
    together = predictor(context, HERE, THERE)
    for row in range(3):
        at = slice(row, row + 1)
        alone = predictor(context[at], HERE[at], THERE[at])[0]
        there = THERE[row] >= 0
        torch.testing.assert_close(alone[there], together[row][there], atol=1e-6, rtol=1e-5)
    (grad,) = torch.autograd.grad(together[1].square().sum(), context)
    assert grad[[0, 2]].abs().max() == 0


def test_gradients_reach_everything() -> None:
    predictor = small().train()
    made = predictor(torch.randn(3, 3, 6), HERE, THERE)
    (made * torch.randn_like(made)).sum().backward()
    for name, parameter in predictor.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-6, name


def test_gradcheck() -> None:
    predictor = small().double()
    context = torch.randn(1, 3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: predictor(c, HERE[1:2], THERE[:1]), (context,))


@pytest.mark.parametrize("rotary", [False, True])
def test_long_sequences_and_noise(rotary: bool) -> None:
    predictor = small(rotary=rotary).train()
    predictor.trunk.stochastic_depth = 0.5
    here, there = torch.arange(1000).expand(2, -1), torch.arange(1000, 4096, 3).expand(2, -1)
    context = torch.randn(2, 1000, 6)
    state = torch.get_rng_state()
    with torch.no_grad():
        first = predictor(context, here, there, generator=torch.Generator().manual_seed(1))
        again = predictor(context, here, there, generator=torch.Generator().manual_seed(1))
    assert first.shape == (2, 1032, 6)
    assert torch.equal(first, again)
    assert torch.equal(state, torch.get_rng_state())


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    trunk = Transformer(8, depth=1, heads=1)
    with pytest.raises(ValueError, match=r"JEPAPredictor: dim must be >= 1; got 0"):
        JEPAPredictor(0, trunk)
    with pytest.raises(ValueError, match=r"JEPAPredictor: condition_dim must be None; got 2"):
        JEPAPredictor(6, Transformer(8, depth=1, heads=1, condition_dim=2))
    predictor = JEPAPredictor(6, trunk)
    context = torch.randn(3, 3, 6)
    with pytest.raises(ValueError, match=r"context must be \(batch, tokens, dim\); got shape"):
        predictor(context[0], HERE, THERE)
    with pytest.raises(ValueError, match=r"context must have size 6 in dimension 2; got 5"):
        predictor(context[..., :5], HERE, THERE)
    with pytest.raises(ValueError, match=r"JEPAPredictor: batch must be >= 1; got 0"):
        predictor(context[:0], HERE[:0], THERE[:0])
    with pytest.raises(ValueError, match=r"context_places must be int64; got torch.bool"):
        predictor(context, HERE > 0, THERE)
    with pytest.raises(ValueError, match=r"context_places must have size 3 in dimension 1; got 2"):
        predictor(context, HERE[:, :2], THERE)
    with pytest.raises(ValueError, match=r"target_places must have batch 3; got 2"):
        predictor(context, HERE, THERE[:2])
    with pytest.raises(ValueError, match=r"tokens of target_places must be >= 1; got 0"):
        predictor(context, HERE, THERE[:, :0])
