"""How many tokens stay, as the model says: the config's words, parts, artefacts, weak priors."""

import dataclasses
import inspect
import json
import pathlib
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ssltok._shared.storage import read_folder, write_folder
from ssltok.decoding import (
    DecodingTrace,
    ForwardCount,
    classifier_free_guidance,
    confidence_factor,
    entropy_bound,
    interval_scale,
    iterative_decode,
    rule_schedule,
    stable_prediction,
)
from ssltok.masking import cosine_schedule
from ssltok.pipelines import (
    Decoding,
    DecodingConfig,
    Parts,
    Prior,
    SSLTokenizer,
    Tokenizer,
    build_decoding,
    build_prior,
    build_tokenizer,
    decode_tokens,
    generate,
)
from ssltok.training import keyed_generator
from tests.pipelines.small import series, small, varied

WORDS = {
    "entropy_bound": {"bound": 0.7, "order": None},
    "confidence_threshold": {"threshold": 0.7},
    "confidence_factor": {"factor": 0.7},
    "stable_prediction": {"divergence": 0.7, "threshold": 0.9, "steps": 2},
}


def build(**changes: object) -> tuple[Tokenizer, Prior]:
    torch.manual_seed(0)
    config = small(**changes)  # type: ignore[arg-type]
    tokenizer = build_tokenizer(config.tokenizer, channels=1, length=33)
    prior = build_prior(config.prior, tokenizer, classes=3)
    for parameter in prior.parameters():  # unlike an untrained one it is sure of something
        torch.nn.init.normal_(parameter, std=0.5)
    return tokenizer.eval(), prior.eval()


def draw(
    tokenizer: Tokenizer, prior: Prior, decoding: Decoding, *, weak: Prior | None = None,
    trace: DecodingTrace | None = None, label: int = 1,
) -> Tensor:  # fmt: skip
    return generate(
        tokenizer, prior, labels=torch.full((3,), label), lengths=torch.tensor([33, 20, 33]),
        decoding=decoding, generator=keyed_generator(0, "x"), weak=weak, observe=trace,
    ).codes  # fmt: skip


@pytest.mark.parametrize("word", list(WORDS))
def test_a_word_builds_its_rule(word: str) -> None:
    tokenizer, prior = build()
    rules = build_decoding(DecodingConfig(count=word, bound=0.7, steps=40), tokenizer)  # type: ignore[arg-type]
    assert rules.settle is not None
    assert rules.settle.made_by.factory.__name__ == word  # type: ignore[attr-defined]
    assert rules.settle.made_by.arguments == WORDS[word]  # type: ignore[attr-defined]
    assert rules.schedule is rule_schedule
    trace = DecodingTrace()
    codes = draw(tokenizer, prior, rules, trace=trace)
    assert (codes < prior.mask_index).all()
    assert trace.steps <= 40


def test_the_default_is_what_it_was() -> None:
    tokenizer, _ = build()
    rules = build_decoding(DecodingConfig(), tokenizer)
    assert rules.settle is None
    assert rules.schedule is cosine_schedule
    assert DecodingConfig().count == "schedule"


def test_parts_take_the_place_of_words() -> None:
    tokenizer, _ = build()
    config = DecodingConfig(count="entropy_bound")
    rule = confidence_factor(0.3)
    for part in (rule, partial(confidence_factor, 0.3)):
        rules = build_decoding(
            config, tokenizer, parts=Parts(settle=part, schedule=cosine_schedule)
        )
        assert rules.settle.made_by == rule.made_by  # type: ignore[attr-defined, union-attr]
        assert rules.schedule is cosine_schedule


