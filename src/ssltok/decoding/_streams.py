"""Two copies of a row in one forward: who may read whom is a mask (WINO, any-subset models)."""

from typing import Protocol

import torch
from torch import Tensor

from ssltok._shared.checks import check_bool_mask, check_codes
from ssltok._shared.described import described
from ssltok.decoding._iterative import LogitsFn
from ssltok.decoding._orders import check_permutation

__all__ = ["MaskedModel", "ordered_logits", "shadow_logits", "visit_ranks"]


class MaskedModel(Protocol):
    """A model that is told where each token stands and who reads whom, as `TokenTransformer`.

    `places` is `(batch, tokens)`; `allowed` is `(batch, tokens + 1, tokens)`, True where the token
    of the second axis reads that of the third; its first row is for what stands in front, such as a
    class token.
    """

    def __call__(
        self, tokens: Tensor, where: Tensor, /, *, places: Tensor, allowed: Tensor
    ) -> Tensor:
        """Return logits `(where.sum(), codebook_size)`."""
        ...


@described
def shadow_logits(model: MaskedModel, *, mask_index: int) -> LogitsFn:
    """Ask for visible tokens as if each were hidden, in the forward that guesses the hidden ones.

    Beside every row stands a shadow: `[MASK]` at each place, which reads the row but for its own
    place, and which nobody reads. Hidden places are answered by the row as always, visible ones by
    their shadows. Of a model with one layer a shadow says exactly what it would say with that token
    hidden; in a deeper one the others have read the token. Costs a row of twice the length.

    Departure: in the authors' code shadows read each other.

    Args:
        model: Such as a `TokenTransformer`, with labels bound by `functools.partial`.
        mask_index: The index of `[MASK]`, which equals the size of the codebook.

    Returns:
        A logits function, for `shadow_verification`.

    Example:
        >>> import torch
        >>> from ssltok.decoding import shadow_logits
        >>> def counts(tokens, where, *, places, allowed):  # how often each code is read
        ...     read = allowed[:, 1:].float()
        ...     return torch.stack([(read @ (tokens == k).float()[..., None])[..., 0][where]
        ...                         for k in (0, 1)], dim=1)
        >>> guess = shadow_logits(counts, mask_index=2)
        >>> guess(torch.tensor([[1, 1, 2]]), torch.tensor([[False, True, True]]))
        tensor([[0., 1.],
                [0., 2.]])

    References:
        Hong et al., *Wide-in, narrow-out* (WINO), 2025, <https://arxiv.org/abs/2507.18578>.
    """

    def guess(tokens: Tensor, where: Tensor) -> Tensor:
        itself = torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device)
        everything = torch.ones_like(itself)
        nothing = torch.zeros_like(itself)
        read = torch.cat(
            [torch.cat([everything, nothing], 1), torch.cat([~itself, itself], 1)], dim=0
        )
        front = torch.cat([everything[:1], nothing[:1]], dim=1)
        shadow = torch.where(tokens < 0, tokens, mask_index)
        hidden = tokens == mask_index
        return _both(
            model, tokens, shadow, where & hidden, where & ~hidden, torch.cat([front, read])[None]
        )

    return guess


