"""What ablations replace: each change is a part or a field, and does its own."""

import functools
import math

import pytest
import torch
from benchmarks.studies.ssl_tokens.arms import Arm, build_arm
from benchmarks.studies.ssl_tokens.cell import tokenizer_figures
from benchmarks.studies.ssl_tokens.data import Split, make_split
from benchmarks.studies.ssl_tokens.joined import JoinedCodes
from benchmarks.studies.ssl_tokens.parts import inverted_mask, projected_fsq, with_quantizers
from benchmarks.studies.ssl_tokens.sampling import draw_series, trace_decoding
from benchmarks.studies.ssl_tokens.train import (
    Trained,
    build_stage_one,
    build_stage_two,
    train_arm,
    with_other_masks,
)
from torch import Tensor

from ssltok.pipelines import (
    Prior,
    PriorBatch,
    TokenizerConfig,
    build_tokenizer,
    prior_step,
)
from ssltok.quantizers import Quantizer
from ssltok.training import NTXent, Stage, keyed_generator
from tests.benchmarks.small import BARLOW, toy


def split_of_toy() -> Split:
    return make_split("toy", toy(), kind="test", seed=0, most_test=10)


@pytest.mark.parametrize(
    ("name", "compared", "quantized"),
    [
        (BARLOW, (0, 1), (True, False)),
        (f"{BARLOW}:attach=quantized", (0, 1), (True, True)),
        (f"{BARLOW}:attach=continuous", (0, 1), (False, False)),
        (f"{BARLOW}:views=2", (2, 1), (True, False)),
        (f"{BARLOW}:attach=continuous,views=2", (2, 1), (False, False)),
        (f"{BARLOW}:tokenizer.quantize_view=True,views=2", (2, 1), (True, True)),
        (f"{BARLOW}:views=2,views=1", (0, 1), (True, False)),
    ],
)
def test_what_the_ssl_loss_compares(
    name: str, compared: tuple[int, ...], quantized: tuple[bool, ...]
) -> None:
    model = build_stage_one(build_arm(name, size="tiny"), split_of_toy().train, seed=1)
    assert model.comparison.compared == compared
    assert model.comparison.quantized == quantized


def test_an_ablation_of_the_ssl_loss_needs_one() -> None:
    for change in ("attach=continuous", "views=2"):
        with pytest.raises(ValueError, match="as many views as the objective wants"):
            build_stage_one(build_arm(f"one:{change}", size="tiny"), split_of_toy().train, seed=1)


def prior_and_batch(name: str = "two") -> tuple[Prior, PriorBatch]:
    arm = build_arm(name, size="tiny")
    tokenizer = build_stage_one(arm, split_of_toy().train, seed=1).tokenizer
    prior = build_stage_two(arm, tokenizer, classes=2, seed=1)
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(8, (7, sum(prior.sizes)), generator=generator)
    masks = torch.rand(codes.shape, generator=generator) < 0.5
    return prior, PriorBatch(codes, masks, torch.arange(7) % 3 - 1)


def test_the_loss_on_all_tokens() -> None:
    assert build_arm("one:paid=all").parts.everywhere
    prior, batch = prior_and_batch()
    got = prior_step(prior, batch, everywhere=True).loss
    want = 0.0
    first = prior.sizes[0]
    for number, rows in enumerate((slice(0, first), slice(first, None))):
        codes, masks = batch.codes[:, rows], batch.masks[:, rows]
        context = prior.context(batch.codes[:, :first]) if number else None
        everywhere = torch.ones_like(masks)
        hidden = codes.masked_fill(masks, 8)
        logits = prior.logits_of(number, batch.labels, context)(hidden, everywhere)
        picked = logits.log_softmax(1)[torch.arange(codes.numel()), codes.flatten()]
        want -= float(picked.detach().mean())
    assert float(got.detach()) == pytest.approx(want, rel=1e-5)


