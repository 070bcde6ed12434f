"""One decoder for masked tokens: how many, which and what are functions that the caller passes.

MaskGIT, TimeVQVAE, Halton order, random order (MDLM), re-masking (ReMDM), critics, counts by the
model (entropy bound, thresholds) and drafts that are verified are choices of `schedule`, `order`,
`sample`, `guidance` and `settle`, not decoders of their own.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_bool_mask, check_codes
from ssltok._shared.ranking import mask_lowest

__all__ = [
    "DecodingState",
    "Drawn",
    "Guidance",
    "LogitsFn",
    "Observe",
    "Order",
    "Sample",
    "Settle",
    "iterative_decode",
]


class Drawn(NamedTuple):
    """What a rule drew.

    Attributes:
        tokens: `(rows,)`, int64.
        logprob: `(rows,)`, fp32: of the model as it is, before temperature and truncation;
            `log_probability` computes it. It is the confidence by which `confidence_order` ranks.
    """

    tokens: Tensor
    logprob: Tensor


class DecodingState(NamedTuple):
    """What a rule may look at in the middle of a step, after tokens were drawn.

    Attributes:
        tokens: `(batch, tokens)`: every hidden place holds the token just drawn.
        logprob: `(batch, tokens)`, fp32: the log-probability each token had when it was drawn, 0
            where it was given.
        drawn: `(batch, tokens)`, True where this step drew a token.
        given: `(batch, tokens)`, True where nothing may change (known from the start, or padding).
        logits: `(drawn, codebook_size)`, the rows of `drawn` in row-major order.
        progress: $(t + 1) / T$.
        share_before: The schedule's share before the step.
        share_after: Its share after the step.
        generator: The run's source of randomness.
        settled: For a `settle` rule to fill in: `(batch, tokens)`, True where the token stays after
            this step, False where it is masked; None leaves that to schedule and order.
        memory: What rules remember from step to step; each run begins with an empty one.
    """

    tokens: Tensor
    logprob: Tensor
    drawn: Tensor
    given: Tensor
    logits: Tensor
    progress: float
    share_before: float
    share_after: float
    generator: torch.Generator | None
    settled: Tensor | None = None
    memory: dict[str, Tensor] | None = None


LogitsFn = Callable[[Tensor, Tensor], Tensor]
"""From tokens and where, `(batch, tokens)` each, to logits `(where.sum(), codebook_size)`."""

Sample = Callable[[Tensor, float, torch.Generator | None], Drawn]
"""From logits `(rows, codebook_size)`, progress and generator to what was drawn."""

Order = Callable[[DecodingState], Tensor]
"""From the state to a priority `(batch, tokens)`: the lowest are masked again, +inf stays."""

Settle = Callable[[DecodingState], DecodingState]
"""From the state to the state with `settled` filled in, and perhaps with other tokens."""

Guidance = Callable[[LogitsFn, Tensor, Tensor, float], Tensor]
"""From a logits function, tokens, where and progress to logits, as `LogitsFn` returns them."""

Observe = Callable[[DecodingState, Tensor], None]
"""Called after each step with its state and the tokens as the next step will see them."""


@torch.no_grad()
def iterative_decode(
    logits_fn: LogitsFn,
    tokens: Tensor,
    *,
    mask_index: int,
    steps: int,
    schedule: Callable[[Tensor], Tensor],
    order: Order,
    sample: Sample,
    guidance: Guidance | None = None,
    settle: Settle | None = None,
    given: Tensor | None = None,
    valid: Tensor | None = None,
    observe: Observe | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Fill the masked tokens of every row in at most `steps` parallel steps.

    Step $t = 0, \dots, T - 1$ draws a token at every masked place, then masks again the

    $$n = \min(\lvert \text{open} \rvert - 1, \lfloor U \gamma((t + 1) / T) \rfloor)$$

    of lowest priority, where $U$ is the row's number of masked tokens at the start, $\gamma$ the
    schedule, and "open" the places that are not given and whose priority is below $+\infty$. Counts
    are exact under ties, differ from row to row, and fall to 0 at the last step. Every step keeps
    at least one token it has drawn, so rows of $U < T$ tokens need $U$ steps; the decoder stops
    when no row has a masked token left. Each step calls the model once, and only for the masked
    places.

    A `settle` rule may say instead, step by step and row by row, what stays; then the schedule is
    only the most that may be left masked, and the order says what stays where the rule takes too
    little. With `rule_schedule` the rule alone decides, and `steps` bounds the forwards.

    MaskGIT's code masks at least one token until the last step and draws it again from the same
    logits; here that forward is not made. Given tokens are protected by construction, not by a
    large confidence. No gradient is recorded.

    Args:
        logits_fn: The model, from tokens `(batch, tokens)` and where `(batch, tokens)` to logits
            `(where.sum(), mask_index)`, rows in row-major order of `where`; -inf forbids a code.
        tokens: `(batch, tokens)`, int64: `mask_index` where unknown, a code where known, -1 where
            padding. It is not changed.
        mask_index: The index of `[MASK]`, which equals the size of the codebook.
        steps: $T$, the most forwards to make, at least 1.
        schedule: $\gamma$, from progress to the share masked, such as `cosine_schedule`; 0 at 1.
        order: Which tokens to keep, such as `confidence_order()`.
        sample: What token to draw, such as `temperature_sample()`.
        guidance: How to change the logits, such as `classifier_free_guidance(...)`; none by
            default.
        settle: How many to keep, by the model: such as `entropy_bound(0.1)`; by default the
            schedule says.
        given: `(batch, tokens)`, boolean, True where a token may never change. By default all
            tokens known at the start; a critic or `remask_order` may revise what is not given.
        valid: `(batch, tokens)`, boolean, False where a token is padding and stays as it is. By
            default all tokens but -1.
        observe: Called after each step, such as a `DecodingTrace`.
        generator: Source of randomness for every rule, on the device of `tokens`.

    Returns:
        The tokens, `(batch, tokens)`, with nothing masked where `valid`.

    Raises:
        ValueError: If shapes or dtypes do not fit, a token leaves [-1, `mask_index`],
            `steps < 1`, the schedule does not end at 0, the model or a rule returns another
            shape, logits are NaN, +inf or all -inf, or a code of probability 0 is drawn.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.decoding import confidence_order, iterative_decode, temperature_sample
        >>> def sure_of_one(tokens, where):  # two codes; the model is sure of code 1
        ...     return torch.tensor([0.0, 50.0]).expand(int(where.sum()), 2)
        >>> iterative_decode(
        ...     sure_of_one, torch.tensor([[2, 0, 2, -1]]), mask_index=2, steps=2,
        ...     schedule=lambda progress: 1 - progress,
        ...     order=confidence_order(temperature=0.0), sample=temperature_sample(temperature=0.0),
        ... )
        tensor([[ 1,  0,  1, -1]])

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, section 3.2.
        Lee et al., *TimeVQVAE*, 2023, <https://arxiv.org/abs/2303.04743>.
    """
    check_run(tokens, mask_index, given, valid)
    check_at_least("iterative_decode", "steps", steps, 1)
    shares = shares_of(schedule, steps)
    valid = tokens >= 0 if valid is None else valid & (tokens >= 0)
    unknown = (tokens == mask_index) & valid
    given = ~unknown if given is None else (given | ~valid) & ~unknown
    total = unknown.sum(dim=-1)
    logprob = torch.zeros(tokens.shape, device=tokens.device, dtype=torch.float32)
    memory: dict[str, Tensor] = {}
    for step in range(steps):
        rows = int(unknown.sum())  # a wait for the device: logits have as many rows
        if rows == 0:
            break
        progress = (step + 1) / steps
        if guidance is None:
            logits = logits_fn(tokens, unknown)
        else:
            logits = guidance(logits_fn, tokens, unknown, progress)
        check_logits(logits, rows, mask_index)
        drawn = sample(logits, progress, generator)
        check_drawn(drawn, logits)
        tokens = tokens.masked_scatter(unknown, drawn.tokens)
        logprob = logprob.masked_scatter(unknown, drawn.logprob.float())
        before, after = shares[step : step + 2]
        state = DecodingState(
            tokens, logprob, unknown, given, logits, progress, before, after, generator,
            memory=memory,
        )  # fmt: skip
        if settle is not None:
            state = settle(state)
            check_settled(state, tokens)
        unknown = choose(state, order, total)
        tokens, logprob = state.tokens.masked_fill(unknown, mask_index), state.logprob
        if observe is not None:
            observe(state, tokens)
    return tokens


