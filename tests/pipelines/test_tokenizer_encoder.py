"""A tokenizer as an encoder: the numbers of `transform`, frozen, hashed, and open to tuning."""

import numpy as np
import pytest
import torch
from torch import nn

from ssltok.data import read_series
from ssltok.metrics import encode, fine_tune_accuracy
from ssltok.pipelines import SSLTokenizer, TokenizerEncoder, encode_series
from tests.pipelines.small import series, small


@pytest.fixture(scope="module", params=[(4,), (2, 4)], ids=["one branch", "two"])
def model(request: pytest.FixtureRequest) -> SSLTokenizer:
    return SSLTokenizer(small(widths=request.param), seed=1).fit(series(), list("ab") * 5)


# Oracle.


def test_features_are_those_of_transform_shorter_series_too(model: SSLTokenizer) -> None:
    encoder = TokenizerEncoder(model.artifact_.tokenizer)
    for x in (series(7, seed=2), series(7, seed=2)[..., :20]):
        features = encode(encoder, torch.from_numpy(x))
        np.testing.assert_allclose(features.numpy(), model.transform(list(x)), atol=1e-5)


def test_latents_are_what_the_quantizer_reads(model: SSLTokenizer) -> None:
    tokenizer = model.artifact_.tokenizer
    data = read_series(series(3))
    scaled = tokenizer.scale(data.values, data.valid)
    with torch.no_grad():
        parts = zip(tokenizer.parts, tokenizer.bands(scaled), strict=True)
        expected = torch.cat([part.encoder(band).mean((2, 3)) for part, band in parts], dim=1)
    features = encode(TokenizerEncoder(tokenizer, quantized=False), data.values)
    torch.testing.assert_close(features, expected)


# Laws.


def test_training_goes_on_without_it_and_modes_do_not_reach_it(model: SSLTokenizer) -> None:
    tokenizer = model.artifact_.tokenizer
    encoder, x = TokenizerEncoder(tokenizer), torch.from_numpy(series(4))
    digest, features = encoder.digest(), encoder(x)
    nn.Sequential(encoder).train()
    assert not any(part.training for part in encoder.modules())
    assert torch.equal(encoder(x), features)
    assert encoder.digest() == digest == TokenizerEncoder(tokenizer).digest()
    latents = TokenizerEncoder(tokenizer, quantized=False)
    assert latents.digest() != digest
    latents.load_state_dict(encoder.state_dict())
    assert latents.digest() == digest
    assert torch.equal(latents(x), features)
    eighths = TokenizerEncoder(tokenizer, stretches=8)
    assert eighths.digest() not in {digest, TokenizerEncoder(tokenizer, stretches=4).digest()}
    latents.load_state_dict(eighths.state_dict())
    assert torch.equal(latents(x), eighths(x))
    own = tokenizer.parts[0].quantizer.codebook
    with torch.no_grad():
        own.add_(1)
        assert torch.equal(encoder(x), features)
        assert TokenizerEncoder(tokenizer).digest() != digest
        own.sub_(1)


def test_latents_can_be_tuned_and_the_original_stays(model: SSLTokenizer) -> None:
    tokenizer = model.artifact_.tokenizer
    encoder = TokenizerEncoder(tokenizer, quantized=False)
    digest, x, y = encoder.digest(), torch.from_numpy(series(12)), torch.arange(12) % 2
    scores = fine_tune_accuracy(
        encoder, x, y, x, y, steps=2, repeats=1, generator=torch.Generator().manual_seed(0)
    )
    assert scores.shape == (1,)
    assert encoder.digest() == digest
    encoder.requires_grad_(requires_grad=True)
    encoder(x).square().sum().backward()
    grads = [p.grad for p in encoder.tokenizer.parts[0].encoder.parameters()]
    assert any(g is not None and bool(g.abs().sum() > 0) for g in grads)


def test_modes_come_back_after_an_error(model: SSLTokenizer) -> None:
    tokenizer = model.artifact_.tokenizer.train()
    data = read_series(series(3))
    with pytest.raises((ValueError, RuntimeError)):
        encode_series(tokenizer, data._replace(values=data.values.expand(-1, 5, -1)))
    assert all(part.training for part in tokenizer.modules())
    tokenizer.eval()


# Complaints.


def test_refuses(model: SSLTokenizer) -> None:
    encoder = TokenizerEncoder(model.artifact_.tokenizer)
    said = r"^TokenizerEncoder: series must have 1 channels and a length in \[1, 33\]; got shape"
    for shape in ((2, 2, 33), (2, 1, 34)):
        with pytest.raises(ValueError, match=said):
            encoder(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"^TokenizerEncoder: series must be \(batch, channels, l"):
        encoder(torch.zeros(2, 33))


def test_a_codebook_larger_than_its_vectors_is_said_aloud() -> None:
    said = r"^fit: k-means needs a vector for each code; got \d+ for 500 codes"
    with pytest.warns(UserWarning, match=said):
        SSLTokenizer(small(steps=1, codebook_size=500)).fit(series(2))
