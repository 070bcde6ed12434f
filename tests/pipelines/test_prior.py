"""Acts 2 and 3: the loss on masked tokens alone, and decoding that keeps what is known."""

import pytest
import torch
from torch.nn import functional

from ssltok.pipelines import (
    DecodingConfig,
    Prior,
    PriorBatch,
    Tokenizer,
    build_decoding,
    build_prior,
    build_tokenizer,
    decode_tokens,
    generate,
    prior_step,
)
from ssltok.training import keyed_generator
from tests.pipelines.small import small


def build(widths: tuple[int, ...] = (4,), classes: int = 3) -> tuple[Tokenizer, Prior]:
    torch.manual_seed(0)
    config = small(widths=widths)
    tokenizer = build_tokenizer(config.tokenizer, channels=1, length=33)
    prior = build_prior(config.prior, tokenizer, classes=classes)
    return tokenizer, prior


def batch(prior: Prior, cases: int = 4) -> PriorBatch:
    generator = keyed_generator(0, "batch")
    shape = (cases, sum(prior.sizes))
    codes = torch.randint(prior.mask_index, shape, generator=generator)
    masks = torch.rand(shape, generator=generator) < 0.5
    return PriorBatch(codes, masks, torch.tensor([0, 2, -1, 1])[:cases])


@pytest.mark.parametrize("widths", [(4,), (2, 4)])
def test_the_step_is_cross_entropy_at_the_masks(widths: tuple[int, ...]) -> None:
    _, prior = build(widths)
    prior.eval()
    given = batch(prior)
    expected = torch.zeros(())
    for number, (codes, masks) in enumerate(
        zip(
            torch.split(given.codes, list(prior.sizes), dim=1),
            torch.split(given.masks, list(prior.sizes), dim=1),
            strict=True,
        )
    ):
        context = prior.context(given.codes[:, : prior.sizes[0]]) if number else None
        hidden = codes.masked_fill(masks, prior.mask_index)
        every = torch.ones_like(masks)
        logits = prior.logits_of(number, given.labels, context)(hidden, every)
        expected = expected + functional.cross_entropy(logits[masks.flatten()], codes[masks])
    torch.testing.assert_close(prior_step(prior, given).loss, expected)


def test_visible_truth_is_not_in_the_loss_and_hidden_truth_is_not_in_the_input() -> None:
    _, prior = build()
    prior.eval()
    given = batch(prior)
    loss = prior_step(prior, given).loss
    leak = given.codes.clone()
    leak[given.masks] = (leak[given.masks] + 1) % prior.mask_index
    hidden = given.codes.masked_fill(given.masks, prior.mask_index)
    assert torch.equal(hidden, leak.masked_fill(given.masks, prior.mask_index))
    assert not torch.equal(loss, prior_step(prior, given._replace(codes=leak)).loss)


def test_starts_from_the_codebook() -> None:
    tokenizer, _ = build((2, 4))
    books = [branch.quantizer.codebook for branch in tokenizer.parts]
    prior = build_prior(small().prior, tokenizer, classes=0, codebooks=books)
    for number, book in enumerate(books):
        assert torch.equal(prior.transformer(number).embedding.table.weight[:-1], book)


@pytest.mark.parametrize("widths", [(4,), (2, 4)])
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_known_tokens_and_padding_never_change(widths: tuple[int, ...], guidance: float) -> None:
    tokenizer, prior = build(widths)
    prior.eval()
    given = batch(prior)
    tokens = given.codes.masked_fill(given.masks, prior.mask_index)
    tokens[1, -3:] = -1
    done = decode_tokens(
        prior,
        tokens,
        labels=given.labels,
        decoding=build_decoding(DecodingConfig(steps=3, guidance=guidance), tokenizer),
        generator=keyed_generator(0, "x"),
    )
    known = tokens != prior.mask_index
    assert torch.equal(done[known], tokens[known])
    assert bool((done[~known] < prior.mask_index).all())
    assert bool((done[~known] >= 0).all())


def test_generate_repeats_pads_and_restores_modes() -> None:
    tokenizer, prior = build()
    tokenizer.train()
    prior.train()
    state = {k: v.clone() for k, v in tokenizer.state_dict().items()}
    noise = torch.get_rng_state()
    lengths = torch.tensor([33, 20, 33])
    drawn = [
        generate(
            tokenizer,
            prior,
            labels=torch.tensor([0, -1, 2]),
            lengths=lengths,
            decoding=build_decoding(DecodingConfig(steps=3), tokenizer),
            generator=keyed_generator(seed, "sample"),
        )
        for seed in (0, 0, 1)
    ]
    assert torch.equal(drawn[0].codes, drawn[1].codes)
    assert torch.equal(drawn[0].series.nan_to_num(9), drawn[1].series.nan_to_num(9))
    assert not torch.equal(drawn[0].codes, drawn[2].codes)
    assert torch.equal(drawn[0].series.isnan()[:, 0].sum(1), 33 - lengths)
    assert tokenizer.training
    assert prior.training
    assert torch.equal(noise, torch.get_rng_state())
    assert all(torch.equal(v, state[k]) for k, v in tokenizer.state_dict().items())


@pytest.mark.parametrize(
    ("labels", "lengths", "said"),
    [
        ([], [], r"labels and lengths must be equally many, and some; got 0 and 0"),
        ([0], [33, 33], r"equally many, and some; got 1 and 2"),
        ([3], [33], r"labels must lie in \[-1, 3\); got 3 to 3"),
        ([0], [34], r"lengths must lie in \[1, 33\]; got 34 to 34"),
    ],
)
def test_refuses(labels: list[int], lengths: list[int], said: str) -> None:
    tokenizer, prior = build()
    with pytest.raises(ValueError, match=said):
        generate(
            tokenizer,
            prior,
            labels=torch.tensor(labels, dtype=torch.int64),
            lengths=torch.tensor(lengths, dtype=torch.int64),
            decoding=build_decoding(DecodingConfig(steps=2), tokenizer),
            generator=keyed_generator(0, "x"),
        )
