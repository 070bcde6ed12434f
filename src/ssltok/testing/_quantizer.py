"""What every quantizer promises: codes in range, padding unseen, reading apart from writing."""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import get_protocol_members

from ssltok.quantizers import Quantized, Quantizer
from ssltok.testing._asking import answered, ask, same_state, state_of

__all__ = ["check_quantizer"]


@answered
def check_quantizer(
    build: Callable[[], nn.Module],
    *,
    lead: tuple[int, ...] = (3, 5),
    noisy: bool = False,
    by_place: bool = False,
) -> None:
    """Ask of a quantizer what the `Quantizer` protocol says.

    - It has all members, and its sizes fit each other.
    - `forward` returns `Quantized`: int64 codes in range, vectors that are `decode(codes)`, a
      finite scalar loss. In evaluation `encode` returns the same codes.
    - `forward`, `encode` and `decode` read: no state, mode or input moves; `encode` never draws.
    - Padding has code -1, vector 0, no loss and no gradient, and changes nothing that is real.
    - `learns_by_vectors` and `idle` say what is so.
    - `update` passes padding over and leaves a finite state.
    - `initialize` and `revive` draw from their generator alone; `initialize` passes padding over,
      `revive` says which codes were moved.
    - The state_dict carries all that `encode` needs.

    Args:
        build: Returns a new quantizer, equal each time (draw its weights from a seeded generator).
        lead: The shape of the latents without their channels, at least as many axes as
            `channel_dim` needs.
        noisy: Whether the vectors of training may differ from `decode(codes)`, as where noise
            stands for the error.
        by_place: Whether codes depend on where a token stands, so that real tokens are not asked
            for again without the padding between them.

    Raises:
        AssertionError: With who, rule and fact, at the first broken promise.

    Example:
        >>> from ssltok.quantizers import FSQ
        >>> from ssltok.testing import check_quantizer
        >>> check_quantizer(lambda: FSQ([5, 4, 3]))
    """
    first = build()
    missing = sorted(get_protocol_members(Quantizer) - set(dir(first)))
    ask(isinstance(first, nn.Module), first, "it must be a torch.nn.Module", type(first))
    ask(not missing, first, "it must have all members of the protocol; it misses", missing)
    latents = _latents(cast("Quantizer", first), lead)
    _check_sizes(cast("Quantizer", first))
    _check_results(build, latents.clone(), noisy=noisy)
    _check_padding(build, latents.clone(), by_place=by_place)
    for check in (
        _check_reading, _check_learning, _check_update,
        _check_initialize, _check_revive, _check_saving,
    ):  # fmt: skip
        check(build, latents.clone())


def _check_sizes(quantizer: Quantizer) -> None:
    shape, sizes = quantizer.code_shape, quantizer.codebook_sizes
    ask(type(quantizer.dim) is int, quantizer, "dim must be an int", quantizer.dim)
    ask(
        isinstance(shape, tuple) and all(type(n) is int and n >= 1 for n in shape),
        quantizer, "code_shape must be a tuple of positive ints", shape,
    )  # fmt: skip
    ask(
        quantizer.codes_per_token == math.prod(shape),
        quantizer, "codes_per_token must be the product of code_shape", quantizer.codes_per_token,
    )  # fmt: skip
    ask(
        isinstance(sizes, tuple) and len(sizes) == quantizer.codes_per_token,
        quantizer, "codebook_sizes must be a tuple with a size for each code of a vector", sizes,
    )  # fmt: skip
    ask(
        quantizer.codebook_size == max(sizes),
        quantizer, "codebook_size must be the largest of codebook_sizes", quantizer.codebook_size,
    )  # fmt: skip
    for name in ("idle", "learns_by_vectors"):
        value = getattr(quantizer, name)
        ask(isinstance(value, bool), quantizer, f"{name} must be a bool", value)


