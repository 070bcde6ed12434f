"""The contract's values: what a rule may draw, in which dtype, and what it may keep in memory."""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok.decoding import (
    Guidance,
    LogitsFn,
    Order,
    Sample,
    Settle,
    cap_remask,
    classifier_free_guidance,
    confidence_order,
    corrector,
    critic_order,
    critical_reverse,
    fixed_order,
    forecast,
    impute,
    inpaint,
    iterative_decode,
    ordered_logits,
    random_order,
    remask_order,
    score,
    self_correction_loss,
    self_token_critic,
    speculative,
    temperature_sample,
    visit_ranks,
)
from tests.decoding.test_contract import (
    CODES,
    ORDERS,
    SETTLES,
    TOKENS,
    linear,
    model,
    settled,
    start,
)

SAMPLES: dict[str, Sample] = {
    **{f"temperature {t}": temperature_sample(temperature=t)
       for t in (0.0, 1e-320, 1e-38, 1e-9, 0.3, 1.0, 7.0, 1e30)},
    "top k": temperature_sample(top_k=3),
    "top p": temperature_sample(top_p=0.6, temperature=2.0),
    "cold top p": temperature_sample(top_p=0.6, temperature=1e-38),
    "cold top k": temperature_sample(top_k=4, temperature=1e-38),
    "falling": temperature_sample(temperature=lambda progress: 1 - progress),
}  # fmt: skip
SCALES = [-1.5, 0.0, 0.3, 1.0, 2.0, 50.0]
BANNED = 2


def banning(tokens: Tensor, where: Tensor) -> Tensor:
    """The contract's model, which never gives code 2, and at odd places code 0 neither."""
    logits = model(tokens, where).clone()
    logits[:, BANNED] = -torch.inf
    odd = where.nonzero()[:, 1] % 2 == 1
    logits[odd, 0] = -torch.inf
    return logits


def as_dtype(tokens: Tensor, where: Tensor, dtype: torch.dtype) -> Tensor:
    return banning(tokens, where).to(dtype)


def decode(
    logits_fn: Callable[[Tensor, Tensor], Tensor] = model,
    *,
    order: Order | None = None,
    sample: Sample | None = None,
    guidance: Guidance | None = None,
    settle: Settle | None = None,
    tokens: Tensor | None = None,
    observe: Callable[..., None] | None = None,
    codes: int = CODES,
) -> Tensor:
    return iterative_decode(
        logits_fn, start() if tokens is None else tokens, mask_index=codes, steps=6,
        schedule=linear, order=order or confidence_order(temperature=0.0),
        sample=sample or temperature_sample(temperature=0.0), guidance=guidance, settle=settle,
        observe=observe, generator=torch.Generator().manual_seed(3),
    )  # fmt: skip


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_possible(found: Tensor) -> None:
    drawn = start() == CODES
    assert ((found >= 0) & (found < CODES))[drawn].all()
    assert not (found == BANNED)[drawn].any()
    assert not ((found == 0) & drawn)[:, 1::2].any()


# no code of probability 0


@pytest.mark.parametrize("name", list(SAMPLES))
def test_no_sample_gives_a_forbidden_code(name: str) -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        rounded = partial(as_dtype, dtype=dtype)
        assert_possible(decode(rounded, sample=SAMPLES[name]))


@pytest.mark.parametrize("temperature", [0.0, 1e-320, 1e-38, 1e-20, 1e-9])
@pytest.mark.parametrize("size", [1e-5, 1.0, 1e4, 1e37])
def test_a_temperature_near_zero_is_zero_for_logits_of_any_size(
    temperature: float, size: float
) -> None:
    logits = size * torch.tensor([[1.0, 3.0, -torch.inf, 2.0], [-1.0, -3.0, -2.0, -torch.inf]])
    for options in ({}, {"top_k": 3}, {"top_p": 0.7}):
        rule = temperature_sample(temperature=temperature, **options)
        assert rule(logits, 0.5, seeded(1)).tokens.tolist() == [1, 0]


