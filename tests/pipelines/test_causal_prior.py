"""The causal prior in the line: its loss, its draws, and what it cannot do."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ssltok.decoding import causal_decode, temperature_sample
from ssltok.losses import next_token_loss
from ssltok.pipelines import (
    CausalPrior,
    Conditions,
    Config,
    DecodingConfig,
    Prior,
    PriorBatch,
    PriorConfig,
    SSLTokenizer,
    Tokenizer,
    build_decoding,
    build_prior,
    build_tokenizer,
    decode_tokens,
    loss_by_share,
    prior_step,
)
from tests.nn.test_transformer import scrambled
from tests.pipelines.small import series, small, varied

LENGTH = 32
KINDS: dict[str, dict[str, Any]] = {
    "one branch": {"coder": "patch", "widths": (8,)},
    "two branches": {"widths": (2, 8), "n_fft": 4},
    "two codes": {"quantizer": "residual", "codes_per_token": 2, "widths": (4,)},
    "growing": {"quantizer": "growing", "widths": (4,)},
    "by channel": {"coder": "patch", "widths": (4,), "channelwise": True},
}
every = pytest.mark.parametrize("name", KINDS)


def tokenizer_of(name: str) -> Tokenizer:
    config = small(ssl="none", **{"codebook_size": 5, "blocks": 0, "dim": 4, **KINDS[name]})
    return build_tokenizer(config.tokenizer, channels=2, length=LENGTH)


def prior_of(
    name: str, *, conditions: tuple[int, int] = (0, 0), classes: int = 3
) -> tuple[CausalPrior, Tokenizer]:
    tokenizer = tokenizer_of(name)
    words = PriorConfig(dim=8, depth=2, architecture="causal")
    prior = build_prior(words, tokenizer, classes=classes, conditions=conditions)
    assert isinstance(prior, CausalPrior)
    scrambled(prior.double(), std=0.5)
    return prior.eval(), tokenizer


def codes_of(tokenizer: Tokenizer, lengths: list[int], seed: int = 0) -> Tensor:
    """Random codes, -1 beyond the end of each series."""
    generator = torch.Generator().manual_seed(seed)
    valid, parts = tokenizer.valid_tokens(torch.tensor(lengths)), []
    for grid, sizes, most in zip(
        tokenizer.grids, tokenizer.codebook_sizes, tokenizer.limits, strict=True
    ):
        tokens = int(np.prod(grid))
        tops = torch.tensor(most or [min(sizes)] * tokens)[:, None]
        share = torch.rand(len(lengths), tokens, len(sizes), generator=generator)
        parts.append((share * tops).long())
    codes = torch.cat(parts, dim=1).masked_fill(~valid[..., None], -1)
    return codes if tokenizer.codes_per_token > 1 else codes[..., 0]


def places_of(tokenizer: Tokenizer) -> list[tuple[float, int, int, int, int]]:
    """Each code of each token: when its stretch ends, branch, token, level; naively sorted."""
    places, before = [], 0
    for branch, grid in enumerate(tokenizer.grids):
        begins = [*tokenizer.parts[branch].begins(LENGTH).tolist()[1:], float(LENGTH)]
        for token in range(int(np.prod(grid))):
            places += [
                (begins[token % grid[-1]], branch, before + token, level, token)
                for level in range(tokenizer.codes_per_token)
            ]
        before += int(np.prod(grid))
    return sorted(places)


def log_probabilities(
    prior: CausalPrior, tokenizer: Tokenizer, codes: Tensor, label: int, place: int,
    context: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Of one place of one row, by a whole forward over all places before it: no cache."""
    order, sequence = places_of(tokenizer), []
    offsets = np.cumsum([0, *(size for sizes in tokenizer.codebook_sizes for size in sizes)])
    each, total = tokenizer.codes_per_token, int(offsets[-1])
    rows = codes if codes.ndim == 2 else codes[:, None]
    for _, branch, token, level, _ in order[: place + 1]:
        code, first = int(rows[token, level]), offsets[branch * each + level]
        sequence.append(total if code < 0 or code >= prior.mask_index else code + int(first))
    _, branch, _, level, token = order[place]
    first = int(offsets[branch * each + level])
    count = tokenizer.codebook_sizes[branch][level]
    most = tokenizer.limits[branch]
    count = count if most is None else min(count, most[token])
    logits = prior.model(
        torch.tensor([sequence]), torch.tensor([label]) if prior.classes else None,
        context=None if context is None else context[None, : place + 1],
    )  # fmt: skip
    return logits[0, place, first : first + count].detach()  # type: ignore[no-any-return]


