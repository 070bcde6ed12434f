"""What ablations replace: with the defaults it is the library's, and each change does its own."""

import functools
import math
from typing import Any

import pytest
import torch
from benchmarks.studies.ssl_tokens.arms import Parts, build_arm
from benchmarks.studies.ssl_tokens.cell import tokenizer_figures
from benchmarks.studies.ssl_tokens.data import Split, make_split
from benchmarks.studies.ssl_tokens.parts import (
    build_prior,
    replace_prior_step,
    study_step,
)
from benchmarks.studies.ssl_tokens.sampling import (
    decode_tokens_in_order,
    draw_series,
    trace_decoding,
)
from benchmarks.studies.ssl_tokens.tokens import SummedCodes, replace_quantizers
from benchmarks.studies.ssl_tokens.train import Trained, train_arm
from torch import Tensor

from ssltok.losses import barlow_twins_loss
from ssltok.pipelines import (
    Prior,
    PriorBatch,
    Tokenizer,
    TokenizerBatch,
    TokenizerConfig,
    prior_step,
    tokenizer_step,
)
from ssltok.training._engine import Stage
from tests.benchmarks.small import BARLOW, toy
from tests.pipelines.small import series, small


def tokenizer_and_batch(**changes: Any) -> tuple[Tokenizer, TokenizerBatch]:
    torch.manual_seed(1)
    tokenizer = Tokenizer(small(**changes).tokenizer, channels=1, length=33)
    x = torch.from_numpy(series(6)) - 5
    view = torch.from_numpy(series(6, seed=3)) - 5
    batch = TokenizerBatch(x, view, torch.ones_like(x, dtype=torch.bool), torch.full((6,), 33))
    return tokenizer, batch