def test_inverted_masks_hide_what_should_be_seen() -> None:
    assert build_arm("one:mask=inverted").parts.mask is inverted_mask
    prior, batch = prior_and_batch()
    many = batch.take(torch.zeros(4000, dtype=torch.int64))
    stage = Stage("prior", torch.nn.Identity(), lambda step, rows: many, lambda s, r: None, None)
    drawn = with_other_masks(stage, inverted_mask, prior, seed=5).draw(0, slice(None))
    assert torch.equal(drawn.codes, many.codes)
    low, high = drawn.masks.double().split(list(prior.sizes), dim=1)
    # E[1 - cos(pi r / 2)] = 1 - 2 / pi, and half a token more from rounding up.
    for part in (low, high):
        assert float(part.mean()) == pytest.approx(1 - 2 / math.pi + 0.5 / part.shape[1], abs=0.02)
    valid = torch.ones(low.shape, dtype=torch.bool)
    generator = keyed_generator(5, "inverted mask", 0)
    first = inverted_mask((4000, low.shape[1]), valid=valid, generator=generator)
    assert torch.equal(first, low.bool())


def test_heads_and_starts_of_the_prior() -> None:
    plain, _ = prior_and_batch()
    noise, _ = prior_and_batch("two:start=noise")
    tied, batch = prior_and_batch("two:head=tied")
    arm = build_arm("two", size="tiny")
    tokenizer = build_stage_one(arm, split_of_toy().train, seed=1).tokenizer
    book = tokenizer.parts[0].quantizer.codebook
    assert torch.equal(plain.transformer(0).embedding.table.weight[:-1], book)
    assert not torch.allclose(noise.transformer(0).embedding.table.weight[:-1], book)
    assert tied.transformer(1).head_weight is None
    assert plain.transformer(1).head_weight is not None
    assert torch.equal(tied.transformer(0).embedding.table.weight[:-1], book)
    assert torch.isfinite(prior_step(tied, batch).loss)


def test_a_sum_of_two_codes_is_one_code() -> None:
    quantizer = JoinedCodes(4, 9, decay=0.5)
    assert isinstance(quantizer, Quantizer)
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
    assert quantizer.revive(latents, codes, share=0.9) == ()
    with pytest.raises(ValueError, match="codebook_size must be a square; got 8"):
        JoinedCodes(4, 8)


def test_quantizers_of_another_kind_take_the_branches_places() -> None:
    config = TokenizerConfig(dim=6, codebook_size=64, blocks=0, widths=(4, 8))
    plain = build_tokenizer(config, channels=1, length=33)
    other = with_quantizers(plain, [projected_fsq(config) for _ in plain.parts])
    assert [b.quantizer.codebook.shape for b in other.parts] == [(64, 6), (64, 6)]
    assert other.sizes == plain.sizes
    assert all(
        a.encoder is b.encoder and a.decoder is b.decoder
        for a, b in zip(plain.parts, other.parts, strict=True)
    )
    with pytest.raises(ValueError, match=r"fsq needs one of .* codes; got 48"):
        projected_fsq(TokenizerConfig(codebook_size=48))


@functools.cache
def trained(name: str) -> tuple[Arm, Split, Trained]:
    arm = build_arm(name, size="tiny")
    split = split_of_toy()
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
    model = build_stage_one(arm, split_of_toy().train, seed=1)
    assert isinstance(model.objective, NTXent)
    with torch.no_grad():
        assert model.objective.projector(torch.zeros(2, 16)).shape == (2, 16)
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
    others = [draw(f"two:guidance=2,order={order}") for order in ("random", "halton")]
    assert all(o.shape == plain.shape and not torch.equal(o, plain) for o in others)
    assert torch.equal(draw("two:guidance=2,order=confidence"), plain)
    assert not torch.equal(draw("two"), plain)
    trace = trace_decoding(arm, model, labels=labels, lengths=lengths, seed=0)
    assert trace["hidden"][-1] == 0.0
    assert len(trace["tokens"]) == len(trace["hidden"]) == len(trace["confidence"])
    assert trace["hidden"] == sorted(trace["hidden"], reverse=True)


def test_arms_that_only_draw_otherwise_share_their_training() -> None:
    assert build_arm(f"{BARLOW}:guidance=2,order=halton").training == BARLOW
    assert build_arm(f"{BARLOW}:codes=64,decoding.steps=4").training == f"{BARLOW}:codes=64"