def run(prior: Prior, tokens: Tensor, labels: Tensor, guidance: float = 1.0, **options: Any) -> Any:
    decoding = build_decoding(
        DecodingConfig(guidance=guidance, temperature=0.8), tokenizer_of("one branch")
    )
    generator = torch.Generator().manual_seed(5)
    return decode_tokens(
        prior, tokens, labels=labels, decoding=decoding, generator=generator, **options
    )


# oracle


@every
def test_the_loss_is_the_naive_one_in_float64(name: str) -> None:
    prior, tokenizer = prior_of(name)
    codes, labels = codes_of(tokenizer, [LENGTH, 20, LENGTH]), torch.tensor([2, -1, 0])
    masks = torch.zeros(codes.shape[:2], dtype=torch.bool)
    step = prior_step(prior, PriorBatch(codes, masks, labels))
    order, terms = places_of(tokenizer), dict[int, list[float]]()
    for row, label in zip(codes, labels.tolist(), strict=True):
        for place, (_, branch, token, level, _) in enumerate(order):
            code = int(row[token] if row.ndim == 1 else row[token, level])
            if code >= 0:
                x = log_probabilities(prior, tokenizer, row, label, place).numpy()
                terms.setdefault(branch, []).append(float(np.log(np.exp(x).sum()) - x[code]))
    wanted = sum(float(np.mean(part)) for part in terms.values())
    assert float(step.loss.detach().double()) == pytest.approx(wanted, rel=1e-6)
    assert list(step.logged) == ["loss", *(["low", "high"] if len(terms) > 1 else [])]


def test_the_loss_is_that_of_the_next_token() -> None:
    prior, tokenizer = prior_of("one branch")
    codes, labels = codes_of(tokenizer, [LENGTH, 17, 25]), torch.tensor([2, -1, 0])
    masks = torch.zeros(codes.shape, dtype=torch.bool)
    logits = prior.model(codes.masked_fill(codes < 0, 5), labels)
    logits = torch.nn.functional.pad(logits, (0, 0, 0, 1))  # the start's first, none of the last
    wanted = next_token_loss(logits, torch.nn.functional.pad(codes, (1, 0), value=-1))
    step = prior_step(prior, PriorBatch(codes, masks, labels))
    torch.testing.assert_close(step.loss, wanted)


