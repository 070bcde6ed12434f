"""How functions with gradients of their own get along with `torch.func`, at no cost without it."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["QuickFunction", "is_mapped"]


class QuickFunction(torch.autograd.Function):
    """A function for `torch.func` that outside of it is called as quickly as any other.

    `torch.autograd.Function.apply` looks at the signature of `forward` in every call, for defaults
    that ours do not have: 50 microseconds, as much as a small step.
    """

    @classmethod
    def apply(cls, *args: Any) -> Any:
        if torch._C._are_functorch_transforms_active():
            return super().apply(*args)  # type: ignore[no-untyped-call]
        return super(torch.autograd.Function, cls).apply(*args)  # type: ignore[misc]


def is_mapped(tensor: Tensor) -> bool:
    """Say whether `vmap`, or a vectorised Jacobian, has hidden a batch in a tensor.

    Then its values cannot be looked at, and nothing without that batch can be changed in place by
    it.
    """
    if torch.compiler.is_compiling():
        return False
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return functorch.is_legacy_batchedtensor(tensor)