@described
def ordered_logits(model: MaskedModel, ranks: Tensor, *, mask_index: int) -> LogitsFn:
    r"""Answer every place from the known tokens of a lower rank alone (any-subset models).

    Beside every row stands a row of queries, `[MASK]` at each place: a query reads the known
    tokens of a rank below its own, and a token those up to its own. So one forward of a complete
    row gives $p(x_i \mid x_j, r_j < r_i)$ of every place, and one of a row with masks the same of
    those that come next: what `speculative` drafts and verifies with, of any depth. A model is
    trained for it by this function: hide random places, rank them at random, and ask for them with
    the true tokens in the row. Costs a row of twice the length.

    Args:
        model: Such as a `TokenTransformer`, with labels bound by `functools.partial`.
        ranks: `(tokens,)` or `(batch, tokens)`, int64, at least 0; tokens of rank 0 are known from
            the start and read one another, such as those of `visit_ranks`.
        mask_index: The index of `[MASK]`, which equals the size of the codebook.

    Returns:
        A logits function, for `iterative_decode` and `speculative`.

    Raises:
        ValueError: If `ranks` is not int64 or negative, or two tokens of a row share a rank above
            0; when called, if it does not fit the tokens.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.decoding import ordered_logits
        >>> def counts(tokens, where, *, places, allowed):  # how often each code is read
        ...     read = allowed[:, 1:].float()
        ...     return torch.stack([(read @ (tokens == k).float()[..., None])[..., 0][where]
        ...                         for k in (0, 1)], dim=1)
        >>> guess = ordered_logits(counts, torch.tensor([3, 1, 2]), mask_index=2)
        >>> guess(torch.tensor([[0, 1, 1]]), torch.tensor([[True, True, True]]))
        tensor([[0., 2.],
                [0., 0.],
                [0., 1.]])

    References:
        Guo and Ermon, *Reviving any-subset autoregressive models with principled parallel
        sampling and speculative decoding*, 2025, <https://arxiv.org/abs/2504.20456>.
        Yang et al., *XLNet*, 2019, <https://arxiv.org/abs/1906.08237>, section 2.3.
    """
    check_ranks("ordered_logits", ranks)

    def guess(tokens: Tensor, where: Tensor) -> Tensor:
        rank = ranks.expand_as(tokens)
        known = ((tokens >= 0) & (tokens != mask_index))[:, None]
        earlier = (rank[:, None] < rank[:, :, None]) & known  # (batch, reader, read)
        until = (rank[:, None] <= rank[:, :, None]) & known
        itself = torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device).expand_as(until)
        front = (rank == 0)[:, None] & known
        read = torch.cat(
            [
                torch.cat([front, torch.zeros_like(front)], dim=2),
                torch.cat([until, torch.zeros_like(until)], dim=2),
                torch.cat([earlier, itself], dim=2),
            ],
            dim=1,
        )
        query = torch.where(tokens < 0, tokens, mask_index)
        return _both(model, tokens, query, torch.zeros_like(where), where, read)

    return guess


def visit_ranks(places: Tensor, hidden: Tensor) -> Tensor:
    """Rank the hidden places in the order of `places`, from 1; the others have rank 0.

    Args:
        places: A permutation of the token positions, `(tokens,)`, int64, as for `fixed_order`.
        hidden: `(batch, tokens)`, boolean, True where a token is to be drawn.

    Returns:
        The ranks, `(batch, tokens)`, int64.

    Raises:
        ValueError: If shapes or dtypes do not fit, or `places` is no permutation.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.decoding import visit_ranks
        >>> visit_ranks(torch.tensor([2, 0, 1]), torch.tensor([[True, False, True]]))
        tensor([[2, 0, 1]])
    """
    check_permutation("visit_ranks", places)
    check_bool_mask("visit_ranks", "hidden", hidden, (len(hidden), len(places)))
    return (places.argsort() + 1) * hidden


def check_ranks(who: str, ranks: Tensor) -> None:
    """Ask for ranks of which none but 0 is taken twice; waits for the device, when built."""
    check_codes(who, "ranks", ranks)
    ascending = ranks.sort(dim=-1).values
    twice = (ascending[..., 1:] == ascending[..., :-1]) & (ascending[..., 1:] != 0)
    if bool(twice.any()) or bool((ranks < 0).any()):
        raise ValueError(
            f"{who}: ranks must be >= 0, and differ above 0 within a row; "
            f"got {int(ranks.min())} to {int(ranks.max())}, {int(twice.sum())} of them again"
        )


def _both(
    model: MaskedModel, tokens: Tensor, copy: Tensor, of_row: Tensor, of_copy: Tensor, read: Tensor
) -> Tensor:
    """Ask a row and its copy in one forward; the answers come back in the order of the row."""
    batch, length = tokens.shape
    where = torch.cat([of_row, of_copy], dim=1)
    places = torch.arange(length, device=tokens.device).repeat(2).expand(batch, -1)
    logits = model(
        torch.cat([tokens, copy], dim=1), where, places=places, allowed=read.expand(batch, -1, -1)
    )
    row, column = where.nonzero(as_tuple=True)
    return logits[(row * length + column % length).argsort()]
