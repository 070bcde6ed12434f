"""What every prior promises: logits where they are asked, row by row, and no truth leaks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ssltok.testing._asking import (
    answered,
    ask,
    ask_members,
    ask_quiet,
    drawn_from,
    near,
    same_state,
    state_of,
    wave_of,
)  # fmt: skip

__all__ = ["check_prior"]

MEMBERS = (
    "sizes", "classes", "codebook_sizes", "codes_per_token", "mask_index", "context", "logits_of",
)  # fmt: skip
CASES = 4


@answered
def check_prior(build: Callable[[], nn.Module]) -> None:
    """Ask of a prior what its training and the decoder need of it.

    - It is a module with `sizes` (tokens of each branch), `classes`, `codebook_sizes` (for each
      branch a tuple, coarse first), `codes_per_token` and `mask_index`, the largest codebook's
      size; they fit each other.
    - `logits_of(branch, labels, context, level=0, coarser=None)` gives a function of tokens
      `(batch, tokens)` and where, to finite logits `(where.sum(), codebook_size)`: rows in
      row-major order, whatever else is asked.
    - `context(codes, branch)` is what a branch after the first reads of the one before.
    - Rows are independent, -1 marks padding in tokens and no label in labels, and in evaluation
      nothing is drawn and no state moves.
    - A gradient reaches some parameter of each branch, and is finite.
    - The state_dict carries all that logits need.

    Args:
        build: Returns a new prior; what it draws from the global stream is seeded.

    Raises:
        AssertionError: With who, rule and fact, at the first broken promise.

    Example:
        >>> from ssltok.pipelines import PriorConfig, TokenizerConfig, build_prior, build_tokenizer
        >>> from ssltok.testing import check_prior
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> check_prior(lambda: build_prior(PriorConfig(dim=8, depth=1), tokenizer, classes=2))
    """
    prior = _new(build)
    _check_sizes(prior)
    codes = _codes(prior)
    for branch in range(len(prior.sizes)):
        for level in range(prior.codes_per_token):
            _check_logits(_new(build), codes, branch, level)
        _check_gradient(_new(build), codes, branch)
    _check_saving(build, codes)


def _new(build: Callable[[], nn.Module]) -> Any:
    with drawn_from(0):
        prior = build()
    ask_members(prior, MEMBERS)
    return prior


def _check_sizes(prior: Any) -> None:
    sizes, books = prior.sizes, prior.codebook_sizes
    ask(isinstance(sizes, tuple) and all(type(n) is int and n >= 1 for n in sizes), prior,
        "sizes must be a tuple of positive ints", sizes)  # fmt: skip
    ask(type(prior.classes) is int and prior.classes >= 0, prior, "classes must be an int >= 0",
        prior.classes)  # fmt: skip
    ask(len(books) == len(sizes), prior, "codebook_sizes must be as many as sizes", books)
    ask(all(len(book) == prior.codes_per_token for book in books), prior,
        "codes_per_token must be the codebooks of each branch", prior.codes_per_token)  # fmt: skip
    largest = max(max(book) for book in books)
    ask(prior.mask_index == largest, prior, f"mask_index must be the largest codebook, {largest}",
        prior.mask_index)  # fmt: skip


def _codes(prior: Any) -> list[Tensor]:
    """True codes by branch, `(batch, tokens)` or `(batch, tokens, codes)`; two rows are padded."""
    generator, branches = torch.Generator().manual_seed(1), []
    for size, books in zip(prior.sizes, prior.codebook_sizes, strict=True):
        levels = [torch.randint(book, (CASES, size), generator=generator) for book in books]
        codes = torch.stack(levels, dim=-1)
        for row in (1, 2):
            codes[row, max(size * (row + 1) // 4, 1) :] = -1
        branches.append(codes if prior.codes_per_token > 1 else codes[..., 0])
    return branches


def _labels(prior: Any) -> Tensor:
    labels: Tensor = torch.arange(CASES) % (prior.classes + 1) - 1
    return labels


def _ask_for(prior: Any, codes: list[Tensor], branch: int, level: int, rows: slice) -> Any:
    """The logits function of some rows."""
    context = prior.context(codes[branch - 1][rows], branch) if branch else None
    coarser = codes[branch][rows, :, :level] if level else None
    labels = _labels(prior)[rows]
    if prior.codes_per_token == 1:
        return prior.logits_of(branch, labels, context)
    return prior.logits_of(branch, labels, context, level=level, coarser=coarser)


def _hidden(prior: Any, codes: list[Tensor], branch: int, level: int) -> tuple[Tensor, Tensor]:
    """Tokens of a level with some hidden in each row, and where."""
    tokens = codes[branch] if prior.codes_per_token == 1 else codes[branch][..., level]
    places = torch.arange(tokens.shape[1])
    where = ((places + torch.arange(CASES)[:, None]) % 3 == 0) & (tokens >= 0)
    where[:, 0] = True
    return tokens.masked_fill(where, prior.codebook_sizes[branch][level]), where


def _check_logits(prior: Any, codes: list[Tensor], branch: int, level: int) -> None:
    prior.eval()
    before, everything = state_of(prior), slice(None)
    tokens, where = _hidden(prior, codes, branch, level)
    copies = tokens.clone(), where.clone()
    with torch.no_grad(), ask_quiet(prior, "in evaluation it"):
        logits = _ask_for(prior, codes, branch, level, everything)
        seen, whole = logits(tokens, where), logits(tokens, tokens >= 0)
        rows = [
            _ask_for(prior, codes, branch, level, slice(i, i + 1))(
                tokens[i : i + 1], where[i : i + 1]
            )
            for i in range(CASES)
        ]
    shape = (int(where.sum()), prior.codebook_sizes[branch][level])
    ask(tuple(seen.shape) == shape, prior, f"logits must have shape {shape}", tuple(seen.shape))
    ask(bool(seen.isfinite().all()), prior, "logits must be finite", "NaN or inf")
    ask(near(seen, whole[where[tokens >= 0]]), prior,
        "logits must stand in the order of where, whatever else is asked", "others")  # fmt: skip
    ask(near(seen, torch.cat(rows)), prior, "rows must be independent", "others")
    same = torch.equal(tokens, copies[0]) and torch.equal(where, copies[1])
    ask(same, prior, "tokens and where must stay as they are", "others")
    ask(same_state(state_of(prior), before), prior, "it must read, not write", "a new state")


def _check_gradient(prior: Any, codes: list[Tensor], branch: int) -> None:
    tokens, where = _hidden(prior, codes, branch, 0)
    with drawn_from(0):
        logits = _ask_for(prior, codes, branch, 0, slice(None))(tokens, where)
    ask(logits.requires_grad, prior, "a gradient must reach its parameters", "none")
    (logits * wave_of(logits)).sum().backward()
    grads = [p.grad for p in prior.parameters() if p.grad is not None]
    ask(any(bool(g.any()) for g in grads), prior, "a gradient must reach its parameters", "zeros")
    ask(all(bool(g.isfinite().all()) for g in grads), prior, "gradients must be finite", "NaN")


def _check_saving(build: Callable[[], nn.Module], codes: list[Tensor]) -> None:
    prior, other = _new(build), _new(build)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.mul_(1.1)
        other.load_state_dict(prior.state_dict())
        tokens, where = _hidden(prior, codes, 0, 0)
        results = [
            _ask_for(part.eval(), codes, 0, 0, slice(None))(tokens, where)
            for part in (prior, other)
        ]
    ask(torch.equal(*results), prior, "the state_dict must carry all that logits need", "others")