@pytest.mark.parametrize("name", list(ORDERS))
def test_no_order_gives_a_forbidden_code(name: str) -> None:
    assert_possible(decode(banning, order=ORDERS[name], sample=SAMPLES["temperature 1.0"]))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["temperature 0.0", "temperature 1.0", "top p"])
def test_no_guidance_gives_a_forbidden_code(scale: float, name: str) -> None:
    sample = SAMPLES[name]
    guided = classifier_free_guidance(banning, scale=scale)  # both forbid
    assert_possible(decode(banning, guidance=guided, sample=sample))
    if scale != 0:  # at 0 the conditional model is not asked
        guided = classifier_free_guidance(model, scale=scale)
        assert_possible(decode(banning, guidance=guided, sample=sample))
    if scale < 1:
        guided = classifier_free_guidance(banning, scale=scale)
        assert_possible(decode(model, guidance=guided, sample=sample))


def test_guidance_away_from_what_is_impossible_leaves_the_logit() -> None:
    free, kept = torch.tensor([[-torch.inf, 1.0, -torch.inf]]), torch.tensor([[2.0, 3.0, -9.0]])
    rule = classifier_free_guidance(lambda t, w: free, scale=3.0)
    where = torch.tensor([[True]])
    assert rule(lambda t, w: kept, torch.tensor([[3]]), where, 0.5).tolist() == [[2.0, 7.0, -9.0]]


@pytest.mark.parametrize("temperature", [0.0, 1e-38, 4.5, 1e30, 3e38])
def test_orders_of_any_heat_keep_counts_exact(temperature: float) -> None:
    for order in (
        confidence_order(temperature=temperature),
        critic_order(lambda tokens: tokens.float(), temperature=temperature),
    ):
        left: list[int] = []
        decode(
            order=order, tokens=torch.full((3, TOKENS), CODES), sample=SAMPLES["temperature 1.0"],
            observe=lambda state, after, left=left: left.extend((after == CODES).sum(1).tolist()),
        )  # fmt: skip
        assert left == [n for n in (10, 8, 6, 4, 2, 0) for _ in range(3)]


@pytest.mark.parametrize("name", list(SAMPLES))
@pytest.mark.parametrize("bad", ["nan", "one nan", "-inf", "inf"])
def test_what_is_no_distribution_is_refused(name: str, bad: str) -> None:
    rows = torch.zeros(3, CODES)
    rows[1, slice(1, 2) if bad == "one nan" else slice(None)] = float(bad.split()[-1])
    drawn = SAMPLES[name](rows, 0.5, torch.Generator().manual_seed(0))
    assert drawn.tokens[1] == -1
    assert not drawn.logprob[1].isfinite()
    assert (drawn.tokens[::2] >= 0).all()

    def broken(tokens: Tensor, where: Tensor) -> Tensor:
        logits = model(tokens, where).clone()
        logits[1] = rows[1]
        return logits

    said = r"^iterative_decode: every row of logits must have a code above -inf, and no NaN or inf"
    with pytest.raises(ValueError, match=said):
        decode(broken, sample=SAMPLES[name])


# dtype


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def everything() -> list[Tensor]:
    """Whatever decoding has to offer, once."""

    def run(tokens: Tensor) -> Tensor:
        return decode(tokens=tokens)

    found = [decode(order=order) for order in ORDERS.values()]
    found += [decode(sample=sample) for name, sample in SAMPLES.items() if name != "falling"]
    found += [decode(guidance=classifier_free_guidance(model, scale=2.0))]
    full = decode()
    where = full.remainder(3) == 0
    scores = score(model, full, mask_index=CODES, stride=4).surprise
    found += [scores, inpaint(run, full, where, mask_index=CODES)]
    found += [impute(run, full, where, mask_index=CODES, samples=2)]
    found += [forecast(run, full[3:], horizon=1, mask_index=CODES, frames=4)]
    found += [critical_reverse(model, full, -scores, mask_index=CODES, steps=6, schedule=linear)]
    return found


def test_float64_as_default_changes_nothing(double: None) -> None:
    wide = everything()
    torch.set_default_dtype(torch.float32)
    for one, other in zip(everything(), wide, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.float16])
