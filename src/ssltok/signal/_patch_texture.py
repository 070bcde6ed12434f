"""What codes of patches leave over of a series, drawn again from what they left over before."""

import math
from typing import Self

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_codes,
    check_floating,
    check_size,
)

__all__ = ["PatchTexture"]

LARGEST = 62  # bits of a key


class PatchTexture(nn.Module):
    r"""Residual patches of training, drawn for new codes: the grain that codes cannot say.

    A code stands for many patches, and its decoder gives their mean, so that series of codes are
    smoother than real ones. Here each patch of training is kept less what its codes give,

    $$e_{ni} = x_{ni} - \hat x(c_n)_i,$$

    and a new patch with code $c_i$ gets $w\, e_{nj}$ of a random training patch that has the same
    code and the same neighbours, $(c_{i-1}, c_i, c_{i+1})$, if there is one; else of one with the
    same code and the same neighbour before it, then behind it, then of one with the same code; and
    0 where no patch of training has it. This is the bootstrap of residuals, given the code; taking
    patches whose neighbours agree is what texture synthesis by quilting does.

    Args:
        rows: Training rows that are held.
        tokens: Patches of a row.
        values: Numbers of a patch.
        codes: Codes of a token; patches are alike if all are.

    Attributes:
        weight: $w$, a scalar; 1 by default.
        known: int64 `(rows, tokens, codes)`, the codes of the rows that are held, -1 before `fit`
            and where a row has ended.
        patches: `(rows, tokens, values)`, what they left over.

    Raises:
        ValueError: If a size is smaller than 1.
        TypeError: If a size is not a number.

    Example:
        >>> import torch
        >>> from ssltok.signal import PatchTexture
        >>> left = torch.tensor([[[5.0], [2.0]], [[3.0], [3.0]]])
        >>> texture = PatchTexture(2, 2, 1).fit(torch.tensor([[0, 1], [1, 1]]), left)
        >>> texture(torch.tensor([[0, 2]]))  # one patch has code 0, and none has 2
        tensor([[[5.],
                 [0.]]])

    References:
        Efron and Tibshirani, *An introduction to the bootstrap*, 1993, chapter 9 (residuals).
        Efros and Freeman, *Image quilting for texture synthesis and transfer*, 2001.
    """

    weight: Tensor
    known: Tensor
    patches: Tensor

    def __init__(self, rows: int, tokens: int, values: int, *, codes: int = 1) -> None:
        super().__init__()
        sizes = {"rows": rows, "tokens": tokens, "values": values, "codes": codes}
        for name, size in sizes.items():
            check_at_least("PatchTexture", name, size, 1)
        self.rows, self.tokens, self.values, self.codes = rows, tokens, values, codes
        self.register_buffer("weight", torch.ones(()))
        self.register_buffer("known", torch.full((rows, tokens, codes), -1))
        self.register_buffer("patches", torch.zeros(rows, tokens, values))

    @torch.no_grad()
    def fit(self, codes: Tensor, patches: Tensor, *, weight: float = 1.0) -> Self:
        """Hold what training rows left over; replaces what was held.

        Args:
            codes: int64 `(rows, tokens)`, or `(rows, tokens, codes)`, -1 where a row has ended.
            patches: `(rows, tokens, values)`, the patches less what is decoded of their codes.
            weight: How much of it a draw adds.

        Returns:
            The module itself.

        Raises:
            ValueError: If shapes or dtypes do not fit.
            TypeError: If an input is not a tensor.
        """
        known = self._codes("codes", codes)
        check_size("PatchTexture", "codes", known, 0, self.rows)
        check_floating("PatchTexture", "patches", patches)
        check_axes("PatchTexture", "patches", patches, "rows tokens values")
        for axis, size in enumerate((self.rows, self.tokens, self.values)):
            check_size("PatchTexture", "patches", patches, axis, size)
        check_at_least("PatchTexture", "weight", weight, 0)
        self.known.copy_(known)
        self.patches.copy_(patches)
        self.weight.fill_(weight)
        return self

    @torch.no_grad()
    def forward(self, codes: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Draw what new codes leave over.

        Args:
            codes: int64 `(batch, tokens)`, or `(batch, tokens, codes)`, -1 where a row has ended.
            generator: Source of the draws, on the device of `codes`; None is torch's own.

        Returns:
            `(batch, tokens, values)`, 0 where a row has ended.

        Raises:
            ValueError: If shape or dtype does not fit.
            TypeError: If `codes` is not a tensor.
        """
        new = self._codes("codes", codes)
        draws = torch.rand(new.shape[:2], device=new.device, generator=generator)
        if new.is_meta:
            return self.patches.new_empty((*new.shape[:2], self.values))
        chosen, open_ = torch.zeros_like(new[..., 0]), new[..., 0] >= 0
        flat = self.patches.flatten(0, 1)
        base = int(max(self.known.max(), new.max())) + 2
        for neighbours in ((-1, 1), (-1,), (1,), ()):
            held, wanted = (_keys(c, neighbours, base) for c in (self.known, new))
            keys = torch.where(self.known[..., 0] >= 0, held, -1).flatten()
            keys, order = keys.sort(stable=True)
            first = torch.searchsorted(keys, wanted)
            count = torch.searchsorted(keys, wanted, right=True) - first
            place = (first + (draws * count).long()).clamp(max=len(order) - 1)
            hit = open_ & (count > 0)
            chosen = torch.where(hit, order[place], chosen)
            open_ = open_ & ~hit
        empty = open_ | (new[..., 0] < 0)
        return (self.weight * flat[chosen]).masked_fill(empty[..., None], 0.0)

    def _codes(self, name: str, codes: Tensor) -> Tensor:
        check_codes("PatchTexture", name, codes)
        if codes.ndim == 2 and self.codes == 1:
            codes = codes[..., None]
        check_axes("PatchTexture", name, codes, "rows tokens codes")
        check_size("PatchTexture", name, codes, 1, self.tokens)
        check_size("PatchTexture", name, codes, 2, self.codes)
        return codes


def _keys(codes: Tensor, neighbours: tuple[int, ...], base: int) -> Tensor:
    """A number for each token that says its codes and the first codes of these neighbours."""
    key = torch.zeros_like(codes[..., 0])
    levels = max(1, int(LARGEST / math.log2(base)) - 2)  # finer ones do not fit into the number
    for level in codes[..., :levels].unbind(2):
        key = key * base + level + 1
    first = functional.pad(codes[..., 0] + 1, (1, 1))
    for step in neighbours:
        key = key * base + first[:, 1 + step : 1 + step + codes.shape[1]]
    return key.contiguous()