def _check_results(build: Callable[[], nn.Module], latents: Tensor, *, noisy: bool) -> None:
    for training in (True, False):
        quantizer = _as_quantizer(build().train(training))
        lead = _last(quantizer, latents).shape[:-1]
        result = quantizer(latents)
        ask(isinstance(result, Quantized), quantizer, "forward must return Quantized", result)
        vectors, codes, loss = result
        ask(codes.dtype == torch.int64, quantizer, "codes must be int64", codes.dtype)
        ask(
            tuple(codes.shape) == (*lead, *quantizer.code_shape),
            quantizer, f"codes must have shape {(*lead, *quantizer.code_shape)}", codes.shape,
        )  # fmt: skip
        columns = codes.reshape(-1, quantizer.codes_per_token)
        for i, size in enumerate(quantizer.codebook_sizes):
            low, high = int(columns[:, i].min()), int(columns[:, i].max())
            least = -1 if training else 0  # levels may be left out in training
            ask(
                least <= low and high < size,
                quantizer, f"code {i} must lie in [{least}, {size})", (low, high),
            )  # fmt: skip
        ask(
            loss.shape == () and bool(loss.isfinite()),
            quantizer, "the loss must be a finite scalar", loss,
        )  # fmt: skip
        ask(
            _last(quantizer, vectors).shape[:-1] == lead,
            quantizer, "vectors must have the layout of the latents", vectors.shape,
        )  # fmt: skip
        near = (training and noisy) or _near(vectors, quantizer.decode(codes))
        ask(near, quantizer, "vectors must be decode(codes)", "others")
        if not training:
            same = torch.equal(quantizer.encode(latents), codes)
            ask(same, quantizer, "encode must return forward's codes in evaluation", "others")


def _check_reading(build: Callable[[], nn.Module], latents: Tensor) -> None:
    for training in (True, False):
        module = build().train(training)
        quantizer, before, copy = _as_quantizer(module), state_of(module), latents.clone()
        quantizer(latents)
        random_state = torch.get_rng_state()
        codes = quantizer.encode(latents)
        quantizer.decode(codes)
        drawn = not torch.equal(torch.get_rng_state(), random_state)
        drawn = drawn or not torch.equal(quantizer.encode(latents), codes)
        ask(not drawn, quantizer, "encode must not draw", "other codes or another random state")
        ask(
            same_state(state_of(module), before),
            quantizer,
            "forward must read, not write",
            "new state",
        )
        ask(torch.equal(latents, copy), quantizer, "latents must stay as they are", "others")
        ask(module.training is training, quantizer, "the mode must stay as it is", "another")


def _check_padding(build: Callable[[], nn.Module], latents: Tensor, *, by_place: bool) -> None:
    module = build().eval()
    quantizer = _as_quantizer(module)
    rows = _last(quantizer, latents).clone()
    valid = torch.arange(rows[..., 0].numel()).reshape(rows.shape[:-1]) % 3 > 0
    rows[~valid] = torch.nan
    padded = _first(quantizer, rows).requires_grad_()
    vectors, codes, loss = quantizer(padded, valid)
    known = codes.flatten(valid.ndim) if quantizer.code_shape else codes.unsqueeze(-1)
    ask(bool((known[~valid] == -1).all()), quantizer, "codes must be -1 at padding", "others")
    ask(
        bool((_last(quantizer, vectors)[~valid] == 0).all()),
        quantizer, "vectors must be 0 at padding", "others",
    )  # fmt: skip
    if by_place:
        filled = torch.where(valid[..., None], rows, 1.0)
        real = quantizer(_first(quantizer, filled), valid)
        real = real._replace(codes=real.codes[valid])
    else:
        real = quantizer(_first(quantizer, rows[valid]))
    same = torch.equal(known[valid], real.codes.reshape(-1, quantizer.codes_per_token))
    ask(same, quantizer, "padding must not change the codes of what is real", "other codes")
    ask(_near(loss, real.loss), quantizer, "padding must not change the loss", loss.detach())
    scalar = vectors.sum() + loss
    if scalar.requires_grad:
        torch.autograd.backward(scalar)
        if padded.grad is not None:
            grad = _last(quantizer, padded.grad)
            ask(bool(grad.isfinite().all()), quantizer, "gradients must be finite", "NaN or inf")
            ask(bool((grad[~valid] == 0).all()), quantizer, "padding must have no gradient", grad)
    decoded = _last(quantizer, quantizer.decode(torch.full_like(codes, -1)))
    ask(bool((decoded == 0).all()), quantizer, "decode must return 0 for -1", "others")
    nothing = quantizer(padded.detach(), torch.zeros_like(valid))
    ask(
        bool(nothing.loss == 0) and bool((nothing.codes == -1).all()),
        quantizer, "where nothing is real the loss must be 0 and codes -1", nothing.loss,
    )  # fmt: skip


