"""What causal attention has read so far, as a value: new tokens read it and nobody changes it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import (
    check_axes,
    check_bool_mask,
    check_same_shape,
    check_size,
)
from ssltok.nn._rotary import RotaryPositions

if TYPE_CHECKING:
    from ssltok.nn._attention import Attention
    from ssltok.nn._transformer import Transformer

__all__ = ["AttentionStep", "KeyValueCache", "KeyValues", "TransformerStep"]


class KeyValues(NamedTuple):
    """What `Attention.extend` made of the tokens so far, `(batch, heads, tokens, head_dim)` each.

    Attributes:
        keys: Turned already, where there are rotary positions.
        values: What attention averages.
    """

    keys: Tensor
    values: Tensor


class AttentionStep(NamedTuple):
    """What `Attention.extend` returns.

    Attributes:
        tokens: The new tokens, `(batch, tokens, dim)`.
        memory: The longer memory.
    """

    tokens: Tensor
    memory: KeyValues


class KeyValueCache(NamedTuple):
    """What a causal `Transformer` keeps of the tokens so far: a value, passed and returned.

    `Transformer.extend` reads one and returns a longer one; the old one stays as it was, so that
    two continuations may start from it. Rows are picked by `select`, as a search needs them. It
    holds `2 * depth * batch * tokens * dim` numbers.

    Attributes:
        layers: The memory of each of the `depth` layers, also of layers that share weights.
        valid: Boolean `(batch, tokens)`, False at padding; None if there was none.
        prefix: How many leading tokens have no rotary position.

    Example:
        >>> import torch
        >>> from ssltok.nn import Transformer
        >>> trunk = Transformer(8, depth=2, heads=2, causal=True)
        >>> x = torch.randn(3, 5, 8)
        >>> first = trunk.extend(x[:, :4])
        >>> last = trunk.extend(x[:, 4:], first.cache)
        >>> torch.allclose(last.tokens, trunk(x)[:, 4:], atol=1e-6)
        True
        >>> first.cache.tokens, last.cache.tokens
        (4, 5)
    """

    layers: tuple[KeyValues, ...]
    valid: Tensor | None = None
    prefix: int = 0

    @property
    def tokens(self) -> int:
        """The number of tokens that were read, prefix and padding included."""
        return self.layers[0].keys.shape[2]

    def select(self, rows: Tensor) -> "KeyValueCache":
        """Return the cache of other rows: int64 `(new batch,)`, each the index of an old one."""
        layers = tuple(KeyValues(layer.keys[rows], layer.values[rows]) for layer in self.layers)
        return self._replace(layers=layers, valid=None if self.valid is None else self.valid[rows])


class TransformerStep(NamedTuple):
    """What `Transformer.extend` returns.

    Attributes:
        tokens: The new tokens, `(batch, tokens, dim)`.
        cache: The longer cache.
    """

    tokens: Tensor
    cache: KeyValueCache


class Readers(NamedTuple):
    """How new tokens go in: their rotation, whom they may read, and what is valid of all tokens."""

    rotation: tuple[Tensor, Tensor] | None
    allowed: Tensor | None
    valid: Tensor | None


def extend_layers(
    layers: Sequence[nn.Module],
    x: Tensor,
    cache: KeyValueCache | None,
    *,
    valid: Tensor | None,
    condition: Tensor | None,
    prefix: int,
    rotary: RotaryPositions | None,
) -> tuple[Tensor, KeyValueCache]:
    """Send new tokens through causal layers; return them, and the cache with their memory."""
    new = new_readers(x, cache, valid=valid, prefix=prefix, rotary=rotary)
    if valid is not None:
        x = x.masked_fill(~valid.unsqueeze(-1), 0)  # NaN in padding must not reach a product
    memories: list[KeyValues] = []

    def attend(attention: "Attention", normed: Tensor) -> Tensor:
        memory = None if cache is None else cache.layers[len(memories)]
        step = attention.extend(normed, memory, allowed=new.allowed, rotation=new.rotation)
        memories.append(step.memory)
        return step.tokens

    for layer in layers:
        x, _ = layer(x, attend, nn.Identity(), condition)
    prefix = prefix if cache is None else cache.prefix
    return x, KeyValueCache(tuple(memories), new.valid, prefix)


def new_readers(
    x: Tensor,
    cache: KeyValueCache | None,
    *,
    valid: Tensor | None,
    prefix: int,
    rotary: RotaryPositions | None,
) -> Readers:
    """Say where the new tokens stand and whom they read: the valid ones up to their own place."""
    new, before = x.shape[1], 0 if cache is None else cache.tokens
    unturned = prefix if cache is None else cache.prefix
    turned = new - prefix
    if turned == 0:
        rotary = None
    valid = all_valid(cache, valid, new)
    rotation = None
    if valid is None:
        if rotary is not None:
            start = before + prefix - unturned
            rotation = rotary(turned, prefix=prefix, start=start)
        return Readers(rotation, None, None)
    if rotary is not None:
        places = count_places(valid[:, unturned:])[:, -turned:]
        check_room("Transformer", places, rotary.cos.shape[0])
        rotation = rotary.at(places, prefix=prefix)
    return Readers(rotation, earlier(new, before, x.device, valid), valid)


def all_valid(cache: KeyValueCache | None, valid: Tensor | None, new: int) -> Tensor | None:
    """Join what is valid of the tokens in a cache and of `new` ones; None if all are."""
    before = None if cache is None else cache.valid
    if cache is None or (valid is None and before is None):
        return valid
    if before is None and valid is not None:
        return functional.pad(valid, (cache.tokens, 0), value=True)
    if valid is None and before is not None:
        return functional.pad(before, (0, new), value=True)
    return torch.cat([part for part in (before, valid) if part is not None], dim=1)


def earlier(
    new: int, before: int, device: torch.device, valid: Tensor | None = None
) -> Tensor | None:
    """Say whom new tokens may read: those in memory and of their own kind up to themselves.

    Returns:
        Boolean, broadcast to `(batch, heads, new, before + new)`; None if they may read all.
    """
    if valid is None and new == 1:
        return None
    up_to = torch.ones(new, before + new, dtype=torch.bool, device=device).tril(before)
    return up_to if valid is None else up_to & (valid[:, None, None] | ~up_to.tril(before - 1))


def count_places(valid: Tensor) -> Tensor:
    """Number the valid tokens of each row from 0; -1 at padding, wherever it stands."""
    return (valid.cumsum(dim=1) - 1).masked_fill(~valid, -1)


def check_room(who: str, places: Tensor, most: int) -> None:
    """Ask on the CPU for places below `most`; elsewhere one beyond is an index error."""
    if places.device.type == "cpu" and not torch.compiler.is_compiling() and places.numel():
        last = int(places.max())
        if last >= most:
            raise ValueError(f"{who}: places must lie in [0, {most}); got {last}")


def append(memory: KeyValues | None, keys: Tensor, values: Tensor) -> KeyValues:
    """Put new keys and values behind those of a memory, which must be of their kind."""
    if memory is None:
        return KeyValues(keys, values)
    if memory.keys.dtype != keys.dtype:
        raise ValueError(
            f"Attention: memory must have the dtype of new keys, {keys.dtype}; "
            f"got {memory.keys.dtype}"
        )
    return KeyValues(
        torch.cat([memory.keys, keys], dim=2), torch.cat([memory.values, values], dim=2)
    )


def check_memory(who: str, memory: KeyValues, batch: int, heads: int, head_dim: int) -> None:
    """Ask for keys and values of one shape and dtype, of any length."""
    if not isinstance(memory, KeyValues):
        raise TypeError(f"{who}: memory must be KeyValues; got {type(memory).__name__}")
    keys, values = memory
    check_axes(who, "keys of memory", keys, "batch heads tokens head_dim")
    check_same_shape(who, "keys and values of memory", keys, values)
    for dim, size in ((0, batch), (1, heads), (3, head_dim)):
        check_size(who, "keys of memory", keys, dim, size)
    if values.dtype != keys.dtype:
        raise ValueError(
            f"{who}: keys and values of memory must share one dtype; "
            f"got {keys.dtype} and {values.dtype}"
        )


def check_cache(who: str, cache: KeyValueCache, trunk: "Transformer", batch: int) -> None:
    """Ask for a cache of this transformer and these rows, of one length and one dtype."""
    if not isinstance(cache, KeyValueCache):
        raise TypeError(f"{who}: cache must be a KeyValueCache; got {type(cache).__name__}")
    if len(cache.layers) != trunk.depth:
        raise ValueError(f"{who}: cache must have {trunk.depth} layers; got {len(cache.layers)}")
    for layer in cache.layers:
        check_memory(who, layer, batch, trunk.heads, trunk.dim // trunk.heads)
    lengths = sorted({layer.keys.shape[2] for layer in cache.layers})
    if len(lengths) > 1:
        raise ValueError(f"{who}: layers of cache must share one length; got {lengths}")
    dtypes = sorted({str(layer.keys.dtype) for layer in cache.layers})
    if len(dtypes) > 1:
        raise ValueError(f"{who}: layers of cache must share one dtype; got {dtypes}")
    if cache.valid is not None:
        check_bool_mask(who, "valid of cache", cache.valid, (batch, cache.tokens))
    if not 0 <= cache.prefix <= cache.tokens:
        raise ValueError(
            f"{who}: prefix of cache must lie in [0, {cache.tokens}]; got {cache.prefix}"
        )