def test_priorities_of_any_dtype_rank(dtype: torch.dtype) -> None:
    def later(state: object) -> Tensor:
        return torch.arange(TOKENS).expand(7, -1).to(dtype)

    order = fixed_order(torch.arange(TOKENS).flip(0))
    first = [[2, 3], [0, 1]]
    for rule in (order, later):
        left: list[list[int]] = []
        decode(
            order=rule, tokens=torch.full((7, TOKENS), CODES),
            observe=lambda s, after, left=left: left.append(
                (after[6] == CODES).nonzero()[:, 0].tolist()
            ),
        )  # fmt: skip
        assert left[-2] == first[1]
        assert left[-3] == [0, 1, 2, 3]


# memory


def test_no_gradient_is_kept() -> None:
    weight = torch.ones(CODES, requires_grad=True)
    kept: list[Tensor] = []

    def learned(tokens: Tensor, where: Tensor) -> Tensor:
        return model(tokens, where) * weight

    for order in [*ORDERS.values(), critic_order(self_token_critic(learned, mask_index=CODES))]:
        decode(
            learned, order=order, guidance=classifier_free_guidance(learned, scale=2.0),
            observe=lambda s, _: kept.extend(part for part in s if isinstance(part, Tensor)),
        )  # fmt: skip
    assert not any(part.requires_grad for part in kept)
    asked: list[Tensor] = []

    def watched(tokens: Tensor, where: Tensor) -> Tensor:
        asked.append(learned(tokens, where))
        return asked[-1]

    full = decode()
    critical_reverse(
        watched, full, torch.rand(full.shape), mask_index=CODES, steps=4, schedule=linear
    )
    assert asked
    assert not any(part.requires_grad for part in asked)


# what a builder or the loop checks once


def constant(rows: int, *, count: int | None = None, code: int = 0) -> Tensor:
    return torch.full((rows if count is None else count,), code)


@pytest.mark.parametrize("places", [[0, 0, 1], [1, 2, 3], [-1, 0, 1], [0, 2, 2]])
def test_an_order_without_some_place_is_refused(places: list[int]) -> None:
    with pytest.raises(ValueError, match=r"^fixed_order: places must be a permutation of 0 to 2"):
        fixed_order(torch.tensor(places))


def test_a_sample_rule_of_another_count_or_code_is_refused() -> None:
    def giving(tokens: Callable[[int], Tensor]) -> Sample:
        return lambda logits, progress, generator: temperature_sample()(
            logits, progress, generator
        )._replace(tokens=tokens(len(logits)))

    said = r"^iterative_decode: sample must return tokens and logprob of shape \(6,\); got \("
    tokens = torch.full((2, 3), CODES)
    for wrong in (7, 5, 1):
        with pytest.raises(ValueError, match=said):
            decode(sample=giving(partial(constant, count=wrong)), tokens=tokens)
    with pytest.raises(ValueError, match=r"sample must return int64 tokens; got torch.int32$"):
        decode(sample=giving(lambda n: torch.zeros(n, dtype=torch.int32)), tokens=tokens)
    for code in (CODES, -1, 7):
        with pytest.raises(ValueError, match=rf"codes in \[0, 5\) of positive .*; got {code}$"):
            decode(sample=giving(partial(constant, code=code)), tokens=tokens)
    with pytest.raises(ValueError, match=r"of positive probability; got 2$"):
        decode(banning, sample=giving(lambda n: torch.full((n,), BANNED)), tokens=tokens)


@pytest.mark.parametrize("shape", [(1, 12), (7, 1), (7,), (7, 12, 1)])
def test_scores_are_never_broadcast(shape: tuple[int, ...]) -> None:
    full = decode()
    said = r"^critical_reverse: scores must have shape \(7, 12\); got "
    with pytest.raises(ValueError, match=said):
        critical_reverse(
            model, full, torch.zeros(shape), mask_index=CODES, steps=4, schedule=linear
        )
    with pytest.raises(ValueError, match=r"order must return shape \(7, 12\)"):
        decode(order=lambda state: torch.zeros(shape))
    with pytest.raises(ValueError, match=r"critic must return shape \(7, 12\)"):
        decode(order=critic_order(lambda tokens: torch.zeros(shape)))