def test_draws_are_those_of_causal_decode_by_hand() -> None:
    prior, _ = prior_of("one branch")
    labels = torch.tensor([0, 2, -1, 1])
    drawn = run(prior, torch.full((4, 8), prior.mask_index), labels)
    by_hand = causal_decode(
        lambda new, cache, *, valid: prior.model.extend(new, cache, labels),
        torch.empty(4, 0, dtype=torch.int64), codebook_size=5, steps=8,
        sample=temperature_sample(temperature=0.8), generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    assert torch.equal(drawn, torch.stack([each.tokens for each in by_hand], dim=1))


@every
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_draws_are_those_of_a_loop_without_a_cache(name: str, scale: float) -> None:
    """Rows of several lengths, the beginning of two known; guidance from the null class."""
    prior, tokenizer = prior_of(name)
    labels, order = torch.tensor([1, 2, 0]), places_of(tokenizer)
    full = codes_of(tokenizer, [LENGTH, 20, LENGTH])
    tokens = full[..., None] if full.ndim == 2 else full
    hidden = tokens.clone()
    for row, until in ((0, 0), (1, 3), (2, 5)):
        for _, _, token, level, _ in order[until:]:
            if tokens[row, token, level] >= 0:
                hidden[row, token, level] = prior.mask_index
    given = hidden.reshape(full.shape)
    drawn = run(prior, given, labels, scale)
    generator, sample = torch.Generator().manual_seed(5), temperature_sample(temperature=0.8)
    wanted, offsets = hidden.clone(), np.cumsum([0, *sum(tokenizer.codebook_sizes, ())])
    for place, (_, branch, token, level, _) in enumerate(order):
        if not bool((hidden[:, token, level] == prior.mask_index).any()):
            continue
        first = int(offsets[branch * tokenizer.codes_per_token + level])
        logits = torch.full((3, int(offsets[-1])), -1e300, dtype=torch.float64)
        for row in range(3):
            state = wanted[row].reshape(full.shape[1:])
            x = log_probabilities(prior, tokenizer, state, int(labels[row]), place)
            free = log_probabilities(prior, tokenizer, state, -1, place)
            logits[row, first : first + len(x)] = free + scale * (x - free)
        new = sample(logits, 1.0, generator).tokens - first
        open_rows = hidden[:, token, level] == prior.mask_index
        wanted[:, token, level] = torch.where(open_rows, new, wanted[:, token, level])
    assert torch.equal(drawn, wanted.reshape(full.shape))
    known = given != prior.mask_index
    assert torch.equal(drawn[known], given[known])


def test_guidance_pushes_away_from_neither_label_nor_conditions() -> None:
    prior, _ = prior_of("one branch", conditions=(2, 0))
    labels, tokens = torch.tensor([0, 1]), torch.full((2, 8), prior.mask_index)
    given = Conditions(torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64))
    drawn = run(prior, tokens, labels, 2.5, conditions=given)
    assert prior.embeddings is not None
    told = prior.embeddings[0](given.covariates)
    free = prior.embeddings[0](given.covariates, known=torch.zeros(2, dtype=torch.bool))

    def by_hand(new: Tensor, cache: Tensor | None, /, *, valid: Any) -> Any:
        seen = new if cache is None else torch.cat([cache, new], dim=1)
        until = slice(seen.shape[1] + 1)
        one = prior.model.extend(seen, None, labels, context=told[:, until]).logits
        other = prior.model.extend(seen, None, None, context=free[:, until]).logits
        return other + 2.5 * (one - other), seen

    wanted = causal_decode(
        by_hand, tokens[:, :0], codebook_size=5, steps=8,
        sample=temperature_sample(temperature=0.8), generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    assert torch.equal(drawn, torch.stack([each.tokens for each in wanted], dim=1))


def test_conditions_reach_the_place_that_they_are_of() -> None:
    prior, tokenizer = prior_of("two branches", conditions=(2, 1))
    generator = torch.Generator().manual_seed(1)
    conditions = Conditions(
        torch.randn(3, 2, generator=generator, dtype=torch.float64),
        torch.randn(3, 1, LENGTH, generator=generator, dtype=torch.float64),
        torch.tensor([True, True, False]),
    )
    codes, labels = codes_of(tokenizer, [LENGTH] * 3), torch.tensor([2, -1, 0])
    masks = torch.zeros(codes.shape, dtype=torch.bool)
    step = prior_step(prior, PriorBatch(codes, masks, labels, 0, conditions))
    assert prior.embeddings is not None
    each = [part(*conditions[:2], known=conditions.known) for part in prior.embeddings]
    order = places_of(tokenizer)
    context = torch.cat(each, dim=1)[:, [token for _, _, token, _, _ in order]]
    total, sums = 0.0, dict[int, list[float]]()
    for row in range(3):
        for place, (_, branch, token, _, _) in enumerate(order):
            x = log_probabilities(
                prior, tokenizer, codes[row], int(labels[row]), place, context[row]
            ).log_softmax(0)
            sums.setdefault(branch, []).append(-float(x[codes[row, token]]))
    total = sum(float(np.mean(part)) for part in sums.values())
    assert float(step.loss.detach().double()) == pytest.approx(total, rel=1e-6)
    drawn = run(prior, torch.full_like(codes, prior.mask_index), labels, 2.0, conditions=conditions)
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < 5


# laws


@every
def test_places_stand_in_the_order_of_time(name: str) -> None:
    prior, tokenizer = prior_of(name)
    each = tokenizer.codes_per_token
    assert prior.order == [token * each + level for _, _, token, level, _ in places_of(tokenizer)]


def test_a_rule_that_changes_what_was_read_is_exact() -> None:
    """The cache is of what was read; other tokens are read anew."""
    prior, _ = prior_of("one branch")
    labels = torch.tensor([0, 1])
    tokens = torch.full((2, 8), prior.mask_index)

    def lower(free: Any) -> Any:
        def guide(model: Any, seen: Tensor, where: Tensor, progress: float) -> Tensor:
            answer: Tensor = model(seen.clamp(max=4 - int(4 * progress)), where)
            return answer

        return guide

    decoding = dataclasses.replace(
        build_decoding(DecodingConfig(temperature=0.8), tokenizer_of("one branch")), guidance=lower
    )
    drawn = decode_tokens(
        prior, tokens, labels=labels, decoding=decoding,
        generator=torch.Generator().manual_seed(5),
    )  # fmt: skip

    def by_hand(new: Tensor, cache: Tensor | None, /, *, valid: Any) -> Any:
        seen = new if cache is None else torch.cat([cache, new], dim=1)
        most = 4 - int(4 * (seen.shape[1] + 1) / 8)
        return prior.model.extend(seen.clamp(max=most), None, labels).logits, seen

    wanted = causal_decode(
        by_hand, tokens[:, :0], codebook_size=5, steps=8,
        sample=temperature_sample(temperature=0.8), generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    assert torch.equal(drawn, torch.stack([each.tokens for each in wanted], dim=1))


def test_a_weak_prior_is_guided_away_from() -> None:
    prior, _ = prior_of("one branch")
    weak, _ = prior_of("one branch")
    scrambled(weak, std=0.9)
    labels, tokens = torch.tensor([0, 1]), torch.full((2, 8), prior.mask_index)
    drawn = run(prior, tokens, labels, 3.0, weak=weak)

    def mixed(new: Tensor, cache: Any, /, *, valid: Any) -> Any:
        before = (None, None) if cache is None else cache
        one, other = (
            part.model.extend(new, seen, labels)
            for part, seen in zip((prior, weak), before, strict=True)
        )
        return other.logits + 3 * (one.logits - other.logits), (one.cache, other.cache)

    by_hand = causal_decode(
        mixed, torch.empty(2, 0, dtype=torch.int64), codebook_size=5, steps=8,
        sample=temperature_sample(temperature=0.8), generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    assert torch.equal(drawn, torch.stack([each.tokens for each in by_hand], dim=1))


def fitted(kind: dict[str, Any], x: Any, y: Any, **options: Any) -> SSLTokenizer:
    config = causal(small(2, ssl="none", **kind))
    return SSLTokenizer(config, progress=False, cpu=True).fit(x, y, **options)


def causal(config: Config) -> Config:
    return varied(config, prior=dataclasses.replace(config.prior, architecture="causal"))


def test_a_model_forecasts_and_comes_back(tmp_path: Any) -> None:
    x = series(10, length=LENGTH)
    given = np.linspace(0, 1, 10)[:, None]
    model = fitted({"widths": (2, 8), "n_fft": 4}, x, list("ab" * 5), conditions=given)
    ahead = model.forecast(x[:, :, :20], list("ab" * 5), horizon=12, samples=2, conditions=given)
    assert ahead.shape == (2, 10, 1, 12)
    assert np.isfinite(ahead).all()
    ending = x.copy()
    ending[:, :, 21:] = np.nan  # a gap at the end is a forecast
    filled = model.impute(ending, list("ab" * 5), conditions=given)
    np.testing.assert_array_equal(filled[0][:, :, :21], x[:, :, :21])
    loaded = SSLTokenizer.load(model.save(tmp_path / "model"))
    prior = loaded.artifact_.prior
    assert isinstance(prior, CausalPrior)
    assert prior.conditions == (1, 0)
    for one in (model, loaded):
        drawn = one.sample(3, label="b", seed=1, conditions=given[:3])
        np.testing.assert_array_equal(
            drawn, model.sample(3, label="b", seed=1, conditions=given[:3])
        )


def test_it_learns_which_token_follows() -> None:
    """Series of one ramp: behind a known start there is one end."""
    random = np.random.default_rng(0)
    steps = random.integers(0, 2, (40, 1))
    x = np.repeat(np.where(np.arange(8) < 4, steps, 1 - steps), 4, axis=1) * 4.0
    x = x + 0.1 * random.standard_normal(x.shape)
    config = causal(small(60, batch=24, ssl="none", coder="patch", widths=(8,)))
    fast = dataclasses.replace(config.prior_training, learning_rate=1e-2, checkpoint_every=200)
    config = varied(config, prior_training=fast, tokenizer_training=fast)
    model = SSLTokenizer(config, progress=False, cpu=True).fit(x)
    ahead = model.forecast(x[:12, :16], horizon=16, seed=1)
    assert np.corrcoef(ahead.ravel(), x[:12, 16:].ravel())[0, 1] > 0.9


# complaints


def test_what_it_cannot_do_is_said() -> None:
    x = series(8, length=LENGTH)
    model = fitted({"coder": "patch", "widths": (8,)}, x, None)
    gap = x.copy()
    gap[:, :, 9:14] = np.nan
    with pytest.raises(ValueError, match=r"^CausalPrior: hidden tokens must stand behind all kno"):
        model.impute(gap)
    with pytest.raises(ValueError, match=r"^CausalPrior: hidden tokens must stand behind all kno"):
        model.score_anomalies(x)
    assert model.artifact_.usual is None
    prior, codes = model.artifact_.prior, torch.from_numpy(model.encode(x))
    labels = torch.full((8,), -1)
    with pytest.raises(ValueError, match=r"^CausalPrior: hidden tokens"):
        loss_by_share(prior, codes, labels)
    with pytest.raises(ValueError, match=r"^CausalPrior: hidden tokens"):
        prior.context(codes)
    hidden = codes.clone()
    hidden[0, 2] = hidden[3, 4] = prior.mask_index
    with pytest.raises(ValueError, match=r"\(8 known codes stand behind\)$"):
        run(prior, hidden, labels)
    with pytest.raises(ValueError, match=r"^CausalPrior: conditions must be given where"):
        prior_step(prior, PriorBatch(codes, codes < 0, labels, 0, Conditions(torch.zeros(8, 1))))
    masked = build_prior(PriorConfig(dim=8, depth=1), tokenizer_of("one branch"), classes=0)
    with pytest.raises(ValueError, match=r"^CausalPrior: weak must be causal too; got Prior$"):
        run(prior, torch.full_like(codes, prior.mask_index), labels, weak=masked)
    rule = build_decoding(DecodingConfig(count="entropy_bound"), tokenizer_of("one branch"))
    with pytest.raises(ValueError, match=r"^decode_tokens: settle must be None with a CausalPrior"):
        decode_tokens(prior, codes, labels=labels, decoding=rule, generator=torch.Generator())
    with pytest.raises(ValueError, match=r"^Config: decoding.count must be schedule with a causal"):
        Config(
            prior=PriorConfig(architecture="causal"), decoding=DecodingConfig(count="entropy_bound")
        )
    with pytest.raises(
        ValueError, match=r"architecture must be one of masked, causal; got 'casual'"
    ):
        PriorConfig(architecture="casual")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": [0, 1, 2, 3, 4, 5, 6, 6]}, "order must hold each of 8 places once; got 8 from"),
        ({"order": []}, "order must hold each of 8 places once; got 0 from 0 to 0"),
        ({"classes": 2}, "model must be of 8 tokens, 5 codes and 2 classes; got 8, 5 and 3"),
        ({"codebook_sizes": ((4,),)}, "model must be of 8 tokens, 4 codes and 3 classes; got 8, 5"),
        ({"limits": [[1, 2]]}, r"limits must be None or a number for each token, \[8\]"),
        ({"embeddings": []}, "embeddings must be as many as sizes; got 0 and 1"),
    ],
)
def test_parts_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    prior, _ = prior_of("one branch")
    options: dict[str, Any] = {
        "sizes": (8,), "classes": 3, "codebook_sizes": ((5,),), "order": list(range(8))
    }  # fmt: skip
    with pytest.raises(ValueError, match=f"^CausalPrior: {message}"):
        CausalPrior(prior.model, **{**options, **changes})
