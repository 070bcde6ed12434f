"""A vision transformer for series: patches in, one vector for each and for the whole out."""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import check_at_least, check_bool_mask
from ssltok.nn._patch_embed import PatchEmbed1d
from ssltok.nn._places import check_places, gather_tokens, gather_valid, unless_all
from ssltok.nn._sinusoidal import positions_like
from ssltok.nn._state_names import store_as
from ssltok.nn._transformer import HiddenStates, Transformer, check_trunk

__all__ = ["ViT1d"]


class ViT1d(nn.Module):
    """Encode a series of any length as one vector for each patch, behind a few for the whole.

    Patch embeddings plus sinusoidal positions go through a transformer. In front stand learned
    tokens without a position, in this order: the class token, the distillation token (DeiT), the
    registers. The result is `(batch, prefix + tokens, dim)`, where `prefix` counts them, so
    `out[:, 0]` is the class token and `out[:, vit.prefix:]` are the patches.

    Three ways to hide patches, all in the call: `visible` encodes some of them only (MAE, I-JEPA,
    CAE: nothing of the others enters); `masked` puts the learned mask token in their place, which
    keeps its position (SimMIM, BEiT, iBOT, data2vec); `valid` marks padding, which nobody reads.

    Departures: positions are sines and cosines, as in MAE and MoCo v3, where ViT learns them for
    one length. With `positions=False` there are none but those of a rotary trunk. Products of
    attention have no bias. The class token has no position.

    `torch.export` exports one graph for all lengths, with a `Dim` for the length if a token stands
    in front, else with `Dim.DYNAMIC` (torch cannot prove what it asks of a named one), and from
    the length of one patch on. A `generator` has no place in a compiled graph.

    Args:
        embedding: Cuts and embeds patches.
        trunk: The transformer, of the same `dim`, without adaptive norms.
        class_token: Whether a class token stands in front.
        distillation_token: Whether a distillation token stands behind it.
        registers: Learned tokens for notes.
        mask_token: Whether there is a mask token, for calls with `masked`.
        positions: Whether sinusoidal positions are added.

    Raises:
        ValueError: If the parts do not fit, or a series is empty, or a mask or
            places have the wrong shape or dtype, or `masked` is given without a mask token.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import PatchEmbed1d, Transformer, ViT1d
        >>> vit = ViT1d(PatchEmbed1d(3, 32, patch=8), Transformer(32, depth=2, heads=4))
        >>> series = torch.randn(5, 3, 100)
        >>> vit(series).shape  # a class token and 13 patches
        torch.Size([5, 14, 32])
        >>> vit(series, visible=torch.tensor([[0, 7, 12]] * 5)).shape
        torch.Size([5, 4, 32])

    References:
        Dosovitskiy et al., *ViT*, 2020, <https://arxiv.org/abs/2010.11929>; Touvron et al.,
        *DeiT*, 2020, <https://arxiv.org/abs/2012.12877>, section 4; He et al., *MAE*, 2021,
        <https://arxiv.org/abs/2111.06377>, section 3; Xie et al., *SimMIM*, 2021,
        <https://arxiv.org/abs/2111.09886>; Darcet et al. (registers), 2023,
        <https://arxiv.org/abs/2309.16588>.
    """

    def __init__(
        self,
        embedding: PatchEmbed1d,
        trunk: Transformer,
        *,
        class_token: bool = True,
        distillation_token: bool = False,
        registers: int = 0,
        mask_token: bool = False,
        positions: bool = True,
    ) -> None:
        super().__init__()
        check_at_least("ViT1d", "registers", registers, 0)
        if embedding.dim != trunk.dim:
            raise ValueError(
                f"ViT1d: embedding and trunk must share dim; got {embedding.dim} and {trunk.dim}"
            )
        check_trunk("ViT1d", trunk, positions=positions)
        self.embedding, self.trunk, self.positions = embedding, trunk, positions
        self.class_token, self.distillation_token = class_token, distillation_token
        self.registers, self.mask_token = registers, mask_token
        self.prefix = int(class_token) + int(distillation_token) + registers

        def learned(rows: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(rows, trunk.dim).normal_(std=0.02))

        self.front = learned(self.prefix) if self.prefix else None
        self.mask_vector = learned(1) if mask_token else None
        store_as(self, mask_vector="mask_token")

    def forward(
        self,
        series: Tensor,
        *,
        valid: Tensor | None = None,
        masked: Tensor | None = None,
        visible: Tensor | None = None,
        observed: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Return the encoded tokens, `(batch, prefix + tokens, dim)`; with `visible`, only those.

        Args:
            series: `(batch, channels, length)`.
            valid: `(batch, length)`, boolean, True where a sample is real. Nothing else is read;
                which tokens are real says `embedding.token_valid(valid)`.
            masked: `(batch, tokens)`, boolean, True where the mask token replaces a patch.
            visible: int64 `(batch, visible)`, the places of the tokens to encode, -1 for none,
                as `random_mask` or `token_places` return them. None encodes all.
            observed: `(batch, channels, length)`, boolean, False where a value is missing, for an
                embedding with `observed_mask`.
            generator: Source of dropout and stochastic depth in training; None is torch's own.
        """
        x, real, places = self._enter(series, valid, masked, visible, observed)
        out: Tensor = self.trunk(
            x, valid=real, places=places, prefix=self.prefix, generator=generator
        )
        return out

    def hidden_states(
        self,
        series: Tensor,
        *,
        valid: Tensor | None = None,
        masked: Tensor | None = None,
        visible: Tensor | None = None,
        observed: Tensor | None = None,
        generator: Generator | None = None,
    ) -> HiddenStates:
        """Return what every layer makes, before the last norm; arguments as in `forward`."""
        x, real, places = self._enter(series, valid, masked, visible, observed)
        return self.trunk.hidden_states(
            x, valid=real, places=places, prefix=self.prefix, generator=generator
        )

    def _enter(
        self,
        series: Tensor,
        valid: Tensor | None,
        masked: Tensor | None,
        visible: Tensor | None,
        observed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the first layer's tokens, which of them are real, and their rotary places."""
        x = self.embedding(series, valid=valid, observed=observed)
        batch, tokens, _ = x.shape
        if masked is not None:
            check_bool_mask("ViT1d", "masked", masked, (batch, tokens))
            if self.mask_vector is None:
                raise ValueError("ViT1d: masked must be None without mask_token; got a tensor")
            x = torch.where(masked.unsqueeze(-1), self.mask_vector, x)
        if self.positions:
            count = torch.arange(tokens, device=x.device)
            x = x + positions_like(count, self.embedding.projection.weight)
        real = None if valid is None else self.embedding.token_valid(valid)
        if visible is not None:
            check_places("ViT1d", "visible", visible, batch)
            x, real = gather_tokens(x, visible), unless_all(gather_valid(real, visible))
        if self.front is not None:
            x = torch.cat([self.front.expand(batch, -1, -1), x], dim=1)
            if real is not None:
                real = functional.pad(real, (self.prefix, 0), value=True)
        return x, real, visible if self.trunk.rotary is not None else None