@pytest.mark.parametrize("shape", [(1, 12), (7, 1)])
def test_nor_does_what_an_order_reads_from_another(shape: tuple[int, ...]) -> None:
    order = remask_order(lambda state: torch.zeros(shape), probability=cap_remask(eta=0.5))
    with pytest.raises(ValueError, match=r"^remask_order: order must return shape \(7, 12\)"):
        decode(order=order)


def more_rows(tokens: Tensor, where: Tensor) -> Tensor:
    return torch.zeros(int(where.sum()) + 1, CODES)


def one_row(tokens: Tensor, where: Tensor) -> Tensor:
    return torch.zeros(1, CODES)


def more_codes(tokens: Tensor, where: Tensor) -> Tensor:
    return torch.zeros(int(where.sum()), CODES + 1)


@pytest.mark.parametrize("wrong", [more_rows, one_row, more_codes])
def test_a_model_of_another_count_or_code_is_refused(wrong: LogitsFn) -> None:
    """Whoever asks it: rows are never cut or repeated, a code too many never counted."""
    full, where = decode(), torch.rand(7, TOKENS, generator=seeded(1)) < 0.5
    ranks, sample = torch.arange(TOKENS), temperature_sample()
    uses: dict[str, Callable[[], object]] = {
        "iterative_decode": lambda: decode(wrong),
        "score": lambda: score(wrong, full, mask_index=CODES, stride=3),
        "critical_reverse": lambda: critical_reverse(
            wrong, full, torch.rand(full.shape), mask_index=CODES, steps=4, schedule=linear
        ),
        "self_correction_loss": lambda: self_correction_loss(wrong, full, where, mask_index=CODES),
        "corrector": lambda: decode(settle=corrector(wrong, sample=sample)),
        "speculative": lambda: decode(settle=speculative(wrong, ranks)),
        "classifier_free_guidance": lambda: decode(
            guidance=classifier_free_guidance(wrong, scale=2.0)
        ),
    }
    for name, use in uses.items():
        with pytest.raises(ValueError, match=rf"^{name}: (logits must|both models must)"):
            use()


@pytest.mark.parametrize("ranks", [[1, 1, 2], [0, 2, 2], [-1, 1, 2], [0, -1, -1]])
def test_ranks_that_leave_an_order_open_are_refused(ranks: list[int]) -> None:
    for rule in (
        lambda r: speculative(model, r),
        lambda r: ordered_logits(model, r, mask_index=5),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=r"ranks must be >= 0, and differ above 0 within a r"):
            rule(torch.tensor(ranks))
    with pytest.raises(ValueError, match=r"^visit_ranks: places must be a permutation"):
        visit_ranks(torch.tensor([0, 2, 2]), torch.ones(1, 3, dtype=torch.bool))


# rows


def local(tokens: Tensor, where: Tensor) -> Tensor:
    """A model of neighbours that reads padding as nothing: a row is what it is without it."""
    shown = tokens + 1
    left = torch.nn.functional.pad(shown, (1, 0))[:, :-1]
    right = torch.nn.functional.pad(shown, (0, 1))[:, 1:]
    table = torch.randn(64, CODES, generator=torch.Generator().manual_seed(5))
    return table[(left * 7 + right)[where]]


def ragged(rows: int = 24) -> tuple[Tensor, list[int]]:
    tokens = torch.randint(CODES, (rows, TOKENS), generator=torch.Generator().manual_seed(8))
    lengths = [4 + row % 9 for row in range(rows)]
    for row, length in enumerate(lengths):
        tokens[row, length:] = -1
    return tokens, lengths


def assert_rows_alone(whole: Callable[[Tensor], Tensor], tokens: Tensor) -> None:
    together = whole(tokens)
    for row in range(len(tokens)):
        length = int((tokens[row] >= 0).sum())
        alone = whole(tokens[row : row + 1, :length])
        assert torch.equal(together[..., row, :length], alone[..., 0, :]), row
        assert (together[..., row, length:] == -1).all()


RAGGED_ORDERS: dict[str, Order] = {
    name: order for name, order in ORDERS.items()
    if name in ("entropy_order", "margin_order", "critic_order", "planning_order")
} | {"confidence_order": confidence_order(temperature=0.0)}  # fmt: skip


