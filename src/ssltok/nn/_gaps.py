"""How an encoder of patches is told which values are missing."""

from torch import Tensor
from torch.nn import functional

from ssltok._shared.checks import check_bool_mask
from ssltok.nn._patch_embed import patchify

__all__: list[str] = []


def of_missing(
    who: str,
    weight: Tensor | None,
    series: Tensor,
    valid: Tensor | None,
    observed: Tensor,
    *,
    patch: int,
) -> Tensor:
    """A linear map of which values of each patch are missing; none is beyond a series' end.

    Args:
        who: Who asks, for the error's text.
        weight: `(dim, values)`, for the values of a patch; None is an encoder without `gaps`.
        series: `(batch, channels, length)`.
        valid: Boolean `(batch, length)`, False beyond a series' end; None is True throughout.
        observed: Boolean, of the shape of `series`.
        patch: Samples of a patch.

    Returns:
        `(batch, tokens, dim)`.

    Raises:
        ValueError: If there is no weight, or `observed` is no such mask.
    """
    if weight is None:
        raise ValueError(f"{who}: observed must be None for an encoder without gaps; got a mask")
    check_bool_mask(who, "observed", observed, series.shape)
    missing = ~observed if valid is None else ~observed & valid.unsqueeze(1)
    return functional.linear(patchify(missing.to(series.dtype), patch=patch), weight)
