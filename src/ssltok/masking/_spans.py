"""Masks of runs: spans (wav2vec 2.0), a Markov chain, and gaps of exact number and length."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_number, check_ratio
from ssltok._shared.ranking import count_share, mask_lowest
from ssltok.masking._random import check_grid, start
from ssltok.masking._span_lengths import SpanLengths, fixed_spans

__all__ = ["impute_mask", "markov_mask", "span_mask"]


def span_mask(
    shape: tuple[int, int],
    *,
    ratio: float,
    length: int,
    lengths: SpanLengths | None = None,
    overlap: bool = True,
    valid: Tensor | None = None,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Mask spans that start at random places (wav2vec 2.0).

    A row of $n$ valid tokens gets $\lfloor \text{ratio} \cdot n / \text{length} + u \rfloor$ spans,
    $u \sim U[0, 1)$, at least one. With overlap, starts are distinct and otherwise independent,
    and the share masked stays below `ratio`; without, spans touch but never overlap, every
    arrangement is equally likely, and as many spans are placed as fit. Where the spans of a row
    differ in length, each starts anywhere it fits, whatever the others do; two may then start
    together.

    Departure: fairseq draws starts from $n - \text{length}$ places and so never masks the last
    token; here there are $n - \text{length} + 1$. Spans run along the valid tokens of a row.

    Args:
        shape: `(batch, tokens)`.
        ratio: Share masked if no spans overlapped, in [0, 1]; wav2vec 2.0 uses 0.65.
        length: Mean length of a span, at least 1; wav2vec 2.0 uses 10.
        lengths: Rule for the lengths, such as `uniform_spans(5, 15)`; `fixed_spans(length)` by
            default.
        overlap: Whether spans may overlap.
        valid: `(batch, tokens)`, boolean, True where a token is real; all by default.
        device: Where the mask is made; that of `valid`, or the CPU, by default.
        generator: Source of randomness, on the same device.

    Returns:
        A boolean mask, `(batch, tokens)`, True where masked; at least one per row.

    Raises:
        ValueError: If the shape is empty, `valid` does not fit, an option is out of range, or
            `lengths` returns another shape or dtype.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> from ssltok.masking import span_mask
        >>> span_mask((1, 12), ratio=0.5, length=6, overlap=False).sum()
        tensor(6)

    References:
        Baevski et al., *wav2vec 2.0*, 2020, <https://arxiv.org/abs/2006.11477>, section 3.1;
        `compute_mask_indices` of fairseq.
    """
    check_grid("span_mask", shape, valid)
    check_ratio("span_mask", "ratio", ratio)
    check_at_least("span_mask", "length", length, 1)
    among, sizes = start(shape, valid, device)
    uniform = torch.rand(shape[0], device=among.device, generator=generator)
    counts = (sizes * (ratio / length) + uniform).floor().long().clamp(min=1)
    most = min(int(ratio * shape[1] / length) + 1, shape[1])
    spans = torch.arange(most, device=among.device).expand(shape[0], most)
    long = (lengths or fixed_spans(length))(spans, generator)
    if long.shape != spans.shape or long.dtype != torch.int64:
        raise ValueError(
            f"span_mask: lengths must return int64 of shape {tuple(spans.shape)}; "
            f"got {long.dtype} of shape {tuple(long.shape)}"
        )
    long = torch.minimum(long, sizes[:, None])
    if overlap:
        long = long.where(spans < counts[:, None], 0)
        scores = torch.rand(shape, device=among.device, generator=generator)
        places = torch.arange(shape[1], device=among.device)
        allowed = places < (sizes - long.where(long > 0, shape[1]).amin(-1))[:, None] + 1
        starts = scores.masked_fill(~allowed, 2.0).argsort(dim=-1, stable=True)[:, :most]
        long = long.where(spans < allowed.sum(-1, keepdim=True), 0)
        if lengths is not None:  # distinct starts would favour one end: not so distinct ends
            room = (sizes[:, None] - long).clamp(min=0) + 1
            again = torch.rand(long.shape, device=among.device, generator=generator) * room
            alike = (long == long.amax(-1, keepdim=True)) | (long == 0)
            starts = starts.where(alike.all(-1, keepdim=True), again.long().minimum(room - 1))
    else:
        fits = (long.cumsum(-1) <= sizes[:, None]) & (spans < counts[:, None])
        long = long.where(fits, 0)
        free = sizes - long.sum(-1)
        starts = spread(fits, free, shape[1], generator, touch=True)
        starts = starts + long.cumsum(-1) - long
    return runs(starts, long, among)


