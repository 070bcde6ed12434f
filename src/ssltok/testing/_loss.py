"""What every loss promises: a finite scalar of its inputs alone, with the right gradient."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ssltok.testing._asking import answered, ask, ask_quiet, same_state, state_of

__all__ = ["check_loss"]

STEP = 1e-5  # of the finite difference, in float64


@answered
def check_loss(
    loss: Callable[..., Tensor], inputs: Sequence[Tensor], *, targets: Sequence[int] = ()
) -> None:
    """Ask of a loss what all losses of this library promise.

    - It returns a finite scalar in floating point, float32 of float32 inputs.
    - It is a function: the same bits for the same inputs, which stay as they are; nothing is drawn
      from the global stream, and a module's state does not move.
    - Every floating input that is no target gets a finite gradient that is not zero; targets get
      none.
    - The gradient is that of finite differences, in float64.
    - Where all rows are alike (a collapse), or all are 0, loss and gradient are finite.
    - Under bfloat16 autocast the result is that of float32.

    Args:
        loss: A function or module from tensors to a scalar; bind options and generators first.
        inputs: Tensors for one call, float32 where floating.
        targets: Places of the inputs that are detached inside.

    Raises:
        AssertionError: With who, rule and fact, at the first broken promise.

    Example:
        >>> import torch
        >>> from ssltok.losses import nt_xent_loss
        >>> from ssltok.testing import check_loss
        >>> generator = torch.Generator().manual_seed(0)
        >>> check_loss(nt_xent_loss, [torch.randn(8, 6, generator=generator) for _ in range(2)])
    """
    given = [x.detach().clone() for x in inputs]
    _check_value(loss, given)
    _check_gradients(loss, given, targets)
    _check_differences(loss, given, targets)
    for scale, rows in ((1.0, "where all rows are alike"), (0.0, "where all rows are 0")):
        flat = [
            scale * torch.full_like(x, 1 / x.shape[-1]) if x.is_floating_point() and x.ndim else x
            for x in given
        ]
        _check_finite(loss, flat, targets, rows)
    _check_autocast(loss, given)


def _check_value(loss: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    copies = [x.clone() for x in inputs]
    before = state_of(loss) if isinstance(loss, nn.Module) else {}
    with ask_quiet(loss, "it"):
        value = loss(*inputs)
        again = loss(*inputs)
    ask(isinstance(value, Tensor), loss, "it must return one tensor", type(value).__name__)
    ask(value.shape == (), loss, "it must return a scalar", f"shape {tuple(value.shape)}")
    ask(value.is_floating_point(), loss, "it must return floating point", value.dtype)
    if all(x.dtype == torch.float32 for x in inputs if x.is_floating_point()):
        ask(value.dtype == torch.float32, loss, "it must return float32 of float32", value.dtype)
    ask(bool(value.isfinite()), loss, "it must be finite", float(value))
    ask(torch.equal(value, again), loss, "the same inputs must cost the same", "other bits")
    same = all(torch.equal(x, y) for x, y in zip(inputs, copies, strict=True))
    ask(same, loss, "inputs must stay as they are", "others")
    if isinstance(loss, nn.Module):
        ask(same_state(state_of(loss), before), loss, "it must read, not write", "a new state")


def _check_gradients(
    loss: Callable[..., Tensor], inputs: list[Tensor], targets: Sequence[int]
) -> None:
    for place, gradient in _gradients(loss, inputs).items():
        if place in targets:
            ask(gradient is None, loss, f"input {place} is a target: no gradient", "one")
            continue
        ask(gradient is not None, loss, f"input {place} must get a gradient", "none")
        if gradient is not None:
            ask(bool(gradient.isfinite().all()), loss, "gradients must be finite", "NaN or inf")
            ask(bool(gradient.any()), loss, f"the gradient of input {place} must not be 0", 0)


def _check_differences(
    loss: Callable[..., Tensor], inputs: list[Tensor], targets: Sequence[int]
) -> None:
    """Along one direction, by central differences."""
    generator = torch.Generator().manual_seed(0)
    wide = [x.double() if x.is_floating_point() else x for x in inputs]
    ways = {
        place: torch.randn(x.shape, generator=generator, dtype=torch.float64)
        for place, x in enumerate(wide)
        if x.is_floating_point() and place not in targets
    }
    slope = sum(
        float((gradient * ways[place]).sum())
        for place, gradient in _gradients(loss, wide).items()
        if place in ways and gradient is not None
    )
    up, down = (
        float(loss(*(x + sign * STEP * ways[i] if i in ways else x for i, x in enumerate(wide))))
        for sign in (1, -1)
    )
    measured = (up - down) / (2 * STEP)
    ask(
        abs(slope - measured) <= 1e-3 * max(abs(measured), 1e-3),
        loss, "the gradient must be that of finite differences", f"{slope:.6g}, not {measured:.6g}",
    )  # fmt: skip


def _check_finite(
    loss: Callable[..., Tensor], inputs: list[Tensor], targets: Sequence[int], where: str
) -> None:
    value = loss(*inputs)
    ask(bool(value.isfinite()), loss, f"it must be finite {where}", float(value))
    for place, gradient in _gradients(loss, inputs).items():
        finite = gradient is None or place in targets or bool(gradient.isfinite().all())
        ask(finite, loss, f"gradients must be finite {where}", f"NaN or inf of input {place}")


def _check_autocast(loss: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(*inputs)
    value = loss(*inputs)
    ask(inside.dtype == value.dtype, loss, "autocast must not change its dtype", inside.dtype)
    ask(
        torch.allclose(inside, value, rtol=1e-3, atol=1e-4),
        loss, "autocast must not change its value", f"{float(inside):.6g}, not {float(value):.6g}",
    )  # fmt: skip


def _gradients(loss: Callable[..., Tensor], inputs: list[Tensor]) -> dict[int, Tensor | None]:
    """The gradient of each floating input, by its place."""
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    wanted = {place: leaf for place, leaf in enumerate(leaves) if leaf.requires_grad}
    value = loss(*leaves)
    ask(value.requires_grad, loss, "it must have a gradient", "none")
    gradients = torch.autograd.grad(value, list(wanted.values()), allow_unused=True)
    return dict(zip(wanted, gradients, strict=True))
