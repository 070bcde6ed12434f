"""The decoder of a masked autoencoder: from the visible tokens to a prediction for every token."""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_codes,
    check_size,
)
from ssltok.nn._places import gather_tokens, known
from ssltok.nn._sinusoidal import positions_like
from ssltok.nn._transformer import Transformer, check_trunk

__all__ = ["MAEDecoder"]


class MAEDecoder(nn.Module):
    """Put visible tokens back to their places, mask tokens between them, and predict all.

    The encoded tokens are mapped to the width of the trunk, every hidden token becomes the same
    learned mask token, positions are added, the trunk mixes them, and a linear map predicts the
    values of each patch. The trunk may be narrow and shallow: MAE's has 8 layers of 512 features
    behind an encoder of 24 layers of 1024, and one layer already serves for fine-tuning.

    Args:
        in_dim: Features of an encoded token.
        out_dim: Values to predict for a token, such as channels times samples of a patch.
        trunk: The transformer, without adaptive norms.
        positions: Whether sinusoidal positions are added; False leaves them to a rotary trunk.

    Raises:
        ValueError: If the parts do not fit, or a tensor has the wrong shape or dtype.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import MAEDecoder, Transformer
        >>> decoder = MAEDecoder(64, 24, Transformer(32, depth=1, heads=2))
        >>> encoded = torch.randn(5, 3, 64)  # a class token and the tokens at places 1 and 3
        >>> restore = torch.tensor([[2, 0, 2, 1]] * 5)  # slot of each token; 2 is hidden
        >>> decoder(encoded, restore, prefix=1).shape
        torch.Size([5, 4, 24])

    References:
        He et al., *Masked autoencoders*, 2021, <https://arxiv.org/abs/2111.06377>, section 3.
    """

    def __init__(
        self, in_dim: int, out_dim: int, trunk: Transformer, *, positions: bool = True
    ) -> None:
        super().__init__()
        check_at_least("MAEDecoder", "in_dim", in_dim, 1)
        check_at_least("MAEDecoder", "out_dim", out_dim, 1)
        check_trunk("MAEDecoder", trunk, positions=positions)
        self.in_dim, self.out_dim = in_dim, out_dim
        self.trunk, self.positions = trunk, positions
        self.inward = nn.Linear(in_dim, trunk.dim)
        self.mask_token = nn.Parameter(torch.empty(trunk.dim).normal_(std=0.02))
        self.outward = nn.Linear(trunk.dim, out_dim)

    def forward(
        self,
        encoded: Tensor,
        restore: Tensor,
        *,
        prefix: int = 0,
        valid: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Predict every token, `(batch, tokens, out_dim)`; hidden and visible alike.

        Args:
            encoded: `(batch, prefix + visible, in_dim)`, what the encoder of the visible tokens
                returned.
            restore: int64 `(batch, tokens)`: the slot of each token among the visible ones, or
                their number for a token that is hidden or padding, as `random_mask` returns it.
            prefix: Leading tokens without a place (class token, registers); read, not predicted.
                One forgotten shifts every token; that is refused on the CPU, where the number
                that marks a hidden token can be read and compared.
            valid: `(batch, tokens)`, boolean, True where a token is real. Nobody reads another,
                and its prediction means nothing.
            generator: Source of dropout and stochastic depth in training; None is torch's own.
        """
        self._check(encoded, restore, prefix, valid)
        x = self.inward(encoded)
        hidden = self.mask_token.to(x.dtype).expand(len(x), 1, -1)
        tokens = gather_tokens(torch.cat([x[:, prefix:], hidden], dim=1), restore)
        if self.positions:
            count = torch.arange(restore.shape[1], device=restore.device)
            tokens = tokens + positions_like(count, self.inward.weight)
        if prefix:
            tokens = torch.cat([x[:, :prefix], tokens], dim=1)
            if valid is not None:
                valid = functional.pad(valid, (prefix, 0), value=True)
        mixed = self.trunk(tokens, valid=valid, prefix=prefix, generator=generator)
        out: Tensor = self.outward(mixed[:, prefix:])
        return out

    def _check(self, encoded: Tensor, restore: Tensor, prefix: int, valid: Tensor | None) -> None:
        who = "MAEDecoder"
        check_axes(who, "encoded", encoded, "batch tokens dim")
        check_size(who, "encoded", encoded, 2, self.in_dim)
        check_at_least(who, "batch", encoded.shape[0], 1)
        if not 0 <= prefix <= encoded.shape[1]:
            raise ValueError(f"{who}: prefix must lie in [0, {encoded.shape[1]}]; got {prefix}")
        check_axes(who, "restore", restore, "batch tokens")
        check_codes(who, "restore", restore)
        check_size(who, "restore", restore, 0, encoded.shape[0])
        check_at_least(who, "tokens of restore", restore.shape[1], 1)
        if valid is not None:
            check_bool_mask(who, "valid", valid, restore.shape)
        slots = encoded.shape[1] - prefix
        most = known(restore.max())
        if most is not None and (most > slots or most < slots < restore.shape[1]):
            raise ValueError(
                f"{who}: restore must count the tokens of encoded behind prefix, {slots}, "
                f"where a token is hidden; got {most}"
            )
