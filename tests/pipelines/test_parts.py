"""Parts that are passed: what is built, refused, copied, described, searched and handed over."""

import pathlib
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import Tensor, nn

from ssltok._shared.storage import ArtifactError
from ssltok.augment import compose, gaussian_noise, shift
from ssltok.data import label_index, read_series
from ssltok.decoding import confidence_order, random_order
from ssltok.nn import SpectrogramDecoder, SpectrogramEncoder
from ssltok.pipelines import (
    Branch,
    Parts,
    SSLTokenizer,
    Tokenizer,
    TokenizerConfig,
    build_tokenizer,
    fit,
    resolve_preset,
)
from ssltok.quantizers import (
    FSQ,
    EMAVectorQuantizer,
    ProjectedQuantizer,
    Quantized,
    ResidualQuantizer,
    VectorQuantizer,
)
from ssltok.signal import STFTBands, Waveform
from ssltok.training import VICReg
from tests.pipelines.small import series, small

X = series(10)


class Tanh(nn.Module):
    """Someone else's quantizer: three values a channel, with a scale that learns by its vectors."""

    channel_dim, code_shape, codes_per_token, learns_by_vectors, idle = -1, (), 1, True, True
    powers: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim, self.codebook_size, self.codebook_sizes = dim, 3**dim, (3**dim,)
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("powers", 3 ** torch.arange(dim))

    @property
    def codebook(self) -> Tensor:
        return self.decode(torch.arange(self.codebook_size))

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        codes = self.encode(latents, valid)
        vectors = self.decode(codes)
        return Quantized(latents - latents.detach() + vectors, codes, latents.new_zeros(()))

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        digits = latents.tanh().round().long() + 1
        codes = (digits * self.powers).sum(dim=-1)
        return codes if valid is None else codes.masked_fill(~valid, -1)

    def decode(self, codes: Tensor) -> Tensor:
        digits = codes.clamp(min=0)[..., None] // self.powers % 3
        return self.scale * (digits - 1.0) * (codes >= 0)[..., None]

    def update(self, latents: Tensor, codes: Tensor) -> None: ...

    def initialize(
        self, latents: Tensor, valid: Tensor | None = None, **options: object
    ) -> None: ...

    def revive(self, latents: Tensor, codes: Tensor, **options: object) -> tuple[Tensor, ...]:
        return ()


def test_every_part_by_keyword_counts(tmp_path: pathlib.Path) -> None:
    model = SSLTokenizer(
        small(),
        bands=partial(STFTBands, n_fft=4, edges=(1,)),
        encoder=partial(SpectrogramEncoder, blocks=0),
        decoder=partial(SpectrogramDecoder, blocks=0),
        quantizer=partial(FSQ, [3, 3]),
        objective=partial(VICReg, projector_dim=6),
        augment=compose(shift, gaussian_noise),
        order=partial(confidence_order, temperature=1.0),
    ).fit(X, list("ab" * 5))
    tokenizer = model.artifact_.tokenizer
    assert len(tokenizer.parts) == 2
    assert [type(b.quantizer) for b in tokenizer.parts] == [ProjectedQuantizer] * 2
    assert tokenizer.codebook_size == 9
    model.save(tmp_path / "m")
    again = SSLTokenizer.load(tmp_path / "m")
    np.testing.assert_array_equal(again.encode(X), model.encode(X))
    np.testing.assert_array_equal(again.sample(2, "b"), model.sample(2, "b"))


def test_fit_trains_copies(tmp_path: pathlib.Path) -> None:
    encoder = SpectrogramEncoder(2, 8, bins=5, frames=17, width=4, blocks=0)
    quantizer = EMAVectorQuantizer(8, 6, channel_dim=1)
    decoder = SpectrogramDecoder(2, 8, bins=5, frames=17, width=4, blocks=0)
    branch = Branch(encoder, quantizer, decoder)
    before = {k: v.clone() for k, v in branch.state_dict().items()}
    labels, _ = label_index(None, 10)
    fitted = fit(read_series(X), labels, small(), classes=0, parts=Parts(branches=[branch]))
    assert all(torch.equal(v, before[k]) for k, v in branch.state_dict().items())
    assert fitted.tokenizer.parts[0] is not branch
    SSLTokenizer(small(), encoder=encoder, quantizer=quantizer, decoder=decoder).fit(X)
    assert all(torch.equal(v, before[k]) for k, v in branch.state_dict().items())


def test_a_foreign_part_is_named_and_handed_over(tmp_path: pathlib.Path) -> None:
    model = SSLTokenizer(small(dim=4), quantizer=Tanh(4)).fit(X)
    model.save(tmp_path / "m")
    place = "tokenizer.branches.0.quantizer"
    with pytest.raises(ArtifactError, match=rf"Tanh at '{place}' is no part of ssltok and must be"):
        SSLTokenizer.load(tmp_path / "m")
    again = SSLTokenizer.load(tmp_path / "m", parts={place: Tanh(4)})
    np.testing.assert_array_equal(again.encode(X), model.encode(X))
    with pytest.raises(ArtifactError, match=r"that the description asks for; got .*tokenizer.x"):
        SSLTokenizer.load(tmp_path / "m", parts={place: Tanh(4), "tokenizer.x": Tanh(4)})


def test_a_foreign_quantizer_that_learns_by_its_vectors_learns() -> None:
    tokenizer = build_tokenizer(
        small(dim=4).tokenizer, channels=1, length=33, parts=Parts(quantizer=Tanh(4))
    )
    branch = tokenizer.parts[0]
    result = branch.quantize(3 * torch.randn(2, 4, *branch.grid))
    result.vectors.square().sum().backward()
    assert float(branch.quantizer.scale.grad) != 0


