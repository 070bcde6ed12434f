"""A fitted tokenizer as an encoder of whole series, for probes and for distances of features."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_integer
from ssltok.metrics import module_digest
from ssltok.nn import stretch_pool
from ssltok.pipelines._tokenizer import Tokenizer

__all__ = ["TokenizerEncoder"]


class TokenizerEncoder(nn.Module):
    """Features of a tokenizer: its code vectors, averaged over the tokens of each branch.

    The same numbers as `SSLTokenizer.transform` with as many stretches, as a module that every
    measure takes; one is few enough features for distances of distributions. It holds a
    copy of the tokenizer, so training goes on without it, and stays in evaluation mode whatever
    its parent does: no codebook and no running statistic moves by being measured.

    With `quantized=False` the features are the averaged latents before the quantizer. They let a
    gradient through to the encoder, which fine-tuning needs; codes are indices and let none.

    Args:
        tokenizer: A trained tokenizer, such as `SSLTokenizer.artifact_.tokenizer`.
        quantized: Whether to average code vectors, or the latents that became them.
        stretches: Stretches of time over which to average, see `ssltok.nn.stretch_pool`.

    Raises:
        ValueError: If the series do not fit the tokenizer, or `stretches` is below 1.
        TypeError: If they are not a tensor, or `stretches` no integer.

    Example:
        >>> import torch
        >>> from ssltok.pipelines import TokenizerConfig, TokenizerEncoder, build_tokenizer
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> encoder = TokenizerEncoder(build_tokenizer(config, channels=1, length=32))
        >>> encoder(torch.zeros(5, 1, 32)).shape, len(encoder.digest())
        (torch.Size([5, 4]), 64)

    References:
        Mean of the code vectors as features: NC-VQVAE, 2024, <https://arxiv.org/abs/2408.16613>,
        section 5.
    """

    def __init__(self, tokenizer: Tokenizer, *, quantized: bool = True, stretches: int = 1) -> None:
        super().__init__()
        check_integer("TokenizerEncoder", "stretches", stretches)
        check_at_least("TokenizerEncoder", "stretches", stretches, 1)
        self.tokenizer = copy.deepcopy(tokenizer)
        self.quantized, self.stretches = quantized, stretches
        self.eval()

    def forward(self, series: Tensor) -> Tensor:
        """Return features, `(batch, stretches * dim * branches)`, of series in their own units.

        Args:
            series: `(batch, channels, length)`, finite, no longer than the tokenizer's; float64
                where the training series have an offset that float32 cannot hold.
        """
        who, tokenizer = "TokenizerEncoder", self.tokenizer
        check_floating(who, "series", series)
        check_axes(who, "series", series, "batch channels length")
        length = series.shape[2]
        if series.shape[1] != tokenizer.channels or not 1 <= length <= tokenizer.length:
            raise ValueError(
                f"{who}: series must have {tokenizer.channels} channels and a length in "
                f"[1, {tokenizer.length}]; got shape {tuple(series.shape)}"
            )
        if bool(tokenizer.offset.any()):
            level = tokenizer.offset.to(series.device)[:, None]
            series = (series.double() - level).float()
        scaled = tokenizer.scale(series, torch.ones_like(series, dtype=torch.bool))
        scaled = nn.functional.pad(scaled, (0, tokenizer.length - length), mode="replicate")
        lengths = torch.full((len(series),), length, device=series.device)
        features = []
        padded = lengths if length < tokenizer.length else None
        latents, masks = (
            tokenizer.latents(tokenizer.bands(scaled), padded),
            tokenizer.token_valid(lengths),
        )
        for branch, vectors, valid in zip(tokenizer.parts, latents, masks, strict=True):
            if self.quantized:
                vectors = branch.vectors(branch.codes(vectors, valid))
            pooled = stretch_pool(vectors, valid, stretches=self.stretches)
            features.append(pooled.reshape(len(series), -1))
        return torch.cat(features, dim=1)

    def train(self, mode: bool = True) -> "TokenizerEncoder":  # noqa: FBT001, FBT002  as nn.Module
        """Stay in evaluation mode."""
        return super().train(mode=False)

    def digest(self) -> str:
        """Return a hash of weights, statistics and `quantized`: equal digests, equal encoders."""
        return module_digest(self)

    def get_extra_state(self) -> dict[str, Any] | bool | tuple[bool, list[float]]:
        """Return `quantized`, and an offset and stretches if any: they change every feature."""
        offset = self.tokenizer.offset
        if self.stretches > 1:
            written = {"quantized": self.quantized, "stretches": self.stretches}
            return {**written, "offset": offset.tolist()}
        return (self.quantized, offset.tolist()) if bool(offset.any()) else self.quantized

    def set_extra_state(self, state: dict[str, Any] | bool | tuple[bool, list[float]]) -> None:  # noqa: FBT001  as in nn.Module
        """Take them from a state."""
        self.stretches = 1
        if isinstance(state, dict):
            self.quantized, self.stretches = state["quantized"], state["stretches"]
            offset = state["offset"]
        else:
            self.quantized, offset = state if isinstance(state, tuple) else (state, [0.0])
        self.tokenizer.offset = torch.tensor(offset, dtype=torch.float64)