@pytest.mark.parametrize("widths", [(4,), (2, 4)])
def test_a_rule_needs_fewer_forwards_the_more_it_allows(widths: tuple[int, ...]) -> None:
    tokenizer, prior = build(widths=widths)
    made = []
    for bound in (0.0, 3.0, 1e6):
        trace = DecodingTrace()
        config = DecodingConfig(count="entropy_bound", bound=bound, steps=500)
        draw(tokenizer, prior, build_decoding(config, tokenizer), trace=trace)
        made.append(int(trace.forwards.max()))
    assert made[0] == int((tokenizer.valid_tokens(torch.tensor([33]))[:, : prior.sizes[0]]).sum())
    assert made[0] > made[1] >= made[2] == 1


@pytest.mark.parametrize("settle", [None, entropy_bound(2.0), stable_prediction(divergence=0.5)])
def test_tokens_of_several_codes_take_every_rule_level_by_level(settle: object) -> None:
    tokenizer, prior = build(quantizer="residual", codes_per_token=2)
    rules = build_decoding(DecodingConfig(steps=30), tokenizer, parts=Parts(settle=settle))
    codes = draw(tokenizer, prior, rules)
    assert codes.shape[-1] == 2
    again = draw(tokenizer, prior, rules)
    assert torch.equal(codes, again)
    valid = tokenizer.valid_tokens(torch.tensor([33, 20, 33]))
    assert ((codes >= 0) & (codes < prior.mask_index))[valid].all()
    assert (codes[~valid] == -1).all()


def test_a_weak_prior_is_guided_away_from_with_its_labels() -> None:
    tokenizer, prior = build()
    torch.manual_seed(5)
    weak = build_prior(small().prior, tokenizer, classes=3).eval()
    guided = partial(classifier_free_guidance, scale=2.0)
    rules = build_decoding(DecodingConfig(steps=3), tokenizer, parts=Parts(guidance=guided))
    plain = build_decoding(DecodingConfig(steps=3), tokenizer)
    labels = torch.tensor([1, 1, 1])
    hidden = torch.full((3, sum(prior.sizes)), prior.mask_index)
    found = decode_tokens(
        prior, hidden, labels=labels, decoding=rules, generator=keyed_generator(0, "x"), weak=weak
    )
    with torch.no_grad():
        expected = iterative_decode(
            prior.logits_of(0, labels, None), hidden, mask_index=prior.mask_index, steps=3,
            schedule=rules.schedule, order=rules.orders[0], sample=rules.sample,
            guidance=guided(weak.logits_of(0, labels, None)), generator=keyed_generator(0, "x"),
        )  # fmt: skip
    assert torch.equal(found, expected)
    outcomes = [
        draw(tokenizer, prior, rules), draw(tokenizer, prior, rules, weak=weak),
        draw(tokenizer, prior, plain), draw(tokenizer, prior, plain, weak=weak),
    ]  # fmt: skip
    assert not torch.equal(outcomes[0], outcomes[1])
    assert torch.equal(outcomes[2], outcomes[3])  # nothing guides
    # without labels there is nothing to be free of, but there is a weak prior
    unlabelled = draw(tokenizer, prior, rules, label=-1)
    assert torch.equal(unlabelled, draw(tokenizer, prior, plain, label=-1))
    assert not torch.equal(unlabelled, draw(tokenizer, prior, rules, weak=weak, label=-1))


def test_the_second_forward_is_made_where_it_counts() -> None:
    tokenizer, prior = build()
    count = ForwardCount()

    def guided(free: object) -> object:
        scale = interval_scale(3.0, start=0.5, stop=0.75)
        return classifier_free_guidance(count(free), scale=scale)  # type: ignore[arg-type]

    rules = build_decoding(DecodingConfig(steps=4), tokenizer, parts=Parts(guidance=guided))
    draw(tokenizer, prior, rules)
    assert count.calls == 1
    draw(tokenizer, prior, rules, label=-1)
    assert count.calls == 1