class Bare(nn.Module):
    dim, channel_dim = 4, -1


class OtherGrid(nn.Module):
    dim, grid = 4, (2,)

    def forward(self, series: Tensor, valid: Tensor | None = None) -> Tensor:
        return series.reshape(-1, 4, 8)


@pytest.mark.parametrize(
    ("parts", "error", "words"),
    [
        (Parts(quantizer=Bare()), TypeError, r"^Branch: quantizer must have .*without code_shape"),
        (Parts(encoder=nn.Identity()), AttributeError, "dim"),
        (
            Parts(bands=Waveform, encoder=OtherGrid(), quantizer=FSQ([3] * 4),
                  decoder=nn.Identity()),
            ValueError,
            r"branch 0: encoder must return latents \(batch, dim, \*grid\) \(1, 4, 2\); got",
        ),
        (Parts(bands=nn.Identity()), TypeError, r"transform must have|has no attribute"),
    ],
)  # fmt: skip
def test_parts_that_break_their_protocol(parts: Parts, error: type[Exception], words: str) -> None:
    with pytest.raises((error, AttributeError), match=words):
        build_tokenizer(small(dim=4).tokenizer, channels=1, length=32, parts=parts)


def test_words_that_do_not_exist_name_near_ones() -> None:
    with pytest.raises(
        ValueError, match=r"quantizer must be one of .*'fsqq' \(did you mean fsq\?\)"
    ):
        TokenizerConfig(quantizer="fsqq")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"ssl must be one of .*; got 'simclr'"):
        TokenizerConfig(ssl="simclr")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got 'nc_vqvea' \(did you mean nc_vqvae\?\)"):
        resolve_preset("x", "nc_vqvea")
    with pytest.raises(ValueError, match=r"codebook_size must be a product .*; got 22 \(near: \["):
        build_tokenizer(TokenizerConfig(quantizer="fsq", codebook_size=22), channels=1, length=32)


def test_levels_of_unequal_size() -> None:
    levels = ResidualQuantizer([VectorQuantizer(8, 7), VectorQuantizer(8, 5)])
    model = SSLTokenizer(small(), quantizer=levels).fit(X)
    codes = model.encode(X)
    assert codes.shape == (10, model.tokens_, 2)
    assert codes[..., 0].max() < 7
    assert codes[..., 1].max() < 5
    drawn = model.generate([None] * 20, seed=1).codes
    assert int(drawn[..., 0].max()) < 7
    assert int(drawn[..., 1].max()) < 5
    assert int(drawn.min()) >= 0
    assert model.artifact_.prior.mask_index == 7


def test_channel_by_channel_is_each_channel_alone() -> None:
    config = small(channelwise=True, ssl="none", coder="conv")
    model = SSLTokenizer(config).fit(series(8, channels=3))
    x = series(4, channels=3, seed=2)
    codes = torch.from_numpy(model.encode(x)).unflatten(1, (3, -1))
    moved = x.copy()
    moved[:, 1] += 2.0
    other = torch.from_numpy(model.encode(moved)).unflatten(1, (3, -1))
    assert torch.equal(codes[:, [0, 2]], other[:, [0, 2]])
    assert not torch.equal(codes[:, 1], other[:, 1])
    assert model.transform(x).shape == (4, 3 * 8)
    assert model.sample(2).shape == (2, 3, 33)


def test_scikit_learn_sees_the_parts() -> None:
    model = SSLTokenizer(small(), quantizer=partial(FSQ, [3, 3]), order=random_order())
    twin = clone(model)
    assert twin.quantizer.func is FSQ
    twin.set_params(preset__tokenizer__dim=4, preset__decoding__steps=2, seed=3)
    assert twin.get_params()["preset__decoding__steps"] == 2
    assert model.get_params()["preset__tokenizer__dim"] == 8
    assert twin.get_params()["preset__tokenizer__dim"] == 4
    with pytest.raises(ValueError, match=r"'preset__tokenizer__dmi' \(did you mean"):
        twin.set_params(preset__tokenizer__dmi=4)
    grid = {"quantizer": [None, partial(FSQ, [3, 3])], "preset__tokenizer__dim": [4]}
    search = GridSearchCV(SSLTokenizer(small(steps=1)), grid, cv=2).fit(X)
    assert search.best_params_["preset__tokenizer__dim"] == 4
    assert np.isfinite(search.best_score_)


def test_a_tokenizer_of_three_bands() -> None:
    transform = STFTBands(33, n_fft=8, hop=2, edges=(1, 3))
    branches = []
    for band in range(3):
        channels, bins, frames = transform.shape(band, 1)
        sizes: dict[str, Any] = {"bins": bins, "frames": frames, "width": 4, "blocks": 0}
        branches.append(
            Branch(
                SpectrogramEncoder(channels, 4, **sizes), FSQ([3] * 4),
                SpectrogramDecoder(channels, 4, **sizes),
            )
        )  # fmt: skip
    tokenizer = Tokenizer(transform, branches, channels=1)
    x = torch.from_numpy(X)
    tokenizer.scaler.fit(x)
    waves = tokenizer.waves(tokenizer.bands(x))
    torch.testing.assert_close(torch.stack(waves).sum(0), x, atol=1e-4, rtol=0)
    labels, _ = label_index(None, 10)
    parts = Parts(bands=transform, branches=branches)
    fitted = fit(read_series(X), labels, small(ssl="none"), classes=0, parts=parts)
    assert len(fitted.prior.sizes) == 3
