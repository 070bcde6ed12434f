"""LARS: momentum SGD whose step in each tensor is a share of that tensor's norm."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from ssltok._shared.checks import check_at_least, check_positive, check_ratio

__all__ = ["LARS", "is_bias_or_norm"]


def is_bias_or_norm(parameter: Tensor) -> bool:
    """Return whether a parameter has at most one axis, as biases and normalisations have.

    Example:
        >>> from torch import nn
        >>> from ssltok.optim import is_bias_or_norm
        >>> linear = nn.Linear(3, 2)
        >>> is_bias_or_norm(linear.weight), is_bias_or_norm(linear.bias)
        (False, True)
    """
    return parameter.ndim <= 1


class LARS(Optimizer):
    r"""Layer-wise adaptive rate scaling, multi-tensor and without waiting for the device.

    $$u = g + \beta w, \qquad r = \eta\, \frac{\lVert w \rVert}{\lVert u \rVert}, \qquad
      m \leftarrow \mu\, m + r\, u, \qquad w \leftarrow w - \gamma\, m$$

    where $r = 1$ if either norm is 0. Tensors for which `exclude` holds get neither decay nor
    adaptation: $u = g$, $r = 1$. The learning rate stands outside the momentum, as in the code of
    SimCLR's TF2 version, Barlow Twins, VICReg, DINO and MAE; the paper has it inside, which
    differs only while the rate changes.

    Two denominators are published. `joint_norm=True` is $\lVert g + \beta w \rVert$ of those
    codes; `joint_norm=False` is $\lVert g \rVert + \beta \lVert w \rVert$ of the paper. With
    `clip=True` (LARC) the learning rate is a ceiling of the adaptive rate, not a factor of it:
    $r \leftarrow \min(r / \gamma, 1)$. A missing gradient leaves its tensor alone.

    Args:
        params: Parameters, or groups of them with options of their own (`exclude` included).
        lr: $\gamma$, the learning rate.
        momentum: $\mu$.
        weight_decay: $\beta$, for tensors that are not excluded.
        trust_coefficient: $\eta$; 0.001 in the codes above.
        joint_norm: Which denominator, see above.
        clip: Whether `lr` is a ceiling of the adaptive rate instead of a factor, see above.
        exclude: Which tensors get neither decay nor adaptation; a function of the parameter.

    Raises:
        ValueError: If a number is out of its range.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.optim import LARS
        >>> weight = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
        >>> optimizer = LARS([weight], lr=1.0, trust_coefficient=0.1)
        >>> weight.grad = torch.tensor([[0.0, 100.0]])
        >>> _ = optimizer.step()  # |w| = 5, so the step is 0.1 * 5 along the gradient
        >>> weight.data
        tensor([[3.0000, 3.5000]])

    References:
        You et al., *Large Batch Training of Convolutional Networks*, 2017,
        <https://arxiv.org/abs/1708.03888>, algorithm 1.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 1e-3,
        joint_norm: bool = True,
        clip: bool = False,
        exclude: Callable[[Tensor], bool] = is_bias_or_norm,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "joint_norm": joint_norm,
            "clip": clip,
            "exclude": exclude,
        }
        _check_options(defaults)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own, `exclude` among them.

        Raises:
            ValueError: If a number is out of its range.
        """
        _check_options({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """Return moments and options; without `exclude`, for a file should hold no function."""
        packed = super().state_dict()
        for group in packed["param_groups"]:
            del group["exclude"]
        return packed

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state; options that it does not name stay as they are in this optimizer.

        So do moments of another optimizer with the same state, as SGD's or another LARS's.

        Raises:
            ValueError: If it holds other state than a `momentum_buffer` of each parameter's shape,
                or its groups do not match.
        """
        indices = [i for group in state_dict["param_groups"] for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        parameter = dict(zip(indices, params, strict=False))  # torch compares the numbers of them
        moments = {}
        for index, state in state_dict["state"].items():
            if others := sorted(map(str, set(state) - {"momentum_buffer"})):
                raise ValueError(
                    "LARS: state_dict must hold no state but momentum_buffer; "
                    f"got {', '.join(others)} of parameter {index}"
                )
            moment = state.get("momentum_buffer")
            if moment is None:  # SGD's word for none yet
                continue
            if index in parameter and moment.shape != parameter[index].shape:
                raise ValueError(
                    "LARS: state_dict must hold moments of the parameters' shapes; "
                    f"got {tuple(moment.shape)} for {tuple(parameter[index].shape)}"
                )
            moments[index] = state
        super().load_state_dict({**state_dict, "state": moments})

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state, of a file or of a copy; what a group lacks comes from the old one."""
        before = self.__dict__.get("param_groups", [])
        super().__setstate__(state)
        self.defaults.setdefault("exclude", is_bias_or_norm)
        for index, group in enumerate(self.param_groups):
            previous = before[index] if index < len(before) else self.defaults
            for name in self.defaults:
                group.setdefault(name, previous.get(name, self.defaults[name]))

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step; gradients are read, not changed.

        Args:
            closure: Computes the loss and its gradients again, if given.

        Returns:
            What the closure returns, or `None`.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[tuple[bool, torch.device, torch.dtype], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    key = (not group["exclude"](p), p.device, p.dtype)
                    alike.setdefault(key, []).append(p)
            for (adapt, _, _), params in alike.items():
                self._move(params, group, adapt=adapt)
        return loss

    def _move(self, params: list[Tensor], group: dict[str, Any], *, adapt: bool) -> None:
        updates = [p.grad for p in params if p.grad is not None]
        if adapt:
            updates = _adapted(params, updates, group)
        for p in params:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        moments = [self.state[p]["momentum_buffer"] for p in params]
        torch._foreach_mul_(moments, group["momentum"])
        torch._foreach_add_(moments, updates)
        torch._foreach_add_(params, moments, alpha=-group["lr"])


def _check_options(options: dict[str, Any]) -> None:
    check_at_least("LARS", "lr", options["lr"], 0)
    check_ratio("LARS", "momentum", options["momentum"])
    check_at_least("LARS", "weight_decay", options["weight_decay"], 0)
    check_positive("LARS", "trust_coefficient", options["trust_coefficient"])


def _adapted(params: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
    """Return the decayed gradients, each times its own rate; all norms stay on the device."""
    decay, trust = group["weight_decay"], group["trust_coefficient"]
    updates = list(torch._foreach_add(grads, params, alpha=decay))
    weights = _norms(params)
    lengths = _norms(updates) if group["joint_norm"] else _norms(grads) + decay * weights
    rates = trust * weights / lengths
    if group["clip"]:
        rates = (rates / group["lr"]).clamp(max=1)
    rates = torch.where((weights > 0) & (lengths > 0), rates, 1.0)
    torch._foreach_mul_(updates, list(rates.unbind()))
    return updates


def _norms(tensors: list[Tensor]) -> Tensor:
    wide = torch.promote_types(tensors[0].dtype, torch.float32)
    return torch.stack(list(torch._foreach_norm(tensors, 2, dtype=wide)))
