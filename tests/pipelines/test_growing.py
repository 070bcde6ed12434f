"""Codebooks that grow along the sequence, and the first tokens of a series."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssltok.decoding import classifier_free_guidance
from ssltok.pipelines import (
    Parts,
    Prior,
    PriorConfig,
    TokenizerConfig,
    build_decoding,
    build_prior,
    build_tokenizer,
)
from ssltok.pipelines._generate import decode_tokens, hidden_codes
from ssltok.pipelines._words._config import DecodingConfig
from ssltok.quantizers import FSQ, OrderedQuantizer, growing_sizes


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tokenizer_of(**options: Any) -> Any:
    torch.manual_seed(0)
    config = TokenizerConfig(
        dim=4, blocks=0, codebook_size=8, quantizer="growing", widths=(4, 8), **options
    )
    return build_tokenizer(config, channels=2, length=32).eval()


class Liar(nn.Module):
    """A transformer that is sure of the last code, everywhere."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.codebook_sizes = inner, inner.codebook_sizes

    def forward(self, *args: Any, **options: Any) -> Tensor:
        logits: Tensor = self.inner(*args, **options).clone()
        logits[:, -1] += 1e4
        return logits

    def embed_context(self, *args: Any, **options: Any) -> Any:
        return self.inner.embed_context(*args, **options)  # type: ignore[operator]


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("channelwise", [False, True])
def test_a_prior_never_draws_a_code_beyond_its_place(channelwise: bool, guided: bool) -> None:
    tokenizer = tokenizer_of(channelwise=channelwise)
    torch.manual_seed(1)
    prior = build_prior(PriorConfig(dim=8, depth=1, heads=2, high_dim=8), tokenizer, classes=2)
    channels = 2 if channelwise else 1
    expected = [growing_sizes(size // channels, 8) * channels for size in tokenizer.sizes]
    assert prior.limits == tokenizer.limits == expected
    liar = Prior(
        [Liar(prior.transformer(i)) for i in range(2)],
        sizes=prior.sizes, classes=2, limits=prior.limits,
    ).eval()  # fmt: skip
    guidance = partial(classifier_free_guidance, scale=7.0) if guided else None
    decoding = build_decoding(DecodingConfig(steps=3), tokenizer, parts=Parts(guidance=guidance))
    hidden = hidden_codes(liar, torch.ones(20, sum(liar.sizes), dtype=torch.bool))
    labels = torch.arange(20) % 2
    with torch.no_grad():
        codes = decode_tokens(liar, hidden, labels=labels, decoding=decoding, generator=seeded())
    limits = torch.tensor(expected[0] + expected[1])
    assert (codes < limits).all()
    assert (codes >= 0).all()
    assert (codes == limits - 1)[:, -1].all()  # where all are allowed, the liar is believed
    # its own tokens have a finite loss there
    series = torch.randn(3, 2, 32, generator=seeded(2))
    known = tokenizer.encode(series, torch.full((3,), 32))
    assert (known < limits).all()


def test_limits_are_asked_for_each_token() -> None:
    tokenizer = tokenizer_of()
    prior = build_prior(PriorConfig(dim=8, depth=1, heads=2, high_dim=8), tokenizer, classes=0)
    parts = [prior.transformer(i) for i in range(2)]
    with pytest.raises(ValueError, match=r"Prior: limits must be None or a number for each token"):
        Prior(parts, sizes=prior.sizes, classes=0, limits=[[2], None])


@pytest.mark.parametrize("codes_per_token", [1, 2])
def test_the_first_tokens_alone_decode(codes_per_token: int) -> None:
    """As with the others' vectors at 0, and with the decoder seeing the whole length."""
    config = TokenizerConfig(
        dim=4, blocks=0, codebook_size=8, widths=(4,), codes_per_token=codes_per_token,
        quantizer="residual" if codes_per_token == 2 else "ema",
    )  # fmt: skip
    torch.manual_seed(0)
    tokenizer = build_tokenizer(config, channels=2, length=32).eval()
    codes = tokenizer.encode(torch.randn(3, 2, 32, generator=seeded(2)), torch.full((3,), 32))
    with torch.no_grad():
        whole = tokenizer.decode(codes)
        assert torch.equal(tokenizer.decode(codes, tokens=10**6), whole)
        vectors = tokenizer.vectors(codes)[0].clone()
        vectors.flatten(2)[:, :, 3:] = 0
        assert (vectors.flatten(2)[:, :, 3:] == 0).all()
        expected = torch.stack(tokenizer.waves(tokenizer.rebuild([vectors]))).sum(dim=0)
        torch.testing.assert_close(tokenizer.decode(codes, tokens=3), expected)
    with pytest.raises(ValueError, match=r"Tokenizer: tokens must be >= 1; got 0"):
        tokenizer.decode(codes, tokens=0)


def test_an_ordered_quantizer_is_a_part() -> None:
    parts = Parts(quantizer=partial(OrderedQuantizer, FSQ([4, 4, 3, 3]), channel_dim=1))
    config = TokenizerConfig(dim=4, blocks=0)
    tokenizer = build_tokenizer(config, channels=1, length=32, parts=parts)
    bands = tokenizer.bands(torch.randn(5, 1, 32, generator=seeded()))
    latents = tokenizer.latents(bands)[0]
    codes = tokenizer.parts[0].quantize(latents).codes
    assert (codes.flatten(1) == -1).any()
    assert (codes.flatten(1)[:, 0] >= 0).all()