def choose(state: DecodingState, order: Order, total: Tensor) -> Tensor:
    """Return which places to mask for the next step, exactly as many as schedule or rule says."""
    if state.share_after <= 0:
        return torch.zeros_like(state.drawn)
    priority = order(state)
    if priority.shape != state.tokens.shape:
        raise ValueError(
            f"iterative_decode: order must return shape {tuple(state.tokens.shape)}; "
            f"got {tuple(priority.shape)}"
        )
    if not priority.is_floating_point():
        priority = priority.double()
    if state.settled is None:
        candidates = ~state.given & (priority != torch.inf)
        most = candidates.sum(dim=-1) - 1
    else:
        candidates = ~state.given & ~state.settled
        priority = priority.masked_fill(~state.drawn, -torch.inf)  # taken back: masked first
        none = ~(state.settled & state.drawn).any(dim=-1)
        most = candidates.sum(dim=-1) - none.long()
    wanted = torch.floor(total * (state.share_after + 1e-6)).long()
    return mask_lowest(priority, torch.minimum(wanted, most).clamp(min=0), candidates)


def shares_of(schedule: Callable[[Tensor], Tensor], steps: int) -> list[float]:
    """Ask the schedule once for the share at the start and after each step."""
    shares = schedule(torch.linspace(0, 1, steps + 1, dtype=torch.float64))
    if shares.shape != (steps + 1,):
        raise ValueError(
            "iterative_decode: schedule must keep the shape of progress; "
            f"got {tuple(shares.shape)} for {(steps + 1,)}"
        )
    listed: list[float] = shares.tolist()
    if not abs(listed[-1]) < 1e-6:
        raise ValueError(
            "iterative_decode: schedule must end at a share masked of 0; "
            f"got {listed[-1]:.4g} at progress 1"
        )
    return [*listed[:-1], 0.0]


