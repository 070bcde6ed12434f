"""What a folder says is held against what it holds, before and after anything is built from it."""

import contextlib
import math
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from ssltok._shared.reasons import reason_of
from ssltok._shared.storage import ArtifactError
from ssltok.pipelines._stage_two._conditions import ConditionScale

__all__ = [
    "check_classes",
    "check_finite",
    "check_origin",
    "check_savable",
    "check_training",
    "pop_conditions",
    "pop_per_channel",
    "pop_usual",
    "within_weights",
]

LARGEST_SEED = 2**64
PLAIN = (str, int, float, bool, type(None))
SPARE_NUMBERS = 2**24  # of what is built and not saved, or saved once and built twice
SPARE_MODULES = 512
MODULES_A_TENSOR = 16
Folder = str | os.PathLike[str]


class _TooLarge(Exception):  # noqa: N818  it never leaves this file
    """More was built than the file has weights for."""


@contextlib.contextmanager
def within_weights(folder: Folder, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Stop the building of modules as soon as they are larger than the weights that were saved.

    A description of a thousand million blocks ends at once.

    Args:
        folder: For the error's text.
        tensors: The saved weights.

    Raises:
        ArtifactError: If they grow too large, or cannot be built.
    """
    left = {
        "numbers": 2 * sum(tensor.numel() for tensor in tensors.values()) + SPARE_NUMBERS,
        "tensors": 2 * len(tensors) + SPARE_MODULES,
        "modules": MODULES_A_TENSOR * len(tensors) + SPARE_MODULES,
    }

    def count(_: nn.Module, name: str, tensor: Tensor | None) -> None:
        if tensor is not None:
            left["numbers"] -= tensor.numel()
            left["tensors"] -= 1
        if min(left.values()) < 0:
            raise _TooLarge(name)

    def count_module(_: nn.Module, name: str, module: nn.Module | None) -> None:
        left["modules"] -= module is not None
        if left["modules"] < 0:
            raise _TooLarge(name)

    hooks = [
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
        register_module_module_registration_hook(count_module),
    ]
    try:
        yield
    except ArtifactError:
        raise
    except _TooLarge as error:
        raise ArtifactError(
            folder, "a config.json that asks for more than model.safetensors has weights for"
        ) from error
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError) as error:
        raise ArtifactError(
            folder, f"a config.json that cannot be built ({reason_of(error)})"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def check_finite(folder: Folder, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that are no numbers.

    Raises:
        ArtifactError: With the first of them.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ArtifactError(folder, f"{name} with values that are not finite")


def check_classes(folder: Folder, classes: Any, count: int) -> None:
    """Refuse classes that no training has written.

    Raises:
        ArtifactError: If they are of another number, equal, or not plain.
    """
    if not isinstance(classes, list) or len(classes) != count:
        raise ArtifactError(folder, "a labels.json of another form")
    for label in classes:
        if type(label) not in PLAIN or (isinstance(label, float) and not math.isfinite(label)):
            raise ArtifactError(folder, f"the label {label!r} in labels.json")
    if len(set(classes)) != len(classes):
        raise ArtifactError(folder, "equal labels in labels.json")


def check_origin(folder: Folder, origin: Any) -> None:
    """Refuse a provenance of another form.

    Raises:
        ArtifactError: If it is no object, or its seed is none.
    """
    if not isinstance(origin, dict):
        raise ArtifactError(folder, "a provenance.json of another form")
    seed = origin.get("seed", 0)
    if type(seed) is not int or abs(seed) >= LARGEST_SEED:
        raise ArtifactError(folder, f"the seed {str(seed)[:40]} in provenance.json")


def check_savable(who: str, classes: Sequence[Hashable]) -> None:
    """Refuse classes that a folder could not give back.

    Args:
        who: Who asks, for the error's text.
        classes: The labels.

    Raises:
        TypeError: If one is no text, finite number or boolean; None may stand in old folders.
    """
    for label in classes:
        finite = not isinstance(label, float) or math.isfinite(label)
        if type(label) not in (str, int, float, bool, type(None)) or not finite:
            raise TypeError(
                f"{who}: labels must be texts, finite numbers or booleans to be saved; "
                f"got {label!r}"
            )


def check_training(
    folder: Folder, training: Sequence[Tensor], *, length: int, classes: int
) -> None:
    """Refuse lengths and labels of training series that do not fit the model or each other.

    Raises:
        ArtifactError: With what does not fit.
    """
    lengths, labels = training
    if len(lengths) != len(labels):
        raise ArtifactError(folder, f"{len(lengths)} training.lengths and {len(labels)} labels")
    low, high = int(lengths.min()), int(lengths.max())
    if low < 1 or high > length:
        raise ArtifactError(folder, f"training.lengths from {low} to {high}, outside [1, {length}]")
    low, high = int(labels.min()), int(labels.max())
    if low < -1 or high >= classes:
        raise ArtifactError(
            folder, f"training.labels from {low} to {high}, where there are {classes} classes"
        )
    if len(labels[labels >= 0].unique()) != classes:
        raise ArtifactError(folder, f"training.labels that do not hold all {classes} classes")


def pop_per_channel(
    folder: Folder, tensors: dict[str, Tensor], name: str, channels: int, dtype: torch.dtype
) -> Tensor:
    """Take out a number for each channel; a single 0 where there is none, as in old folders."""
    tensor = tensors.pop(name, torch.zeros(1, dtype=dtype))
    right = tensor.dtype == dtype and tensor.shape in ((channels,), (1,))
    if not right or not bool(tensor.isfinite().all()):
        raise ArtifactError(folder, f"{name} of another form in model.safetensors")
    return tensor


def pop_conditions(folder: Folder, tensors: dict[str, Tensor]) -> ConditionScale | None:
    """Take out the scale of the conditions; None where the prior was told none."""
    names = [f"training.conditions.{name}" for name in ConditionScale._fields]
    if not any(name in tensors for name in names):
        return None
    parts = []
    for name in names:
        part = tensors.pop(name, torch.zeros(0))
        right = part.ndim == 2 and len(part) == 2 and part.dtype == torch.float64
        if not right or not bool(part.isfinite().all()) or not bool((part[1] > 0).all()):
            raise ArtifactError(folder, f"{name} of another form in model.safetensors")
        parts.append(part)
    return ConditionScale(*parts)


def pop_usual(folder: Folder, tensors: dict[str, Tensor]) -> Tensor | None:
    """Take out the quantiles of training scores, which rise; None where there are none."""
    usual = tensors.pop("training.usual", None)
    if usual is None:
        return None
    right = usual.ndim == 1 and len(usual) > 1 and usual.dtype == torch.float32
    if not right or not bool(usual.isfinite().all()) or not bool((usual.diff() >= 0).all()):
        raise ArtifactError(folder, "training.usual of another form in model.safetensors")
    return usual