def _check_learning(build: Callable[[], nn.Module], latents: Tensor) -> None:
    module = build().train()
    quantizer = _as_quantizer(module)
    vectors = quantizer(latents.requires_grad_()).vectors
    learns = False
    if vectors.requires_grad:
        wave = torch.arange(1, vectors.numel() + 1).reshape(vectors.shape).sin()
        torch.autograd.backward((vectors * wave).sum())
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        learns = any(bool(grad.abs().sum() > 0) for grad in gradients)
    ask(
        learns is quantizer.learns_by_vectors,
        quantizer, "learns_by_vectors must say whether parameters get the vectors' gradient",
        quantizer.learns_by_vectors,
    )  # fmt: skip


def _check_update(build: Callable[[], nn.Module], latents: Tensor) -> None:
    module = build().train()
    quantizer, before = _as_quantizer(module), state_of(module)
    codes = quantizer(latents).codes
    quantizer.update(latents, torch.full_like(codes, -1))
    ask(
        same_state(state_of(module), before),
        quantizer,
        "update must pass padding over",
        "new state",
    )
    quantizer.update(latents, codes)
    ask(
        not quantizer.idle or same_state(state_of(module), before),
        quantizer, "idle must say that update does nothing", "new state",
    )  # fmt: skip
    finite = all(bool(v.isfinite().all()) for v in state_of(module).values())
    ask(finite, quantizer, "update must leave a finite state", "NaN or infinity")


def _check_initialize(build: Callable[[], nn.Module], latents: Tensor) -> None:
    states = []
    for fill in (0.0, torch.nan):
        module = build()
        quantizer = _as_quantizer(module)
        rows = _last(quantizer, latents).clone()
        valid = torch.arange(rows[..., 0].numel()).reshape(rows.shape[:-1]) % 3 > 0
        rows[~valid] = fill
        generator = torch.Generator().manual_seed(0)
        started = cast("Any", quantizer).initialize(
            _first(quantizer, rows), valid, steps=2, generator=generator
        )
        ask(started is None, quantizer, "initialize must return None", started)
        states.append(state_of(module))
    ask(
        same_state(*states),
        _as_quantizer(build()), "initialize must draw from its generator and pass padding over",
        "two states",
    )  # fmt: skip


def _check_revive(build: Callable[[], nn.Module], latents: Tensor) -> None:
    states = []
    for _ in range(2):
        module = build()
        quantizer = _as_quantizer(module)
        generator = torch.Generator().manual_seed(0)
        moved = quantizer.revive(latents, quantizer.encode(latents), share=0.9, generator=generator)
        flags = (moved,) if isinstance(moved, Tensor) else moved
        ask(
            isinstance(flags, tuple) and all(f.dtype == torch.bool and f.ndim == 1 for f in flags),
            quantizer, "revive must return booleans `(codebook_size,)`, or a tuple of such", moved,
        )  # fmt: skip
        states.append(state_of(module))
    ask(
        same_state(*states),
        _as_quantizer(build()),
        "revive must draw from its generator",
        "two states",
    )


def _check_saving(build: Callable[[], nn.Module], latents: Tensor) -> None:
    module = build()
    quantizer = _as_quantizer(module)
    quantizer.initialize(latents, generator=torch.Generator().manual_seed(1))
    quantizer.update(latents, quantizer.encode(latents))
    other = build()
    other.load_state_dict(module.state_dict())
    same = torch.equal(_as_quantizer(other).encode(latents), quantizer.encode(latents))
    ask(same, quantizer, "the state_dict must carry all that encode needs", "other codes")


def _as_quantizer(module: nn.Module) -> Quantizer:
    return cast("Quantizer", module)


def _latents(quantizer: Quantizer, lead: tuple[int, ...]) -> Tensor:
    """Skewed and off centre, so that no symmetry hides a mistake."""
    generator = torch.Generator().manual_seed(1)
    return _first(quantizer, torch.randn(*lead, quantizer.dim, generator=generator).exp() - 0.7)


def _last(quantizer: Quantizer, tensor: Tensor) -> Tensor:
    return tensor.movedim(quantizer.channel_dim, -1)


def _first(quantizer: Quantizer, tensor: Tensor) -> Tensor:
    return tensor.movedim(-1, min(quantizer.channel_dim, tensor.ndim - 1)).clone()


def _near(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-6)