def check_run(tokens: Tensor, mask_index: int, given: Tensor | None, valid: Tensor | None) -> None:
    """Ask for codes, padding and `[MASK]` only; waits for the device once, before any work."""
    who = "iterative_decode"
    check_axes(who, "tokens", tokens, "batch tokens")
    check_codes(who, "tokens", tokens)
    check_at_least(who, "mask_index", mask_index, 1)
    if given is not None:
        check_bool_mask(who, "given", given, tokens.shape)
    if valid is not None:
        check_bool_mask(who, "valid", valid, tokens.shape)
    if tokens.numel() == 0:
        raise ValueError(f"{who}: tokens must not be empty; got shape {tuple(tokens.shape)}")
    low, high = torch.stack(tokens.aminmax()).tolist()
    if low < -1 or high > mask_index:
        raise ValueError(
            f"{who}: tokens must lie in [-1, mask_index = {mask_index}]; got {low} to {high}"
        )


def check_logits(
    logits: Tensor, rows: int, mask_index: int, *, who: str = "iterative_decode",
    places: str = "masked",
) -> None:  # fmt: skip
    """Ask for one row per place asked for and one column per code, none for `[MASK]`."""
    if tuple(logits.shape) != (rows, mask_index):
        raise ValueError(
            f"{who}: logits must be ({places} places, mask_index) = "
            f"({rows}, {mask_index}); got {tuple(logits.shape)}"
        )


def check_drawn(drawn: Drawn, logits: Tensor, *, who: str = "iterative_decode") -> None:
    """Ask for one possible code per row of logits; the other wait for the device of a step."""
    rows, codes = logits.shape
    if tuple(drawn.tokens.shape) != (rows,) or tuple(drawn.logprob.shape) != (rows,):
        raise ValueError(
            f"{who}: sample must return tokens and logprob of shape ({rows},); "
            f"got {tuple(drawn.tokens.shape)} and {tuple(drawn.logprob.shape)}"
        )
    if drawn.tokens.dtype != torch.int64:
        raise ValueError(f"{who}: sample must return int64 tokens; got {drawn.tokens.dtype}")
    inside = (drawn.tokens >= 0) & (drawn.tokens < codes)
    of_drawn = logits.gather(-1, drawn.tokens.clamp(0, codes - 1)[:, None])[:, 0]
    wrong = ~(inside & (of_drawn > -torch.inf))
    if not bool(wrong.any()):
        return
    best = logits.amax(dim=-1)
    if not bool(best.isfinite().all()):
        raise ValueError(
            f"{who}: every row of logits must have a code above -inf, and no NaN or inf; "
            f"got a row whose largest is {float(best[~best.isfinite()][0])}"
        )
    raise ValueError(
        f"{who}: sample must return codes in [0, {codes}) of positive probability; "
        f"got {int(drawn.tokens[wrong][0])}"
    )


def check_settled(state: DecodingState, before: Tensor) -> None:
    """Ask a rule for a mask and tokens of the run's own shape."""
    who = "iterative_decode"
    if state.settled is not None:
        check_bool_mask(who, "settled", state.settled, before.shape)
    if state.tokens.shape != before.shape or state.tokens.dtype != before.dtype:
        raise ValueError(
            f"{who}: settle must return int64 tokens of shape {tuple(before.shape)}; "
            f"got {state.tokens.dtype} of {tuple(state.tokens.shape)}"
        )
