"""Pick tokens by their places, where -1 stands for no token. Private, but for `token_places`."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_bool_mask, check_codes
from ssltok._shared.transforms import can_be_read

__all__ = ["check_places", "gather_tokens", "gather_valid", "known", "token_places", "unless_all"]


def token_places(chosen: Tensor, *, slots: int) -> Tensor:
    """List the places that a mask marks, in ascending order, filled up with -1.

    The form in which `ViT1d`, `JEPAPredictor` and `LatentRegressor` take places. `slots` is a
    number and not read from the mask, so that nothing waits for a device; `tokens` is always
    enough, and `int(chosen.sum(dim=1).max())` the least that loses nothing.

    Args:
        chosen: `(batch, tokens)`, boolean.
        slots: Places of a row; those beyond are cut off.

    Returns:
        The places, int64 `(batch, slots)`.

    Raises:
        ValueError: If `chosen` is not such a mask, or `slots` is smaller than 1.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import token_places
        >>> token_places(torch.tensor([[False, True, True], [True, False, False]]), slots=2)
        tensor([[ 1,  2],
                [ 0, -1]])
    """
    check_axes("token_places", "chosen", chosen, "batch tokens")
    check_bool_mask("token_places", "chosen", chosen, chosen.shape)
    check_at_least("token_places", "slots", slots, 1)
    tokens = chosen.shape[1]
    places = torch.arange(tokens, device=chosen.device).expand(chosen.shape)
    slot = (chosen.cumsum(dim=1) - 1).masked_fill(~chosen, slots).clamp(max=slots)
    room = torch.full((len(chosen), slots + 1), -1, dtype=torch.int64, device=chosen.device)
    return room.scatter(1, slot, places)[:, :slots]


def check_places(who: str, name: str, places: Tensor, batch: int) -> None:
    """Ask for int64 places `(batch, tokens)`, at least one for a row."""
    check_codes(who, name, places)
    check_axes(who, name, places, "batch tokens")
    if places.shape[0] != batch:
        raise ValueError(f"{who}: {name} must have batch {batch}; got {places.shape[0]}")
    check_at_least(who, f"tokens of {name}", places.shape[1], 1)


def gather_tokens(x: Tensor, places: Tensor) -> Tensor:
    """Pick rows of `x`, `(batch, tokens, dim)`; -1 picks a row that means nothing."""
    index = places.clamp(min=0).unsqueeze(-1).expand(-1, -1, x.shape[-1])
    return x.gather(1, index)


def gather_valid(valid: Tensor | None, places: Tensor) -> Tensor:
    """Say which of the places hold a real token: not -1, and `valid` there."""
    real = places >= 0
    return real if valid is None else real & valid.gather(1, places.clamp(min=0))


def unless_all(valid: Tensor) -> Tensor | None:
    """Return None for a mask that is all True, where one can know; see `known`.

    Attention without a mask is faster, and may use kernels that take none.
    """
    return None if known(valid.all()) else valid


def known(number: Tensor) -> int | None:
    """Read a number that lies in the memory of the CPU; None elsewhere: nothing waits for it.

    None as well in a graph, and under `torch.func.vmap` or fake tensors, which have no value.
    """
    return int(number) if can_be_read(number) else None
