"""Act 1: the step against the formula written out, its gradients, and padding."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok.losses import vicreg_loss
from ssltok.nn import average_max_pool
from ssltok.pipelines import (
    TokenFeatures,
    Tokenizer,
    TokenizerBatch,
    TokenizerOutput,
    build_objective,
    build_tokenizer,
    tokenizer_step,
)
from ssltok.training import (
    BarlowTwins,
    ObjectiveBatch,
    ObjectiveOutput,
    VIbCReg,
    VICReg,
)
from tests.pipelines.small import series, small


def build(
    cases: int = 5, *, length: int = 33, channels: int = 2, **options: object
) -> tuple[Tokenizer, TokenizerBatch]:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(small(**options).tokenizer, channels=channels, length=length)  # type: ignore[arg-type]
    values = torch.from_numpy(series(cases, channels=channels, length=length))
    valid = torch.ones_like(values, dtype=torch.bool)
    tokenizer.scaler.fit(values, valid)
    scaled = tokenizer.scale(values, valid)
    view = 1.3 * scaled.flip(0) + 0.1
    return tokenizer, TokenizerBatch(scaled, (view,), valid, torch.full((cases,), length))


def features(tokenizer: Tokenizer) -> TokenFeatures:
    return TokenFeatures(tokenizer, pool=average_max_pool)


def learn(tokenizer: Tokenizer, batch: TokenizerBatch, **options: Any) -> TokenizerOutput:
    """A step that compares the pooled latents themselves by VICReg."""
    objective = VICReg(features(tokenizer), projector=nn.Identity())
    return tokenizer_step(tokenizer, batch, objective=objective, **{"view_weight": 0.1, **options})


@pytest.mark.parametrize("widths", [(4,), (2, 4)])
@pytest.mark.parametrize("quantize_view", [False, True])
def test_the_step_is_the_formula(widths: tuple[int, ...], quantize_view: bool) -> None:
    tokenizer, batch = build(widths=widths)
    out = learn(tokenizer, batch, quantized=(True, quantize_view))

    # The same, a view at a time, with torch's own errors. BatchNorm sees both views together.
    u = tokenizer.bands(torch.cat([batch.series, *batch.views]))
    time, spectrogram, view, quantization = 0.0, 0.0, 0.0, 0.0
    pooled: list[list[Tensor]] = [[], []]
    rebuilt = []
    for branch, target in zip(tokenizer.parts, u, strict=True):
        z, z_view = branch.encoder(target).chunk(2)
        q = branch.quantizer(z)
        other = branch.quantizer(z_view).vectors if quantize_view else z_view
        quantization += q.loss.item()
        rebuilt.append(branch.decoder(torch.cat([q.vectors, other])))
        for side, vectors in enumerate((q.vectors, other)):
            pooled[side].append(torch.cat([vectors.mean((2, 3)), vectors.amax((2, 3))], dim=1))
    for number, (x, y) in enumerate(zip(tokenizer.waves(u), tokenizer.waves(rebuilt), strict=True)):
        error = functional.mse_loss if number == 0 else functional.l1_loss
        for side in (0, 1):
            one = error(y.chunk(2)[side], x.chunk(2)[side])
            two = functional.mse_loss(rebuilt[number].chunk(2)[side], u[number].chunk(2)[side])
            if side == 0:
                time, spectrogram = time + one.item(), spectrogram + two.item()
            else:
                view += one.item() + two.item()
    agreement = vicreg_loss(torch.cat(pooled[0], dim=1), torch.cat(pooled[1], dim=1)).item()

    expected = [time, spectrogram, quantization, view, agreement]
    torch.testing.assert_close(torch.stack(list(out.terms)), torch.tensor(expected))
    weights = torch.tensor([1.0, 1.0, 1.0, 0.1, 1.0])
    torch.testing.assert_close(out.loss, torch.stack(list(out.terms)) @ weights)


@pytest.mark.parametrize("widths", [(4,), (2, 4)])
@pytest.mark.parametrize(
    ("compared", "quantized"),
    [
        ((0, 1), (True, False)), ((0, 1), (True, True)), ((0, 1), (False, False)),
        ((0, 1), (False, True)), ((2, 1), (True, False)), ((2, 1), (False, False)),
        ((1, 2), (True, True)), ((2, 0), (True, False)),
    ],
)  # fmt: skip
def test_what_the_objective_compares_and_which_view_is_rebuilt(
    widths: tuple[int, ...], compared: tuple[int, ...], quantized: tuple[bool, ...]
) -> None:
    tokenizer, batch = build(widths=widths)
    batch = batch._replace(views=(*batch.views, 0.5 * batch.series.roll(3, 2) - 0.2))
    tokenizer.eval()  # so that an input alone has the latents that it has among the others
    seen: list[Tensor] = []

    class Sees(VICReg):
        def forward(self, encoder: Any, batch: ObjectiveBatch) -> ObjectiveOutput:
            assert batch.features is not None
            seen.extend(batch.features)
            return super().forward(encoder, batch)

    shown: list[Tensor] = []
    for branch in tokenizer.parts:
        branch.decoder.register_forward_hook(lambda _, given, __: shown.append(given[0]))
    objective = Sees(features(tokenizer), projector=nn.Identity())
    tokenizer_step(
        tokenizer, batch, objective=objective, view_weight=0.1, compared=compared,
        quantized=quantized,
    )  # fmt: skip

    inputs = (batch.series, *batch.views)

    def vectors(number: int, *, through_codes: bool) -> list[Tensor]:
        latents = [
            branch.encoder(band)
            for branch, band in zip(tokenizer.parts, tokenizer.bands(inputs[number]), strict=True)
        ]
        if not through_codes:
            return latents
        pairs = zip(tokenizer.parts, latents, strict=True)
        return [branch.quantizer(part).vectors for branch, part in pairs]

    for got, number, through_codes in zip(seen, compared, quantized, strict=True):
        parts = vectors(number, through_codes=through_codes)
        pooled = [torch.cat([part.mean((2, 3)), part.amax((2, 3))], dim=1) for part in parts]
        torch.testing.assert_close(got, torch.cat(pooled, dim=1))
    own = vectors(0, through_codes=True)
    view = vectors(1, through_codes=1 in compared and quantized[compared.index(1)])
    for got, *pair in zip(shown, own, view, strict=True):
        torch.testing.assert_close(got, torch.cat(pair))


def test_the_weights_count() -> None:
    tokenizer, batch = build()
    out = learn(tokenizer, batch, objective_weight=3.0, view_weight=0.7)
    weights = torch.tensor([1.0, 1.0, 1.0, 0.7, 3.0])
    torch.testing.assert_close(out.loss, torch.stack(list(out.terms)) @ weights)


def test_the_ssl_gradient_reaches_both_views_and_the_projector_and_nothing_else() -> None:
    tokenizer, batch = build()
    objective = BarlowTwins(features(tokenizer), projector_dim=12)
    series_leaf, view_leaf = (x.clone().requires_grad_() for x in (batch.series, *batch.views))
    out = tokenizer_step(
        tokenizer, batch._replace(series=series_leaf, views=(view_leaf,)), objective=objective
    )
    out.terms.agreement.backward()
    for leaf in (series_leaf, view_leaf):
        assert leaf.grad is not None
        assert bool(leaf.grad.abs().sum() > 0)
    for name, parameter in tokenizer.named_parameters():
        touched = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        if "decoder" in name:
            assert parameter.grad is None, name
        elif name.endswith("weight") and parameter.ndim == 4:
            assert touched, name
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None, name


def test_the_naive_arm_has_no_view() -> None:
    tokenizer, batch = build()
    out = tokenizer_step(tokenizer, batch._replace(views=()), view_weight=0.1)
    assert out.terms.view.item() == out.terms.agreement.item() == 0.0
    assert bool(out.loss.isfinite())


def test_a_view_of_no_weight_is_not_rebuilt() -> None:
    tokenizer, batch = build(widths=(2, 4))
    seen = []
    for branch in tokenizer.parts:
        branch.decoder.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    out = learn(tokenizer, batch, view_weight=0.0)
    assert seen == [5, 5]
    assert out.terms.view.item() == 0.0 < out.terms.agreement.item()
    # A step in evaluation mode is the same as with the view: no statistics run over both.
    tokenizer.eval()
    alone = learn(tokenizer, batch, view_weight=0.0).terms
    both = learn(tokenizer, batch, view_weight=0.7).terms
    assert both.view.item() > 0
    torch.testing.assert_close(alone, both._replace(view=alone.view))


def test_the_step_reads_and_update_writes() -> None:
    tokenizer, batch = build()
    branch = tokenizer.parts[0]
    before = branch.quantizer.codebook.clone()
    out = learn(tokenizer, batch)
    assert torch.equal(before, branch.quantizer.codebook)
    branch.update(out.latents[0], out.codes[0])
    assert not torch.equal(before, branch.quantizer.codebook)


def test_what_is_not_real_changes_no_loss() -> None:
    tokenizer, batch = build(cases=4, length=40)
    tokenizer.eval()
    valid = batch.valid.clone()
    valid[1, :, 25:] = False
    valid[2, 0, 7] = False
    lengths = torch.tensor([40, 25, 40, 40])
    batch = batch._replace(valid=valid, lengths=lengths, views=(), padded=True)
    errors = tokenizer_step(tokenizer, batch).terms
    u = tokenizer.bands(batch.series)
    frames = torch.arange(u[0].shape[-1]) * 40 / u[0].shape[-1] < lengths[:, None]
    rebuilt = [
        b.decoder(b.quantizer(b.encoder(t, frames), real).vectors, real[:, 0])
        for b, t, real in zip(tokenizer.parts, u, tokenizer.token_valid(lengths), strict=True)
    ]
    error = (tokenizer.waves(rebuilt)[0] - batch.series).square()
    torch.testing.assert_close(errors.time, error[valid].mean())


def test_padding_has_no_tokens() -> None:
    tokenizer, batch = build(cases=3, length=64)
    tokenizer.eval()
    freq, frames = tokenizer.grids[0]
    lengths = torch.tensor([64, 33, 1])
    codes = tokenizer.encode(batch.series, lengths).reshape(3, freq, frames)
    begins = [64 * frame / frames for frame in range(frames)]
    for row, length in zip(codes, lengths.tolist(), strict=True):
        real = torch.tensor([begin < length for begin in begins])
        assert torch.equal(row >= 0, real.expand(freq, -1))


@pytest.mark.parametrize("widths", [(4,), (2, 4)])
def test_encode_decode_shapes_and_bands_add_up(widths: tuple[int, ...]) -> None:
    tokenizer, batch = build(widths=widths, length=37)
    tokenizer.eval()
    with torch.no_grad():
        codes = tokenizer.encode(batch.series, batch.lengths)
        assert codes.shape == (5, sum(tokenizer.sizes))
        assert tokenizer.decode(codes).shape == batch.series.shape
        waves = tokenizer.waves(tokenizer.bands(batch.series))
    torch.testing.assert_close(torch.stack(waves).sum(0), batch.series, atol=1e-5, rtol=0)


def test_the_vibcreg_projector_whitens_in_groups_that_fit_the_batch() -> None:
    config = small(ssl="vibcreg", projector_dim=96).tokenizer
    tokenizer, _ = build()
    objective = build_objective(config, features(tokenizer), batch=20)
    assert isinstance(objective, VIbCReg)
    assert objective.group_size == 16
    assert objective.covariance_weight == 100


@pytest.mark.parametrize("word", ["spectrogram", "snake", "conv", "patch", "transformer"])
@pytest.mark.parametrize("channelwise", [False, True])
def test_padding_reaches_no_code_and_no_loss(word: str, channelwise: bool) -> None:
    """What stands beyond a series' end, whatever it is, changes nothing before it.

    The last frame whose share of the time axis begins before the end has its middle less than a hop
    beyond it, and reads `margin` samples around that.
    """
    tokenizer, batch = build(cases=4, length=40, coder=word, channelwise=channelwise)
    tokenizer.eval()
    lengths = torch.tensor([40, 20, 33, 9])
    times = torch.arange(40)
    within = (times < lengths[:, None])[:, None].expand(-1, 2, -1)
    reach = tokenizer.transform.margin + 2 if word in ("spectrogram", "snake") else 0
    near = (times < lengths[:, None] + reach)[:, None]
    outs = []
    for values in (batch.series, torch.where(near, batch.series, 1e3)):
        out = tokenizer_step(tokenizer, TokenizerBatch(values, (), within, lengths, True))
        outs.append((tokenizer.encode(values, lengths), out.terms))
    assert torch.equal(outs[0][0], outs[1][0])
    torch.testing.assert_close(outs[0][1], outs[1][1])
    wild = torch.where(near, batch.series, 1e3)
    assert not torch.equal(tokenizer.bands(wild)[0], tokenizer.bands(batch.series)[0])
