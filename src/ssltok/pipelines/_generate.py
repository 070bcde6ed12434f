"""Act 3. From nothing but masks, guess by guess, to tokens and to series."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok._shared.described import MadeBy, description_of
from ssltok._shared.modes import evaluation_mode
from ssltok._shared.portions import AT_ONCE
from ssltok.decoding import (
    Guidance,
    LogitsFn,
    Order,
    Sample,
    Settle,
    decode_levels,
    iterative_decode,
)
from ssltok.pipelines._prior import Prior, context_of
from ssltok.pipelines._stage_two._causal_prior import CausalPrior
from ssltok.pipelines._stage_two._conditions import Conditions
from ssltok.pipelines._stage_two._continue import continue_codes
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.pipelines._uses._texture import texture_of

__all__ = ["Decoding", "Generated", "decode_tokens", "generate"]


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How many, which, what: the rules of `ssltok.decoding.iterative_decode`, for each branch.

    Raises:
        ValueError: If `steps` is less than 1.
        TypeError: If it is not a number.
    """

    steps: int
    """Forward passes from all tokens hidden to none, for each code of a token; the most of them
    where `settle` says how many tokens stay."""
    schedule: Callable[[Tensor], Tensor]
    """From progress to the share masked."""
    orders: tuple[Order, ...]
    """Which tokens stay, for each branch."""
    sample: Sample
    """What token is drawn."""
    guidance: Callable[[LogitsFn], Guidance] | None = None
    """From the unconditional logits function to a guidance; None is none."""
    settle: Settle | None = None
    """How many tokens stay, by the model, such as `entropy_bound(0.5)`; None leaves it to the
    schedule, which is otherwise the least that stays."""

    def __post_init__(self) -> None:
        """Check the steps."""
        check_at_least("Decoding", "steps", self.steps, 1)

    def __getstate__(self) -> dict[str, Any]:
        """Rules as the calls that made them: a closure cannot be pickled."""
        return {name: _as_calls(value) for name, value in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the rules again."""
        for name, value in state.items():
            object.__setattr__(self, name, _as_rules(value))


def _as_calls(value: Any) -> Any:
    made_by = description_of(value)
    if made_by is not None:
        arguments = {name: _as_calls(part) for name, part in made_by.arguments.items()}
        return MadeBy(made_by.factory, arguments)
    return tuple(map(_as_calls, value)) if type(value) is tuple else value


def _as_rules(value: Any) -> Any:
    if isinstance(value, MadeBy):
        arguments = {name: _as_rules(part) for name, part in value.arguments.items()}
        return MadeBy(value.factory, arguments).rebuild()
    return tuple(map(_as_rules, value)) if type(value) is tuple else value


class Generated(NamedTuple):
    """New series and their tokens.

    Attributes:
        series: In original units, `(cases, channels, length)`, NaN beyond a series' end; float64
            where the training series have an offset (see `SeriesSet`), float32 else.
        codes: Their tokens, -1 beyond a series' end.
    """

    series: Tensor
    codes: Tensor


@torch.no_grad()
def generate(
    tokenizer: Tokenizer,
    prior: Prior,
    *,
    labels: Tensor,
    lengths: Tensor,
    decoding: Decoding,
    generator: torch.Generator,
    weak: Prior | None = None,
    conditions: Conditions | None = None,
    observe: Callable[..., None] | None = None,
) -> Generated:
    """Draw new series: low tokens first, then high tokens that read them, then the decoder.

    Args:
        tokenizer: Trained; it is used in evaluation mode and left as it was.
        prior: Trained on the tokenizer's tokens; likewise.
        labels: int64 `(cases,)`, -1 for no label.
        lengths: int64 `(cases,)`, samples of each new series.
        decoding: The rules, such as those of `build_decoding`.
        generator: The only source of randomness.
        weak: A weaker prior of the same tokens, an earlier checkpoint or a smaller one, to be
            guided away from (autoguidance); by default the prior without labels and conditions.
        conditions: What a `ConditionedPrior` is told of each series, at the model's scale.
        observe: Called with each decoding step of the first branch, of the first 256 series.

    Returns:
        The series and their tokens.

    Raises:
        ValueError: If there is nothing to draw, or a label or a length is out of range.

    Example:
        >>> import torch
        >>> from ssltok.data import read_series
        >>> from ssltok.pipelines import DecodingConfig, PriorConfig, TokenizerConfig
        >>> from ssltok.pipelines import build_decoding, build_prior, build_tokenizer, generate
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> prior = build_prior(PriorConfig(dim=8, depth=1), tokenizer, classes=2)
        >>> tokenizer.fit_scale(read_series(torch.randn(4, 1, 32)))
        >>> generated = generate(
        ...     tokenizer, prior, labels=torch.tensor([0, 1]), lengths=torch.tensor([32, 20]),
        ...     decoding=build_decoding(DecodingConfig(steps=2), tokenizer),
        ...     generator=torch.Generator().manual_seed(0),
        ... )
        >>> generated.series.shape, generated.series[1, 0].isnan().sum()  # twelve beyond the end
        (torch.Size([2, 1, 32]), tensor(12))
    """
    if not len(labels) or len(labels) != len(lengths):
        raise ValueError(
            f"generate: labels and lengths must be equally many, and some; "
            f"got {len(labels)} and {len(lengths)}"
        )
    if int(labels.max()) >= prior.classes or int(labels.min()) < -1:
        raise ValueError(
            f"generate: labels must lie in [-1, {prior.classes}); "
            f"got {int(labels.min())} to {int(labels.max())}"
        )
    if int(lengths.min()) < 1 or int(lengths.max()) > tokenizer.length:
        raise ValueError(
            f"generate: lengths must lie in [1, {tokenizer.length}]; "
            f"got {int(lengths.min())} to {int(lengths.max())}"
        )
    parts: list[Generated] = []
    with evaluation_mode(tokenizer, prior, *([] if weak is None else [weak])):
        for rows in torch.arange(len(labels)).split(AT_ONCE):
            some, sizes = labels[rows], lengths[rows]
            hidden = hidden_codes(prior, tokenizer.valid_tokens(sizes))
            codes = decode_tokens(
                prior,
                hidden,
                labels=some,
                decoding=decoding,
                generator=generator,
                weak=weak,
                conditions=None if conditions is None else conditions.take(rows),
                observe=None if parts else observe,
            )
            decoded = tokenizer.decode(codes)
            if tokenizer.texture is not None:
                decoded = decoded + texture_of(tokenizer, codes, generator=generator)
            series = tokenizer.in_units(decoded)
            times = torch.arange(tokenizer.length)
            series = series.masked_fill((times >= sizes[:, None])[:, None], torch.nan)
            parts.append(Generated(series, codes))
    return Generated(torch.cat([p.series for p in parts]), torch.cat([p.codes for p in parts]))


@torch.no_grad()
def decode_tokens(
    prior: Prior,
    tokens: Tensor,
    *,
    labels: Tensor,
    decoding: Decoding,
    generator: torch.Generator,
    weak: Prior | None = None,
    conditions: Conditions | None = None,
    observe: Callable[..., None] | None = None,
) -> Tensor:
    """Fill the hidden tokens of `(batch, tokens)`, branch by branch; known ones never change.

    A `CausalPrior` draws one code after the other in its own order, as many steps as there are
    places; steps, schedule and orders are of no matter to it, and there are no steps to observe.

    Args:
        prior: The model.
        tokens: int64, `prior.mask_index` where hidden, -1 at padding; low branch first. With
            several codes a token `(batch, tokens, codes)`.
        labels: int64 `(batch,)`, -1 for no label.
        decoding: The rules, such as those of `build_decoding`.
        generator: The only source of randomness.
        weak: As in `generate`.
        conditions: As in `generate`, a row for each of the tokens.
        observe: Called with each step of the first branch.

    Returns:
        The tokens, with nothing hidden.

    Raises:
        ValueError: If a `CausalPrior` is asked for what stands before something known, or by a
            rule that settles several tokens a step.

    Example:
        >>> import torch
        >>> from ssltok.pipelines import DecodingConfig, PriorConfig, TokenizerConfig
        >>> from ssltok.pipelines import build_decoding, build_prior, build_tokenizer, decode_tokens
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> prior = build_prior(PriorConfig(dim=8, depth=1), tokenizer, classes=2)
        >>> tokens = torch.full((2, 40), prior.mask_index)
        >>> tokens[:, 0] = 1  # known
        >>> tokens = decode_tokens(
        ...     prior, tokens, labels=torch.tensor([0, 1]),
        ...     decoding=build_decoding(DecodingConfig(steps=2), tokenizer),
        ...     generator=torch.Generator().manual_seed(0),
        ... )
        >>> tokens[:, 0].tolist(), bool((tokens < 3).all())
        ([1, 1], True)
    """
    if isinstance(prior, CausalPrior):
        if decoding.settle is not None:
            raise ValueError(
                "decode_tokens: settle must be None with a CausalPrior, of whose tokens one comes "
                "a step; got a rule"
            )
        return continue_codes(
            prior, tokens, labels=labels, sample=decoding.sample, generator=generator,
            guidance=decoding.guidance, weak=weak, conditions=conditions,
        )  # fmt: skip
    filled: list[Tensor] = []
    for number, part in enumerate(torch.split(tokens, list(prior.sizes), dim=1)):
        before = filled[-1] if filled else None
        context = context_of(prior, number, before, conditions)
        ask = _asking(prior, number, labels, context, decoding)
        free = None
        if decoding.guidance is not None and weak is not None:
            context = context_of(weak, number, before, conditions)
            free = _asking(weak, number, labels, context, decoding)
        elif decoding.guidance is not None and (
            conditions is not None or bool((labels >= 0).any())
        ):
            if conditions is not None:
                context = context_of(prior, number, before, conditions.hidden())
            free = _asking(prior, number, torch.full_like(labels, -1), context, decoding)
        run = functools.partial(
            _decode_level, prior, number, ask, free, decoding, generator,
            observe if number == 0 else None,
        )  # fmt: skip
        if prior.codes_per_token > 1:
            filled.append(decode_levels(run, part, mask_index=prior.mask_index))
        else:
            filled.append(run(part, 0, part[..., None][..., :0]))
    return torch.cat(filled, dim=1)


def _asking(
    prior: Prior, number: int, labels: Tensor, context: Tensor | None, decoding: Decoding
) -> Callable[..., LogitsFn]:
    """A branch's logits function, but for its level.

    Where a rule ends rows at different steps, those that ask for nothing do not go through.
    """
    if decoding.settle is None:
        return functools.partial(prior.logits_of, number, labels, context=context)

    def of_open_rows(*, coarser: Tensor | None, level: int) -> LogitsFn:
        def logits(tokens: Tensor, where: Tensor) -> Tensor:
            rows = where.any(dim=1)
            beside = [None if part is None else part[rows] for part in (context, coarser)]
            ask = prior.logits_of(
                number, labels[rows], context=beside[0], level=level, coarser=beside[1]
            )
            return ask(tokens[rows], where[rows])

        return logits

    return of_open_rows


def _decode_level(
    prior: Prior,
    number: int,
    ask: Callable[..., LogitsFn],
    free: Callable[..., LogitsFn] | None,
    decoding: Decoding,
    generator: torch.Generator,
    observe: Callable[..., None] | None,
    tokens: Tensor,
    level: int,
    coarser: Tensor,
) -> Tensor:
    """Fill one code of a branch's tokens, `(batch, tokens)`, given the coarser ones."""
    size = prior.codebook_sizes[number][level]
    seen = coarser if level else None
    guidance = None
    if free is not None and decoding.guidance is not None:
        guidance = decoding.guidance(free(level=level, coarser=seen))
    return iterative_decode(
        ask(level=level, coarser=seen),
        tokens.clamp(max=size) if size < prior.mask_index else tokens,
        mask_index=size,
        steps=decoding.steps,
        schedule=decoding.schedule,
        order=decoding.orders[number],
        sample=decoding.sample,
        guidance=guidance,
        settle=decoding.settle,
        observe=observe if level == 0 else None,
        generator=generator,
    )


def hidden_codes(prior: Prior, valid: Tensor) -> Tensor:
    """Codes with every token hidden where `valid`, `(batch, tokens)`, and -1 elsewhere."""
    hidden = torch.full(valid.shape, prior.mask_index).masked_fill(~valid, -1)
    if prior.codes_per_token > 1:
        hidden = hidden[..., None].repeat(1, 1, prior.codes_per_token)
    return hidden
