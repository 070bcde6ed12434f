"""Draws: the right distribution, truncated exactly, the same in low precision."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from ssltok.decoding import Drawn, Sample, log_probability, temperature_sample


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kinds(drawn: Drawn) -> int:
    """How many different codes were drawn."""
    return len(set(drawn.tokens.tolist()))


def truncated(logits: list[float], tau: float, top_k: int | None, top_p: float) -> list[float]:
    """Temperature, then top-k, then top-p, from their definitions."""
    weights = [math.exp(x / tau) for x in logits]
    order = sorted(range(len(logits)), key=lambda i: -weights[i])[: top_k or len(logits)]
    total = sum(weights[i] for i in order)
    kept, mass = [], 0.0
    for i in order:
        kept.append(i)
        mass += weights[i] / total
        if mass >= top_p:
            break
    return [weights[i] / sum(weights[j] for j in kept) * (i in kept) for i in range(len(logits))]


# oracle


@pytest.mark.parametrize(
    ("tau", "top_k", "top_p"),
    [(1.0, None, 1.0), (0.6, None, 1.0), (2.5, 3, 1.0), (1.3, None, 0.7), (0.8, 4, 0.85)],
)
def test_frequencies_are_those_of_the_definition(
    tau: float, top_k: int | None, top_p: float
) -> None:
    row = [0.3, -1.2, 2.0, 1.1, -0.4, 0.9]
    sample = temperature_sample(temperature=tau, top_k=top_k, top_p=top_p)
    drawn = sample(torch.tensor(row).expand(60_000, 6), 0.5, seeded()).tokens
    expected = torch.tensor(truncated(row, tau, top_k, top_p), dtype=torch.float64)
    counts = torch.bincount(drawn, minlength=6)
    assert (counts[expected == 0] == 0).all()
    kept = expected > 0
    law = stats.chisquare(counts[kept].numpy(), (expected[kept] * 60_000).numpy())
    assert law.pvalue > 0.01


# known values


def test_zero_temperature_takes_the_best_and_draws_no_number() -> None:
    generator = seeded()
    before = generator.get_state()
    logits = torch.randn(50, 7, generator=seeded(1))
    drawn = temperature_sample(temperature=0.0)(logits, 0.5, generator).tokens
    assert torch.equal(drawn, logits.argmax(dim=1))
    assert torch.equal(generator.get_state(), before)


def test_ties_keep_exactly_k_and_a_tiny_top_p_keeps_one() -> None:
    tied = torch.zeros(4000, 9)
    assert kinds(temperature_sample(top_k=3)(tied, 0.5, seeded())) == 3
    assert kinds(temperature_sample(top_p=1e-9)(tied, 0.5, seeded())) == 1
    assert kinds(temperature_sample(top_p=4 / 9 + 0.01)(tied, 0.5, seeded())) == 5


def test_codes_of_no_probability_are_never_drawn() -> None:
    logits = torch.tensor([-math.inf, 0.0, -math.inf, 0.0, -math.inf]).expand(20_000, 5)
    assert set(temperature_sample()(logits, 0.5, seeded()).tokens.tolist()) == {1, 3}


@pytest.mark.parametrize("codes", [11, 256])
def test_the_last_number_below_one_stays_within_the_codes(
    monkeypatch: pytest.MonkeyPatch, codes: int
) -> None:
    def largest(shape: torch.Size, **options: object) -> Tensor:
        return torch.full(shape, 1 - 2**-24)

    monkeypatch.setattr(torch, "rand", largest)
    logits = torch.randn(3000, codes, generator=seeded(2))
    logits[:, 7:] = -math.inf
    assert (temperature_sample()(logits, 0.5, None).tokens == 6).all()


# laws


def test_a_temperature_of_progress() -> None:
    seen: list[float] = []

    def cooling(progress: float) -> float:
        seen.append(progress)
        return 0.0 if progress == 1 else 1.0

    sample = temperature_sample(temperature=cooling)
    logits = torch.tensor([[0.0, 0.1]]).expand(500, 2)
    assert kinds(sample(logits, 0.5, seeded())) == 2
    assert set(sample(logits, 1.0, seeded()).tokens.tolist()) == {1}
    assert seen == [0.5, 1.0]


def test_half_precision_is_drawn_in_single() -> None:
    logits = torch.randn(400, 30, generator=seeded(3)).bfloat16() * 8
    sample = temperature_sample(temperature=0.7)
    half, single = sample(logits, 0.5, seeded(4)), sample(logits.float(), 0.5, seeded(4))
    assert torch.equal(half.tokens, single.tokens)
    assert torch.equal(half.logprob, single.logprob)
    assert half.logprob.dtype == torch.float32


@pytest.mark.parametrize(
    "sample",
    [temperature_sample(), temperature_sample(temperature=0.5), temperature_sample(top_k=2),
     temperature_sample(top_p=0.5), temperature_sample(temperature=0.0)],
)  # fmt: skip
def test_the_log_probability_is_that_of_the_model_as_it_is(sample: Sample) -> None:
    logits = torch.randn(300, 9, generator=seeded(5)) * 3
    drawn = sample(logits, 0.5, seeded(6))
    expected = logits.double().log_softmax(dim=1).gather(1, drawn.tokens[:, None])[:, 0]
    torch.testing.assert_close(drawn.logprob, expected.float())
    torch.testing.assert_close(log_probability(logits, drawn.tokens), expected.float())


def test_large_codebooks_are_drawn_in_two_levels_alike() -> None:
    logits = torch.randn(512, generator=seeded(7)) * 2
    logits[::3] = -math.inf
    logits[96:160] = -math.inf  # two whole blocks without a code
    drawn = temperature_sample()(logits.expand(200_000, 512), 0.5, seeded(8)).tokens
    counts = torch.bincount(drawn, minlength=512).double()
    expected = logits.double().softmax(0) * 200_000
    assert (counts[expected == 0] == 0).all()
    often = expected >= 20
    seen = torch.cat([counts[often], counts[~often].sum()[None]])
    wanted = torch.cat([expected[often], expected[~often].sum()[None]])
    assert stats.chisquare(seen.numpy(), wanted.numpy()).pvalue > 0.01


# complaints


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"^temperature_sample: temperature must be >= 0; got -1"):
        temperature_sample(temperature=-1)
    with pytest.raises(ValueError, match=r"^temperature_sample: top_k must be >= 1; got 0$"):
        temperature_sample(top_k=0)
    with pytest.raises(ValueError, match=r"^temperature_sample: top_p must lie in \(0, 1\]; got 0"):
        temperature_sample(top_p=0.0)
    with pytest.raises(ValueError, match=r"^temperature_sample: temperature must be >= 0; got -2"):
        temperature_sample(temperature=lambda progress: -2)(torch.zeros(1, 2), 1.0, None)
    said = r"^log_probability: tokens must be one for each row of logits; got \(3,\) for \(2, 4\)$"
    with pytest.raises(ValueError, match=said):
        log_probability(torch.zeros(2, 4), torch.zeros(3, dtype=torch.int64))
