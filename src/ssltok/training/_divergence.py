"""Divergence: training that has left the numbers stops, and says where and what to lower."""

import math
import pathlib
from collections.abc import Iterable

import torch
from torch import Tensor

from ssltok.training._checkpoints import Memory
from ssltok.training._config import TrainingConfig

__all__ = ["Watch"]

SKIPPED = 20  # steps in a row that a loss scaler may leave out while it looks for its scale


class Watch:
    """Looks at the losses of a stage, and at its weights before they are kept."""

    def __init__(self, memory: Memory, config: TrainingConfig, steps: int, *, scaled: bool) -> None:
        self.memory, self.config, self.steps, self.scaled = memory, config, steps, scaled
        self.misses = 0

    def check_loss(self, loss: float) -> None:
        """Refuse a loss that is not finite; with a loss scaler, many in a row.

        Raises:
            FloatingPointError: With the step, the terms, and what to lower.
        """
        self.misses = 0 if math.isfinite(loss) else self.misses + 1
        if self.misses > (SKIPPED if self.scaled else 0):
            row = zip(self.memory.names, self.memory.rows[-1].tolist(), strict=True)
            terms = ", ".join(name for name, value in row if not math.isfinite(value))
            raise self._error(f"the loss of the {self.memory.name} stage", f"{loss}", terms)

    def check_weights(self, weights: Iterable[Tensor]) -> None:
        """Refuse weights that are not finite: they are no checkpoint and no result.

        Raises:
            FloatingPointError: With the step, and what to lower.
        """
        finite = [weight.detach().isfinite().all() for weight in weights]
        if finite and not bool(torch.stack(finite).all()):
            count = sum(not bool(one) for one in finite)
            fact = f"{count} of {len(finite)} that are not"
            raise self._error(f"the weights of the {self.memory.name} stage", fact, "")

    def _error(self, what: str, fact: str, terms: str) -> FloatingPointError:
        config = self.config
        advice = [f"lower learning_rate ({config.learning_rate:g})"]
        if not config.clip:
            advice.append("set clip, such as to 1 (it is 0, none)")
        elif config.clip > 1:
            advice.append(f"lower clip ({config.clip:g})")
        if self.scaled:
            advice.append("train with precision bf16")
        latest: pathlib.Path | None = self.memory.whole[-1] if self.memory.whole else None
        saved = f"; the last good checkpoint is {latest}" if latest else ""
        return FloatingPointError(
            f"train_stage: {what} must stay finite; got {fact} at step {self.memory.step} of "
            f"{self.steps}{f' (terms: {terms})' if terms else ''}; {' or '.join(advice)}{saved}"
        )