@pytest.mark.parametrize("quantize_view", [False, True])
def test_the_step_is_the_librarys_by_default(quantize_view: bool) -> None:
    tokenizer, batch = tokenizer_and_batch(widths=(4, 8), quantize_view=quantize_view)
    options: dict[str, Any] = {"projector": None, "ssl_loss": barlow_twins_loss}
    want = tokenizer_step(tokenizer, batch, **options)
    got = study_step(tokenizer, batch, **options)
    assert got.loss == want.loss
    assert got.terms == want.terms
    assert all(torch.equal(a, b) for a, b in zip(got.codes, want.codes, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(got.latents, want.latents, strict=True))


def test_what_the_ssl_loss_compares() -> None:
    tokenizer, batch = tokenizer_and_batch()
    tokenizer.eval()  # so that running statistics make each view's latents its own
    seen: list[tuple[Tensor, Tensor]] = []

    def keep(a: Tensor, b: Tensor) -> Tensor:
        seen.append((a, b))
        return a.sum() * 0

    second = batch.series.flip(2)
    for attach, more in (("config", None), ("quantized", None), ("continuous", None),
                         ("config", second), ("continuous", second)):  # fmt: skip
        study_step(tokenizer, batch, projector=None, ssl_loss=keep, attach=attach, second=more)
    branch = tokenizer.parts[0]

    def pooled(x: Tensor, *, quantized: bool) -> Tensor:
        latents = branch.encoder(tokenizer.bands(x)[0])
        if quantized:
            latents = branch.quantizer(latents).vectors
        return torch.cat([latents.mean((2, 3)), latents.amax((2, 3))], 1)

    x, view = batch.series, batch.view
    want = [
        (pooled(x, quantized=True), pooled(view, quantized=False)),
        (pooled(x, quantized=True), pooled(view, quantized=True)),
        (pooled(x, quantized=False), pooled(view, quantized=False)),
        (pooled(second, quantized=True), pooled(view, quantized=False)),
        (pooled(second, quantized=False), pooled(view, quantized=False)),
    ]
    for got, pair in zip(seen, want, strict=True):
        torch.testing.assert_close(got[0], pair[0])
        torch.testing.assert_close(got[1], pair[1])
    assert not torch.allclose(want[0][0], want[2][0], atol=1e-3)


def prior_and_batch(parts: Parts = Parts()) -> tuple[Prior, PriorBatch]:  # noqa: B008
    tokenizer, _ = tokenizer_and_batch(widths=(4, 8))
    torch.manual_seed(2)
    prior = build_prior(parts, small().prior, tokenizer, classes=2)
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(6, (7, sum(prior.sizes)), generator=generator)
    masks = torch.rand(codes.shape, generator=generator) < 0.5
    return prior, PriorBatch(codes, masks, torch.arange(7) % 3 - 1)


def test_the_loss_on_all_tokens() -> None:
    prior, batch = prior_and_batch()
    stage = Stage("prior", torch.nn.Identity(), lambda step, rows: batch, lambda s, r: None, None)
    model = replace_prior_step(Parts(paid="all"), stage, prior, 0).model
    got = model(batch).loss
    want = 0.0
    first = prior.sizes[0]
    for number, rows in enumerate((slice(0, first), slice(first, None))):
        codes, masks = batch.codes[:, rows], batch.masks[:, rows]
        context = prior.context(batch.codes[:, :first]) if number else None
        everywhere = torch.ones_like(masks)
        hidden = codes.masked_fill(masks, 6)
        logits = prior.logits_of(number, batch.labels, context)(hidden, everywhere)
        picked = logits.log_softmax(1)[torch.arange(codes.numel()), codes.flatten()]
        want -= float(picked.detach().mean())
    assert float(got.detach()) == pytest.approx(want, rel=1e-5)
    everything = batch._replace(masks=torch.ones_like(batch.masks))
    both = model(everything).loss, prior_step(prior, everything).loss
    torch.testing.assert_close(*both)
    assert replace_prior_step(Parts(), stage, prior, 0) is stage


def test_inverted_masks_hide_what_should_be_seen() -> None:
    prior, batch = prior_and_batch()
    many = batch.take(torch.zeros(4000, dtype=torch.int64))
    stage = Stage("prior", torch.nn.Identity(), lambda step, rows: many, lambda s, r: None, None)
    masks = replace_prior_step(Parts(mask="inverted"), stage, prior, 5).draw(0, slice(None)).masks
    low, high = masks.double().split(list(prior.sizes), dim=1)
    # E[1 - cos(pi r / 2)] = 1 - 2 / pi, and half a token more from rounding up.
    for part in (low, high):
        assert float(part.mean()) == pytest.approx(1 - 2 / math.pi + 0.5 / part.shape[1], abs=0.02)


def test_heads_and_starts_of_the_prior() -> None:
    plain, _ = prior_and_batch()
    noise, _ = prior_and_batch(Parts(start="noise"))
    tied, batch = prior_and_batch(Parts(tied=True))
    tokenizer, _ = tokenizer_and_batch(widths=(4, 8))
    book = tokenizer.parts[0].quantizer.codebook
    assert torch.equal(plain.transformer(0).embedding.table.weight[:-1], book)
    assert not torch.allclose(noise.transformer(0).embedding.table.weight[:-1], book)
    assert tied.transformer(1).head_weight is None
    assert plain.transformer(1).head_weight is not None
    assert torch.isfinite(prior_step(tied, batch).loss)


def test_a_sum_of_two_codes_is_one_code() -> None:
    config = TokenizerConfig(dim=4, codebook_size=9, decay=0.5)
    quantizer = SummedCodes(config)
    latents = torch.randn(5, 4, 2, 6, generator=torch.Generator().manual_seed(0))
    quantizer.initialize(latents, generator=torch.Generator().manual_seed(1))
    valid = torch.ones(5, 2, 6, dtype=torch.bool)
    valid[0, :, 3:] = False
    vectors, codes, _ = quantizer(latents, valid)
    assert torch.equal(codes, quantizer.encode(latents, valid))
    assert torch.equal(codes < 0, ~valid)
    assert 3 < int(codes.max()) < 9
    torch.testing.assert_close(quantizer.decode(codes), vectors.detach())
    rows = quantizer.codebook[codes[valid]]
    torch.testing.assert_close(vectors.detach().movedim(1, -1)[valid], rows)
    before = quantizer.codebook.clone()
    quantizer.update(latents, codes)
    assert not torch.equal(quantizer.codebook, before)
    with pytest.raises(ValueError, match="codebook_size must be a square; got 8"):
        SummedCodes(TokenizerConfig(codebook_size=8))


def test_fsq_has_its_sizes() -> None:
    tokenizer = Tokenizer(TokenizerConfig(dim=6, codebook_size=64, blocks=0), channels=1, length=33)
    replace_quantizers(tokenizer, "fsq")
    assert tokenizer.parts[0].quantizer.codebook.shape == (64, 6)
    config = TokenizerConfig(dim=6, codebook_size=48, blocks=0)
    with pytest.raises(ValueError, match=r"fsq needs one of .* codes; got 48"):
        replace_quantizers(Tokenizer(config, channels=1, length=33), "fsq")


@functools.cache
def trained(name: str) -> tuple[Any, Split, Trained]:
    arm = build_arm(name, size="tiny")
    split = make_split("toy", toy(), kind="test", seed=0, most_test=10)
    return arm, split, train_arm(arm, split, steps=(2, 2), seed=4)


@pytest.mark.parametrize(
    "change",
    [
        "mask=inverted", "paid=all", "head=tied", "start=noise", "views=2", "attach=continuous",
        "quantizer=fsq,codes=64", "quantizer=residual,codes=64", "quantizer=gradient", "codes=16",
    ],
)  # fmt: skip
def test_every_change_trains_and_changes_something(change: str) -> None:
    _, split, plain = trained("two+barlow_twins+warp")
    arm, _, other = trained(f"two+barlow_twins+warp:{change}")
    figures = tokenizer_figures(other.tokenizer, split)
    assert all(math.isfinite(v) for v in figures.values())
    states = [{**t.tokenizer.state_dict(), **t.prior.state_dict()} for t in (plain, other)]
    assert states[0].keys() != states[1].keys() or any(
        states[0][k].shape != v.shape or not torch.equal(states[0][k], v)
        for k, v in states[1].items()
    )
    made = draw_series(
        arm, other, labels=torch.tensor([0, 1]), lengths=torch.tensor([33, 33]),
        generator=torch.Generator(),
    )  # fmt: skip
    assert made.series.isfinite().all()


def test_other_losses() -> None:
    arm, _, other = trained("one+nt_xent+gauss")
    _, _, plain = trained("one+barlow_twins+gauss")
    assert arm.parts.ssl_loss == "nt_xent"
    weights = [
        t.tokenizer.state_dict()["branches.0.encoder.layers.0.weight"] for t in (plain, other)
    ]
    assert not torch.equal(*weights)


def test_orders_of_decoding() -> None:
    arm, _, model = trained("two")
    labels, lengths = torch.arange(5) % 2, torch.full((5,), 33)

    def draw(name: str) -> Tensor:
        generator = torch.Generator().manual_seed(3)
        recipe = build_arm(name, size="tiny")
        assert recipe.training == "two"
        return draw_series(recipe, model, labels=labels, lengths=lengths, generator=generator).codes

    plain = draw("two:guidance=2")
    same = decode_tokens_in_order(
        model.prior, torch.full(plain.shape, model.prior.mask_index), labels=labels,
        decoding=build_arm("two:guidance=2").config.decoding, order="confidence",
        grids=model.tokenizer.grids, generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    assert torch.equal(same, plain)
    others = [draw(f"two:guidance=2,order={order}") for order in ("random", "halton")]
    assert all(o.shape == plain.shape and not torch.equal(o, plain) for o in others)
    trace = trace_decoding(arm, model, labels=labels, lengths=lengths, seed=0)
    assert trace["hidden"][-1] == 0.0
    assert len(trace["tokens"]) == len(trace["hidden"]) == len(trace["confidence"])
    assert trace["hidden"] == sorted(trace["hidden"], reverse=True)


def test_arms_that_only_draw_otherwise_share_their_training() -> None:
    assert build_arm(f"{BARLOW}:guidance=2,order=halton").training == BARLOW
    assert build_arm(f"{BARLOW}:codes=64,decoding.steps=4").training == f"{BARLOW}:codes=64"
