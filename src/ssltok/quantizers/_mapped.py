"""Whether a tensor stands for many: `torch.vmap` allows less there."""

import torch
from torch import Tensor

__all__ = ["is_mapped"]


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
