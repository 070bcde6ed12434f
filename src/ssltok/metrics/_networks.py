"""Networks that metrics train: drawn from one generator, trained by a budget of steps."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_floating

__all__ = [
    "accuracy",
    "batches",
    "draw_parameters",
    "encode",
    "module_digest",
    "outside_modes",
    "train",
]

Batch = TypeVar("Batch")


@contextmanager
def outside_modes(device: torch.device) -> Iterator[None]:
    """Leave the caller's autocast and inference mode: a score must not depend on them."""
    with torch.inference_mode(mode=False), torch.autocast(device.type, enabled=False):
        yield


def draw_parameters(module: nn.Module, generator: torch.Generator | None) -> None:
    """Fill a module that was built on the meta device: torch's default laws, one generator.

    Weights are uniform in +-1/sqrt(fan_in), and so are biases; norms start at 1 and 0.
    """
    module.to_empty(device=torch.device("cpu") if generator is None else generator.device)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm | nn.LayerNorm):
            part.reset_parameters()
        elif isinstance(part, nn.GRU):
            _fill(part, part.hidden_size**-0.5, generator)
        elif isinstance(part, nn.Linear | nn.Conv1d):
            _fill(part, part.weight[0].numel() ** -0.5, generator)
        elif next(part.parameters(recurse=False), None) is not None:
            raise TypeError(f"draw_parameters: no law for {type(part).__name__}")


def _fill(part: nn.Module, bound: float, generator: torch.Generator | None) -> None:
    for parameter in part.parameters(recurse=False):
        nn.init.uniform_(parameter, -bound, bound, generator=generator)


def batches(
    cases: int, *, size: int, steps: int, generator: torch.Generator | None
) -> Iterator[Tensor]:
    """Yield `steps` index tensors of `size` cases: shuffled epochs laid end to end."""
    size = min(size, cases)
    device = "cpu" if generator is None else generator.device
    pool = torch.empty(0, dtype=torch.int64, device=device)
    for _ in range(steps):
        while len(pool) < size:
            pool = torch.cat([pool, torch.randperm(cases, generator=generator, device=device)])
        yield pool[:size]
        pool = pool[size:]


def train(
    module: nn.Module,
    loss: Callable[[Batch], Tensor],
    order: Iterable[Batch],
    learning_rate: float,
    weight_decay: float,
    steps: int,
) -> None:
    """Train in place with AdamW and a cosine; `loss` maps a batch of `order` to a scalar."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=weight_decay)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    module.train()
    with torch.enable_grad():
        for index in order:
            optimizer.zero_grad()
            loss(index).backward()
            optimizer.step()
            scheduler.step()
    module.eval()


def encode(encoder: Callable[[Tensor], Tensor], series: Tensor, *, batch_size: int = 256) -> Tensor:
    """Map series to features in batches, in eval mode, and leave no trace.

    Every submodule of an encoder that is a module, or a method of a module, runs in eval mode and
    gets its own mode back, also after an error; no gradient is kept; the state of torch's random
    numbers is restored. A module within a closure or a `functools.partial` cannot be seen: put it
    in eval mode yourself.

    Args:
        encoder: Maps `(batch, channels, length)` to a tensor with one row a case: a module, one
            of its methods, or any callable.
        series: Series, `(cases, channels, length)`.
        batch_size: Cases a call; it bounds the memory and does not change the result.

    Returns:
        The encoder's rows of all cases, `(cases, ...)`.

    Raises:
        ValueError: If `series` is empty, or the encoder returns another number of rows.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import encode
        >>> encode(lambda series: series.mean(2), torch.ones(3, 2, 8), batch_size=2).shape
        torch.Size([3, 2])
    """
    who = "encode"
    check_floating(who, "series", series)
    check_axes(who, "series", series, "cases channels length")
    check_at_least(who, "cases", len(series), 1)
    check_at_least(who, "batch_size", batch_size, 1)
    owner = getattr(encoder, "__self__", encoder)
    modes = {m: m.training for m in owner.modules()} if isinstance(owner, nn.Module) else {}
    devices = [series.device] if series.device.type == "cuda" else []
    rows = []
    try:
        for module in modes:
            module.training = False
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            for batch in torch.split(series, batch_size):
                rows.append(encoder(batch))
                if len(rows[-1]) != len(batch):
                    raise ValueError(
                        f"{who}: the encoder must return one row a case; "
                        f"got {len(rows[-1])} rows of {len(batch)} cases"
                    )
    finally:
        for module, mode in modes.items():
            module.training = mode
    return torch.cat(rows)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of largest logits at the label, a float64 scalar; NaN if a logit is NaN."""
    right = (logits.argmax(1) == labels).double().mean()
    return torch.where(logits.isnan().any(), torch.nan, right)


def module_digest(module: nn.Module) -> str:
    """Hash everything in the state of a module: names, types, shapes and bits.

    What is in the state and is no tensor, such as the extra state of a module, counts by its
    `repr`.

    Args:
        module: Any module, such as the encoder of an evaluation.

    Returns:
        64 hexadecimal digits (SHA-256); equal for equal states only.

    Example:
        >>> import torch
        >>> from ssltok.metrics import module_digest
        >>> layer = torch.nn.Linear(2, 2)
        >>> before = module_digest(layer)
        >>> _ = layer.weight.data.add_(1)
        >>> module_digest(layer) == before
        False
    """
    digest = hashlib.sha256()
    for name, entry in sorted(module.state_dict().items()):
        if not isinstance(entry, Tensor):
            digest.update(f"{name} {entry!r}\n".encode())
            continue
        digest.update(f"{name} {entry.dtype} {tuple(entry.shape)}\n".encode())
        flat = entry.detach().cpu().flatten().contiguous()
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