def spread(
    active: Tensor,
    free: Tensor,
    tokens: int,
    generator: torch.Generator | None,
    *,
    touch: bool,
) -> Tensor:
    """Say how many of a row's `free` tokens lie before each active run, uniformly at random.

    Runs that may touch are a choice of places among runs and free tokens together; runs that may
    not touch are a choice among the `free + 1` gaps between free tokens.
    """
    count = active.sum(-1)
    slots = free + (count if touch else 1)
    scores = torch.rand((len(free), tokens + 1), device=free.device, generator=generator)
    places = torch.arange(tokens + 1, device=free.device)
    chosen = mask_lowest(scores, torch.minimum(count, slots), places < slots[:, None])
    order = places.expand_as(chosen).masked_fill(~chosen, tokens + 1).sort(-1).values
    before = order[:, : active.shape[1]]
    if touch:
        before = before - torch.arange(before.shape[1], device=free.device)
    return before.where(active, 0)


def runs(starts: Tensor, lengths: Tensor, among: Tensor) -> Tensor:
    """Mark runs, `(batch, runs)` each, counted along the places `among` of each row."""
    edges = torch.zeros(
        (among.shape[0], among.shape[1] + 1), dtype=torch.int64, device=among.device
    )
    on = (lengths > 0).long()
    edges.scatter_add_(1, starts, on).scatter_add_(1, starts + lengths, -on)
    packed = edges.cumsum(-1) > 0
    return packed.gather(1, (among.cumsum(-1) - 1).clamp(min=0)) & among