@pytest.mark.parametrize("name", list(RAGGED_ORDERS))
def test_a_padded_row_decodes_as_the_row_alone(name: str) -> None:
    order = RAGGED_ORDERS[name]
    if name == "critic_order":
        order = critic_order(self_token_critic(local, mask_index=CODES))
    tokens, _ = ragged()
    hidden = tokens.masked_fill((tokens >= 0) & (tokens.cumsum(1) % 3 > 0), CODES)
    assert_rows_alone(lambda part: decode(local, order=order, tokens=part), hidden)


@pytest.mark.parametrize("name", sorted(set(SETTLES) - {"speculative", "corrector"}))
def test_a_padded_row_settles_as_the_row_alone(name: str) -> None:
    tokens, _ = ragged()
    hidden = tokens.masked_fill((tokens >= 0) & (tokens.cumsum(1) % 3 > 0), CODES)
    assert_rows_alone(lambda part: settled(name, 1, part, temperature=0.0, logits_fn=local), hidden)


@pytest.mark.parametrize("window", [None, 1, 2, 5])
@pytest.mark.parametrize("steps", [2, 6, 15])
def test_critical_reverse_of_a_padded_row_is_that_of_the_row(
    window: int | None, steps: int
) -> None:
    tokens, _ = ragged(54)

    def reverse(part: Tensor) -> Tensor:
        scores = -score(local, part, mask_index=CODES).surprise
        return critical_reverse(
            local, part, scores, mask_index=CODES, steps=steps, schedule=linear, window=window
        )

    assert_rows_alone(reverse, tokens)


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_forecast_of_a_padded_row_is_that_of_the_row(horizon: int) -> None:
    tokens, _ = ragged()

    def ahead(part: Tensor) -> Tensor:
        return forecast(
            lambda t: decode(local, tokens=t), part, horizon=horizon, mask_index=CODES, samples=2
        )

    assert_rows_alone(ahead, tokens)
    drawn = forecast(lambda t: t, tokens, horizon=horizon, mask_index=CODES)[0]
    assert (drawn == CODES).sum(1).tolist() == [horizon] * len(tokens)


def test_a_forecast_on_a_grid_draws_the_last_frames_that_a_row_has() -> None:
    tokens = torch.zeros(2, 8, dtype=torch.int64)  # 2 frequencies, 4 frames
    tokens[1, [2, 3, 6, 7]] = -1
    found = forecast(lambda t: t, tokens, horizon=1, mask_index=5, frames=4)[0]
    assert found.tolist() == [[0, 0, 0, 5, 0, 0, 0, 5], [0, 5, -1, -1, 0, 5, -1, -1]]
    with pytest.raises(ValueError, match=r"^forecast: every row must have 3 frames or more; got"):
        forecast(lambda t: t, tokens, horizon=3, mask_index=5, frames=4)


@pytest.mark.parametrize("name", list(RAGGED_ORDERS))
def test_a_row_in_a_batch_decodes_as_alone(name: str) -> None:
    order, tokens = RAGGED_ORDERS[name], start()
    together = decode(order=order, tokens=tokens)
    for row in range(len(tokens)):
        alone = decode(order=order, tokens=tokens[row : row + 1])
        assert torch.equal(together[row : row + 1], alone)


def test_random_order_keeps_places_of_padded_rows_as_often() -> None:
    tokens = torch.full((6000, 5), CODES)
    tokens[::2, 3:] = -1
    left: list[Tensor] = []
    iterative_decode(
        lambda t, w: torch.zeros(int(w.sum()), CODES), tokens, mask_index=CODES, steps=3,
        schedule=linear, order=random_order(), sample=temperature_sample(),
        generator=torch.Generator().manual_seed(0), observe=lambda s, after: left.append(after),
    )  # fmt: skip
    for row, length in itertools.product((0, 1), (5,)):
        real = length - 2 * (1 - row)
        share = (left[0][row::2, :real] == CODES).double().mean(0)
        wanted = math.floor(real * 2 / 3 + 1e-6) / real
        assert (share - wanted).abs().max() < 5 * math.sqrt(0.25 / 3000)