@pytest.mark.parametrize("widths", [(4,), (2, 4)])
def test_rows_that_are_finished_do_not_go_through_the_prior(widths: tuple[int, ...]) -> None:
    tokenizer, prior = build(widths=widths)
    rows: list[int] = []
    for part in prior.transformers:
        part.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    rules = build_decoding(DecodingConfig(count="entropy_bound", bound=2.5, steps=99), tokenizer)
    labels = torch.arange(12) % 3
    hidden = torch.full((12, sum(prior.sizes)), prior.mask_index)
    hidden[::3, :-2] = 1  # rows with less to draw
    found = decode_tokens(
        prior.double(), hidden, labels=labels, decoding=rules, generator=keyed_generator(0, "x")
    )
    assert min(rows) < 12
    assert all(rows)
    filled: list[Tensor] = []
    generator = keyed_generator(0, "x")
    for number, tokens in enumerate(torch.split(hidden, list(prior.sizes), dim=1)):
        context = prior.context(filled[-1], number) if filled else None
        with torch.no_grad():
            filled.append(
                iterative_decode(
                    prior.logits_of(number, labels, context), tokens, mask_index=prior.mask_index,
                    steps=99, schedule=rule_schedule, order=rules.orders[number],
                    sample=rules.sample, settle=rules.settle, generator=generator,
                )
            )  # fmt: skip
    assert torch.equal(found, torch.cat(filled, dim=1))


def test_an_artefact_keeps_its_rule_and_older_ones_have_none(tmp_path: pathlib.Path) -> None:
    config = varied(small(), decoding=DecodingConfig(steps=60, count="entropy_bound", bound=0.9))
    model = SSLTokenizer(config, cpu=True).fit(series(8), [0, 1] * 4)
    expected = model.sample(3, seed=1)
    model.save(tmp_path / "model")
    loaded = SSLTokenizer.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.sample(3, seed=1), expected)
    files = read_folder(tmp_path / "model")
    text = json.loads(files["config.json"])
    assert "entropy_bound" in json.dumps(text["decoding"]["settle"])
    del text["decoding"]["settle"]
    write_folder(tmp_path / "old", {**files, "config.json": json.dumps(text).encode()})
    assert SSLTokenizer.load(tmp_path / "old").artifact_.decoding.settle is None


# complaints


def test_complaints() -> None:
    for changes, match in (
        ({"count": "entropy"}, r"count must be one of schedule, .*; got 'entropy' \(did you mean"),
        ({"bound": -1.0}, r"bound must be >= 0; got -1"),
        ({"bound": float("nan")}, r"bound must be >= 0; got nan"),
        ({"count": "confidence_threshold", "bound": 1.5}, r"bound must lie in \[0, 1\]; got 1.5"),
    ):
        with pytest.raises(ValueError, match=rf"^DecodingConfig: {match}"):
            dataclasses.replace(DecodingConfig(), **changes)


def test_every_part_is_a_keyword_of_the_estimator() -> None:
    keywords = set(inspect.signature(SSLTokenizer).parameters)
    parts = {field.name for field in dataclasses.fields(Parts)}
    assert parts - keywords == {"branches"}  # takes the place of three others: given by `parts`
    for name in sorted(parts & keywords):
        given: Any = object()
        assert getattr(SSLTokenizer(**{name: given})._parts(), name) is given
        assert getattr(SSLTokenizer(parts=Parts(**{name: given}))._parts(), name) is given


def test_settle_of_the_estimator_is_used_and_saved(tmp_path: pathlib.Path) -> None:
    model = SSLTokenizer(small(), settle=entropy_bound(2.0), progress=False, cpu=True)
    model.fit(series(8), list("abababab"))
    rule = model.artifact_.decoding.settle
    assert rule.made_by == entropy_bound(2.0).made_by  # type: ignore[attr-defined, union-attr]
    assert model.artifact_.decoding.schedule is rule_schedule
    model.save(tmp_path / "model")
    loaded = SSLTokenizer.load(tmp_path / "model")
    rule = loaded.artifact_.decoding.settle
    assert rule.made_by.arguments["bound"] == 2.0  # type: ignore[union-attr]
    assert (loaded.sample(3, seed=1) == model.sample(3, seed=1)).all()
