"""Parts that the caller passes in the place of those that a config names."""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from ssltok.pipelines._branch import Branch

__all__ = ["Parts", "build_part"]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Parts of a tokenizer, of its training and of its prior; None leaves a part to the config.

    **A class or a `functools.partial` builds a part** once the sizes are known: it is called with
    those of its parameters that are named like a known size and are not bound yet (`channels`,
    `in_channels`, `bins`, `frames`, `patch`, `length`, `width`, `dim`, `codebook_size`;
    `encoder` and `batch` for objectives; `grid` and `tokens` for orders; `tokenizer` and `classes`
    for a prior). Anything else is the part itself; a module is copied first, so that `fit` never
    trains the caller's own.
    """

    bands: Any = None
    """From series to bands and back, such as `partial(STFTBands, n_fft=8, edges=(1,))`."""
    encoder: Any = None
    """From a band to latents, such as `partial(SpectrogramEncoder, blocks=2)`."""
    quantizer: Any = None
    """Such as `partial(FSQ, [8, 5, 5])`; where its `dim` is not the encoder's, it is put between
    two projections (`ProjectedQuantizer`)."""
    decoder: Any = None
    """From vectors to the band."""
    branches: Sequence[Branch] | None = None
    """Finished branches, in the place of encoder, quantizer and decoder."""
    fill: Any = None
    """What completes the rest that tokens leave of a series with gaps, such as `GaussianFill`."""
    objective: Any = None
    """What is learned from views, such as `partial(BYOL, predictor_dim=128)`."""
    augment: Callable[..., Any] | None = None
    """From series, `valid` and `generator` to a view, such as `compose(shift, gaussian_noise)`."""
    pool: Any = None
    """What the objective compares: `mean_pool`, ...; `"tokens"` compares token by token."""
    compared: tuple[int, ...] | None = None
    """Which inputs it compares: 0 is the series, 1 and on are views; (0, 1) for two."""
    quantized: tuple[bool, ...] | None = None
    """Which of these are code vectors, and which latents."""
    mask: Callable[..., Any] | None = None
    """From `shape`, `valid` and `generator` to the hidden tokens of the prior's training."""
    token_loss: Callable[..., Any] | None = None
    """From logits, codes and where to a scalar, such as `masked_token_loss`."""
    everywhere: bool | None = None
    """Whether the prior's loss is on all tokens, hidden or not, as in several public codes."""
    prior: Any = None
    """The prior, with what `Prior` has."""
    schedule: Callable[..., Any] | None = None
    """Decoding: from progress to the share masked."""
    order: Any = None
    """Decoding: which tokens stay, such as `partial(confidence_order, temperature=4.0)`."""
    sampling: Any = None
    """Decoding: what token is drawn, such as `temperature_sample(temperature=1.0)`."""
    guidance: Callable[..., Any] | None = None
    """Decoding: from the unconditional logits function to a guidance, such as
    `partial(classifier_free_guidance, scale=1.5)`."""
    settle: Any = None
    """Decoding: how many tokens stay, by the model, such as `entropy_bound(0.5)`; then the schedule
    is `rule_schedule` unless one is given, and the steps are the most forwards."""

    def over(self, others: "Parts") -> "Parts":
        """These parts, and the others' where these are None."""
        pairs = {f.name: getattr(self, f.name) for f in fields(self)}
        return Parts(**{k: getattr(others, k) if v is None else v for k, v in pairs.items()})


def build_part(part: Any, sizes: Mapping[str, Any]) -> Any:
    """Build a part from a class or a partial, copy a module, and leave anything else as it is.

    Args:
        part: The part, or what builds it.
        sizes: What is known, by name.

    Returns:
        The part.

    Example:
        >>> from functools import partial
        >>> from torch import nn
        >>> from ssltok.pipelines import build_part
        >>> build_part(partial(nn.Linear, out_features=3), {"in_features": 2, "length": 32})
        Linear(in_features=2, out_features=3, bias=True)
    """
    if isinstance(part, functools.partial | type):
        taken = part.keywords if isinstance(part, functools.partial) else {}
        places = len(part.args) if isinstance(part, functools.partial) else 0
        options = list(inspect.signature(getattr(part, "func", part)).parameters)[places:]
        return part(**{k: sizes[k] for k in options if k in sizes and k not in taken})
    return copy.deepcopy(part) if isinstance(part, nn.Module) else part