def markov_mask(
    shape: tuple[int, int],
    *,
    ratio: float,
    span: float,
    valid: Tensor | None = None,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Mask by a two-state Markov chain: geometric spans of a mean length, geometric gaps.

    A masked run ends with probability $1/m$ after each token, $m$ = `span`, and a visible one with
    $\frac{1}{m} \frac{\rho}{1 - \rho}$, $\rho$ = `ratio`; the first token is masked with
    probability $\rho$. The chain is stationary: every token is masked with probability $\rho$. A
    row in which nothing came out masked gets one random masked token. Without a loop over tokens:
    each step either forces a state, keeps the last, or flips it.

    Args:
        shape: `(batch, tokens)`; for masks of their own in every channel, fold the channels into
            the batch.
        ratio: $\rho$, the expected share masked, in (0, 1); mvts_transformer uses 0.15.
        span: $m \ge 1$, the mean length of a masked run; mvts_transformer uses 3.
        valid: `(batch, tokens)`, boolean, True where a token is real; all by default.
        device: Where the mask is made; that of `valid`, or the CPU, by default.
        generator: Source of randomness, on the same device.

    Returns:
        A boolean mask, `(batch, tokens)`, True where masked; at least one per row.

    Raises:
        ValueError: If the shape is empty, `valid` does not fit, an option is out of range, or
            gaps would need a mean length below 1.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> from ssltok.masking import markov_mask
        >>> markov_mask((2, 16), ratio=0.15, span=3).shape
        torch.Size([2, 16])

    References:
        Zerveas et al., *A transformer-based framework for multivariate time series representation
        learning*, 2020, <https://arxiv.org/abs/2010.02803>.
    """
    check_grid("markov_mask", shape, valid)
    check_at_least("markov_mask", "span", span, 1)
    check_number("markov_mask", "ratio", ratio)
    if not 0 < ratio < 1:
        raise ValueError(f"markov_mask: ratio must lie in (0, 1); got {ratio}")
    leave, enter = 1 / span, min(1.0, ratio / (1 - ratio) / span)  # rounding may pass 1
    if ratio > span / (span + 1):
        raise ValueError(
            "markov_mask: ratio must be <= span / (span + 1), for gaps of one token or more; "
            f"got {ratio} with span {span}"
        )
    among, _ = start(shape, valid, device)
    uniform = torch.rand(shape, device=among.device, generator=generator)
    low, high = min(enter, 1 - leave), max(enter, 1 - leave)
    forced = (uniform < low) | (uniform >= high)
    state = uniform < low
    forced[:, 0] = True
    state[:, 0] = uniform[:, 0] < ratio
    places = torch.arange(shape[1], device=among.device)
    last = torch.where(forced, places, 0).cummax(dim=-1).values
    mask = state.gather(1, last)
    if enter + leave > 1:  # in between the chain flips; otherwise it keeps its state
        mask = mask ^ ((places - last) % 2 == 1)
    mask = mask & among
    scores = torch.rand(shape, device=among.device, generator=generator)
    alone = mask_lowest(scores, among.any(-1).long(), among)
    return mask | (alone & ~mask.any(-1, keepdim=True))


def impute_mask(
    shape: tuple[int, int],
    *,
    ratio: float,
    span: float,
    valid: Tensor | None = None,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Mask gaps such as missing data leave: count and number of gaps exact in every row.

    A row of $n$ valid tokens gets $k = \lceil \text{ratio} \cdot n \rceil$ masked ones in
    $\max(1, \mathrm{round}(k / \text{span}))$ gaps, at least one visible token between two. All
    splits of $k$ into that many gaps are equally likely, and all places of the gaps. For scores of
    imputation that should not depend on the luck of the count; `markov_mask` leaves both random.

    Args:
        shape: `(batch, tokens)`, or `(batch, length)` for samples of a series.
        ratio: Share of the valid tokens to mask, in [0, 1].
        span: Mean length of a gap, at least 1.
        valid: `(batch, tokens)`, boolean, True where a token is real; all by default.
        device: Where the mask is made; that of `valid`, or the CPU, by default.
        generator: Source of randomness, on the same device.

    Returns:
        A boolean mask, `(batch, tokens)`, True where masked; at least one per row.

    Raises:
        ValueError: If the shape is empty, `valid` does not fit, or an option is out of range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> from ssltok.masking import impute_mask
        >>> impute_mask((1, 20), ratio=0.3, span=3).sum()
        tensor(6)
    """
    check_grid("impute_mask", shape, valid)
    check_ratio("impute_mask", "ratio", ratio)
    check_at_least("impute_mask", "span", span, 1)
    among, sizes = start(shape, valid, device)
    hidden = count_share(ratio, sizes)
    count = torch.minimum((hidden / span).round().long().clamp(min=1), sizes - hidden + 1)
    count = torch.minimum(count, hidden)
    most = max(1, shape[1] // 2 + 1)
    active = torch.arange(most, device=among.device) < count[:, None]
    cuts = torch.rand(shape, device=among.device, generator=generator)  # before token i + 1 of k
    places = torch.arange(shape[1], device=among.device)
    inside = places < (hidden - 1)[:, None]
    cut = mask_lowest(cuts, (count - 1).clamp(min=0), inside)
    owner = torch.nn.functional.pad(cut.long(), (1, 0))[:, :-1].cumsum(-1)
    ones = (places < hidden[:, None]).long()
    long = torch.zeros((shape[0], shape[1]), dtype=torch.int64, device=among.device)
    long = long.scatter_add_(1, owner, ones)[:, :most]
    starts = spread(active, sizes - hidden, shape[1], generator, touch=False)
    return runs(starts + long.cumsum(-1) - long, long, among)
