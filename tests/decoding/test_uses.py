"""Uses: what was known stays, what was hidden is drawn, and hidden samples leak into no token."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from ssltok.decoding import (
    DecodingTrace,
    confidence_order,
    forecast,
    impute,
    inpaint,
    iterative_decode,
    receptive_field,
    temperature_sample,
    token_mask,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(progress: Tensor) -> Tensor:
    return 1 - progress


def decoder(trace: DecodingTrace | None = None) -> partial[Tensor]:
    return partial(
        iterative_decode,
        lambda tokens, where: torch.zeros(int(where.sum()), 4),
        mask_index=4,
        steps=3,
        schedule=linear,
        order=confidence_order(),
        sample=temperature_sample(),
        generator=seeded(1),
        observe=trace,
    )


TOKENS = torch.randint(4, (5, 12), generator=seeded(2))
WHERE = torch.rand(5, 12, generator=seeded(3)) < 0.4


class Encoder(nn.Module):
    """A small convolutional encoder that looks to both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(2, 8, kernel_size=5, stride=2, padding=2),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Conv1d(8, 4, kernel_size=4, stride=2, padding=1),
        ).eval()

    def forward(self, series: Tensor) -> Tensor:
        latents: Tensor = self.layers(series)
        return latents


def encode(series: Tensor, encoder: Encoder, codebook: Tensor) -> Tensor:
    latents = encoder(series).transpose(1, 2)
    return torch.cdist(latents, codebook.expand(len(series), -1, -1)).argmin(dim=-1)


# oracle


def test_receptive_field_is_the_arithmetic_of_the_convolutions() -> None:
    field = receptive_field(Encoder(), channels=2, length=40, chunk=7)
    assert field.shape == (10, 40)
    for token in range(10):
        first = 2 * token - 1  # second layer: kernel 4, stride 2, padding 1
        middle = [m for m in range(first, first + 4) if 0 <= m < 20]
        seen = {2 * m - 2 + k for m in middle for k in range(5)}
        assert set(field[token].nonzero()[:, 0].tolist()) == {s for s in seen if 0 <= s < 40}


def test_one_channel_of_the_latents_that_sees_a_sample_is_enough() -> None:
    def two_looks(series: Tensor) -> Tensor:  # one channel sees the sample, one its neighbour
        return torch.cat([series, series.roll(-1, dims=2)], dim=1)

    field = receptive_field(two_looks, channels=1, length=4)
    assert field.int().tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]


def test_hidden_samples_leak_into_no_visible_token() -> None:
    torch.manual_seed(0)
    encoder, codebook = Encoder(), torch.randn(16, 4)
    field = receptive_field(encoder, channels=2, length=40)
    series = torch.randn(30, 2, 40, generator=seeded(4))
    hidden = torch.rand(30, 2, 40, generator=seeded(5)) < 0.08
    changed = torch.where(hidden, 50 * torch.randn(series.shape, generator=seeded(6)), series)
    before, after = encode(series, encoder, codebook), encode(changed, encoder, codebook)
    mask = token_mask(hidden, field)
    assert torch.equal(before[~mask], after[~mask])
    assert 0.1 < float(mask.double().mean()) < 0.9
    # without the widening they would: tokens whose own four samples are all visible do move
    own = hidden.any(dim=1).view(30, 10, 4).any(dim=2)
    assert (before[~own] != after[~own]).any()


# known values


def test_forecast_draws_the_last_frames_of_every_frequency() -> None:
    found = forecast(decoder(), TOKENS, horizon=1, mask_index=4, frames=4, samples=20)
    assert found.shape == (20, 5, 12)
    late = torch.arange(12) % 4 == 3
    assert torch.equal(found[:, :, ~late], TOKENS[:, ~late].expand(20, -1, -1))
    assert (found[:, :, late] != TOKENS[:, late]).any()
    assert found.max() < 4


# laws


def test_inpainting_redraws_the_region_only() -> None:
    padded = TOKENS.clone()
    padded[2, 8:] = -1
    found = inpaint(decoder(), padded, WHERE, mask_index=4)
    known = ~WHERE | (padded < 0)
    assert torch.equal(found[known], padded[known])
    assert ((found[~known] >= 0) & (found[~known] < 4)).all()


def test_samples_differ_and_keep_what_is_known() -> None:
    found = impute(decoder(), TOKENS, WHERE, mask_index=4, samples=6)
    assert found.shape == (6, 5, 12)
    assert torch.equal(found[:, ~WHERE], TOKENS[~WHERE].expand(6, -1))
    assert len({tuple(sample.flatten().tolist()) for sample in found}) == 6
    padded = TOKENS.clone()
    padded[2, 8:] = -1
    everywhere = torch.ones_like(WHERE)
    kept = impute(decoder(), padded, everywhere, mask_index=4, samples=2)
    assert ((kept == -1) == (padded == -1)).all()
    other = TOKENS.masked_fill(WHERE, 0)  # what stood under the mask does not matter
    assert torch.equal(found, impute(decoder(), other, WHERE, mask_index=4, samples=6))


def test_a_trace_keeps_every_step() -> None:
    trace = DecodingTrace()
    found = inpaint(decoder(trace), TOKENS, torch.ones_like(WHERE), mask_index=4)
    assert trace.steps == 3
    assert (trace.tokens == 4).sum(dim=2).tolist() == [[8] * 5, [4] * 5, [0] * 5]
    assert torch.equal(trace.tokens[-1], found)
    assert (trace.drawn < 4).all()
    left = trace.tokens[:-1] == 4
    assert torch.equal(trace.drawn[1:][~left], trace.tokens[:-1][~left])
    expected = torch.full((5, 12), 4.0).log()
    torch.testing.assert_close(trace.entropy[0], expected)
    torch.testing.assert_close(trace.entropy[1:], torch.where(left, expected, 0.0))
    torch.testing.assert_close(trace.logprob[-1], -expected)


# complaints


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"^impute: samples must be >= 1; got 0$"):
        impute(decoder(), TOKENS, WHERE, mask_index=4, samples=0)
    with pytest.raises(ValueError, match=r"^inpaint: where must be boolean; got torch.int64$"):
        inpaint(decoder(), TOKENS, WHERE.long(), mask_index=4)
    with pytest.raises(ValueError, match=r"^forecast: frames must divide 12 tokens; got 5$"):
        forecast(decoder(), TOKENS, horizon=1, mask_index=4, frames=5)
    with pytest.raises(ValueError, match=r"^forecast: horizon must lie in \[1, 4\]; got 5$"):
        forecast(decoder(), TOKENS, horizon=5, mask_index=4, frames=4)
    said = r"^receptive_field: encode must return \(batch, dim, \*grid\); got \(3, 6\) for a batch"
    with pytest.raises(ValueError, match=said):
        receptive_field(lambda series: series.flatten(1), channels=2, length=3)
    with pytest.raises(ValueError, match=r"^receptive_field: length must be >= 1; got 0$"):
        receptive_field(Encoder(), channels=2, length=0)
    field = torch.ones(3, 8, dtype=torch.bool)
    said = r"^token_mask: hidden and field must share one length; got 7 and 8$"
    with pytest.raises(ValueError, match=said):
        token_mask(torch.ones(2, 7, dtype=torch.bool), field)
    with pytest.raises(ValueError, match=r"^token_mask: hidden must be boolean; got torch.float32"):
        token_mask(torch.ones(2, 8), field)
