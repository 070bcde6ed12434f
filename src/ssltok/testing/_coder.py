"""What every pair of encoder and decoder promises: its grid, its sizes, and padding unseen."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssltok.testing._asking import (
    ask,
    ask_members,
    ask_quiet,
    drawn_from,
    near,
    ragged_rows,
    same_state,
    settled,
    state_of,
    wave_of,
)  # fmt: skip

__all__ = ["check_coder"]

CASES = 5
Pair = tuple[Any, Any]


def check_coder(build: Callable[[], tuple[nn.Module, nn.Module]], shape: Sequence[int]) -> None:
    """Ask of an encoder and its decoder what a branch needs of them.

    - The encoder has `dim` and `grid`, time last, and gives `(batch, dim, *grid)`; the decoder
      gives the band's shape back.
    - Each lets the gradient through to its input and to all its parameters.
    - In evaluation both are functions: rows are independent, nothing is drawn, and no state moves.
      In training nothing but the running statistics of norms moves.
    - `valid` marks real columns: what stands elsewhere reaches no latent of a real place, no
      statistic and no gradient, and NaN there stays there. All real is the same as none given.
    - A start from data (`encoder.initialize(band, valid)`, `decoder.initialize(encoder)`), if there
      is one, reads no padding and leaves a finite state.
    - The state_dict carries all that encoding and decoding need.

    Args:
        build: Returns a new encoder and decoder; what it draws from the global stream is seeded.
        shape: Axes of the band without the batch, the columns last: `(channels, freq, frames)` or
            `(channels, length)`.

    Raises:
        AssertionError: With who, rule and fact, at the first broken promise.

    Example:
        >>> from ssltok.nn import PatchDecoder1d, PatchEncoder1d
        >>> from ssltok.testing import check_coder
        >>> sizes = {"length": 20, "patch": 4, "hidden_dim": 5}
        >>> check_coder(lambda: (PatchEncoder1d(2, 6, **sizes), PatchDecoder1d(2, 6, **sizes)),
        ...             (2, 20))
    """
    generator = torch.Generator().manual_seed(1)
    band = torch.randn(CASES, *shape, generator=generator, dtype=torch.float64).exp() - 0.7
    encoder, decoder = _new(build)
    _check_sizes(encoder, decoder, band)
    latents = torch.randn(CASES, encoder.dim, *encoder.grid, generator=generator).double()
    columns = ragged_rows(CASES, shape[-1])
    frames = encoder.grid[-1]
    begins = torch.arange(frames) * shape[-1] / frames
    places = begins < columns.sum(dim=1, keepdim=True)
    for which, x, valid, real in ((0, band, columns, places), (1, latents, places, None)):
        _check_gradient(_new(build)[which], x)
        _check_evaluation(build, which, x, valid)
        for training in (True, False):
            _check_padding(build, which, x, valid, real=real, training=training)
    _check_start(build, band, columns)
    _check_saving(build, band, latents)


def _new(build: Callable[[], tuple[nn.Module, nn.Module]]) -> Pair:
    with drawn_from(0):
        encoder, decoder = build()
    ask_members(encoder, ("dim", "grid"))
    ask_members(decoder, ())
    return encoder.double(), decoder.double()


def _check_sizes(encoder: Any, decoder: Any, band: Tensor) -> None:
    ask(type(encoder.dim) is int and encoder.dim >= 1, encoder, "dim must be a positive int",
        encoder.dim)  # fmt: skip
    grid = encoder.grid
    whole = isinstance(grid, tuple) and all(type(n) is int and n >= 1 for n in grid)
    ask(whole and len(grid) >= 1, encoder, "grid must be a tuple of positive ints", grid)
    with drawn_from(0):
        copy = band.clone()
        latents = encoder(band)
        shape = (len(band), encoder.dim, *grid)
        ask(tuple(latents.shape) == shape, encoder, f"latents must have shape {shape}",
            tuple(latents.shape))  # fmt: skip
        ask(bool(latents.isfinite().all()), encoder, "latents must be finite", "NaN or inf")
        out = decoder(latents.detach())
    ask(out.shape == band.shape, decoder, f"it must give the band's shape, {tuple(band.shape)}",
        tuple(out.shape))  # fmt: skip
    ask(torch.equal(band, copy), encoder, "bands must stay as they are", "others")


def _check_gradient(part: Any, x: Tensor) -> None:
    leaf = x.clone().requires_grad_()
    with drawn_from(0):
        out = part(leaf)
    ask(out.requires_grad, part, "it must let the gradient through", "none")
    (out * wave_of(out)).sum().backward()
    ask(leaf.grad is not None and bool(leaf.grad.flatten(1).any(dim=1).all()), part,
        "every row must get a gradient", "none")  # fmt: skip
    for name, parameter in part.named_parameters():
        if parameter.requires_grad:
            grad = parameter.grad
            ask(grad is not None, part, f"a gradient must reach {name}", "none")
            finite = grad is not None and bool(grad.isfinite().all())
            ask(finite, part, "gradients must be finite", f"NaN or inf in {name}")


def _check_evaluation(build: Any, which: int, x: Tensor, valid: Tensor) -> None:
    part = _new(build)[which]
    before = settled(state_of(part))
    with drawn_from(0):
        part(x)
    ask(same_state(settled(state_of(part)), before), part, "training must move norms alone",
        "another state")  # fmt: skip
    before = state_of(part.eval())
    with ask_quiet(part, "in evaluation it"):
        out = part(x, valid)
        rows = [part(x[i : i + 1], valid[i : i + 1]) for i in range(len(x))]
        whole, plain = part(x, torch.ones_like(valid)), part(x)
    ask(same_state(state_of(part), before), part, "evaluation must move no state", "another state")
    ask(near(torch.cat(rows), out), part, "rows must be independent in evaluation", "others")
    ask(near(whole, plain), part, "valid of all columns must be the same as none", "others")


def _check_padding(
    build: Any, which: int, x: Tensor, valid: Tensor, *, real: Tensor | None, training: bool
) -> None:
    seen = []
    over = valid.view(len(valid), *[1] * (x.ndim - 2), -1).expand_as(x)
    for filler in (0.0, torch.nan):
        part = _new(build)[which].train(training)
        leaf = x.masked_fill(~over, filler).requires_grad_()
        with drawn_from(0):
            out = part(leaf, valid)
        if real is not None:
            out = out * real.view(len(real), *[1] * (out.ndim - 2), -1)
        ask(bool(out.isfinite().all()), part, "NaN in the padding must stay there", "NaN outside")
        (out * wave_of(out)).sum().backward()
        grads = {name: p.grad for name, p in part.named_parameters() if p.grad is not None}
        ask(all(bool(g.isfinite().all()) for g in grads.values()), part,
            "gradients must be finite beside padding", "NaN or inf")  # fmt: skip
        ask(leaf.grad is not None and not bool(leaf.grad[~over].any()), part,
            "padding must have no gradient", "one")  # fmt: skip
        seen.append({"the result": out.detach(), **state_of(part), **grads})
    for name, value in seen[0].items():
        ask(torch.equal(value, seen[1][name]), _new(build)[which], "padding must not be read",
            f"another {name.removeprefix('the ')}")  # fmt: skip


def _check_start(build: Any, band: Tensor, valid: Tensor) -> None:
    encoder, decoder = _new(build)
    if not hasattr(encoder, "initialize") and not hasattr(decoder, "initialize"):
        return
    states = []
    over = valid.view(len(valid), *[1] * (band.ndim - 2), -1).expand_as(band)
    for filler in (0.0, 1e4):
        encoder, decoder = _new(build)
        with torch.no_grad(), drawn_from(0):
            if hasattr(encoder, "initialize"):
                encoder.initialize(band.masked_fill(~over, filler), valid)
            if hasattr(decoder, "initialize"):
                decoder.initialize(encoder)
        states.append({**state_of(encoder), **{f"d.{k}": v for k, v in state_of(decoder).items()}})
    finite = all(bool(v.isfinite().all()) for v in states[0].values())
    ask(finite, encoder, "initialize must leave a finite state", "NaN or inf")
    ask(same_state(*states), encoder, "initialize must read no padding", "two states")


def _check_saving(build: Any, band: Tensor, latents: Tensor) -> None:
    pair, others = _new(build), _new(build)
    with torch.no_grad(), drawn_from(0):
        if hasattr(pair[0], "initialize"):
            pair[0].initialize(band, torch.ones(CASES, band.shape[-1], dtype=torch.bool))
        if hasattr(pair[1], "initialize"):
            pair[1].initialize(pair[0])
        for part, other, x in zip(pair, others, (band, latents), strict=True):
            part(x)  # norms move
            for parameter in part.parameters():
                parameter.mul_(1.1)
            other.load_state_dict(part.state_dict())
            same = torch.equal(part.eval()(x), other.eval()(x))
            ask(same, part, "the state_dict must carry all that it needs", "other results")
