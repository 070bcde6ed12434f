"""What an objective takes, what it returns, and what every objective can do."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import Protocol, runtime_checkable

__all__ = ["Objective", "ObjectiveBatch", "ObjectiveOutput"]


class ObjectiveBatch(NamedTuple):
    """What an objective learns from in one step: this process's rows.

    Attributes:
        views: The augmented views, `(batch, channels, length)` each; row $b$ of each is the same
            series. With `valid` all have its length.
        valid: Boolean `(batch, length)`, True before a series' end. What stands elsewhere is not
            read. None: everything is real.
        labels: Classes, int64 `(batch,)`, -1 for none.
        features: The encoder's features of the views, one tensor for each, if the caller has them
            already: `(batch, dim)` or `(batch, tokens, dim)`. Otherwise the objective computes
            them, all views of one length in ONE pass, so that BatchNorm sees one set of
            statistics. Objectives that hide parts of a series encode it themselves and do not
            read these.
        draws: What `Objective.draw` returned, this process's rows of it.
        seed: For what is drawn once for the whole batch, such as the directions of SIGReg: the
            same on every process, another in every step.
    """

    views: tuple[Tensor, ...]
    valid: Tensor | None = None
    labels: Tensor | None = None
    features: tuple[Tensor, ...] | None = None
    draws: tuple[Tensor, ...] = ()
    seed: int = 0


class ObjectiveOutput(NamedTuple):
    """The loss of a step, its terms, and what `update` needs after the optimizer's step.

    Attributes:
        loss: A scalar, that of the whole batch on every process.
        logged: The unweighted terms of the loss, scalars without a graph.
        memory: Tensors without a graph, rows first, of this process: keys for a queue, a
            teacher's scores for a centre. Gradient accumulation concatenates them over its rounds.
    """

    loss: Tensor
    logged: dict[str, Tensor]
    memory: tuple[Tensor, ...] = ()


@runtime_checkable
class Objective(Protocol):
    """What is learned from views: a module that all methods of self-supervision share.

    Nothing inherits from it: an objective is an `nn.Module` with these members. It is built as
    `BYOL(encoder, projector_dim=256)`: the encoder gives sizes (`encoder.dim`), and is what a
    teacher copies. **It does not own the encoder**, which must be no submodule of it: the caller
    trains `encoder` and `objective` side by side, and hands the encoder to each call.

    ```python
    draws = objective.draw(cases, generator)
    output = objective(encoder, ObjectiveBatch(views, valid, draws=draws))
    output.loss.backward()
    optimizer.step()
    objective.update(encoder, output.memory)
    ```

    **The encoder** is an `nn.Module` with an attribute `dim` and a call
    `encoder(series, valid=valid)`, or `encoder(series)` where everything is real, that returns
    features `(batch, dim)`, or `(batch, tokens, dim)` without tokens in front. Then
    `encoder.token_valid(valid)` turns `(batch, length)` into `(batch, tokens)`: it is asked only
    where `valid` is given. Two-view objectives take each real token for a row of the loss, unless
    they have a `pool`.

    Objectives that hide parts of a series need more of it: `encoder.frames`, its places along
    time, and `encoder.rows`, its tokens for each place (1 for a vision transformer), so that
    `tokens = rows * frames` in the order `(row, frame)`; and a call with `masked=`, boolean
    `(batch, frames)`, True where a learned token stands for a place, or with `visible=`, int64
    `(batch, slots)`, the places to encode, -1 for none, which returns
    `(batch, rows * slots, dim)`. `ViT1d` takes both.

    **Over several processes** `forward` returns the loss of the whole batch, and averaged
    gradients (DDP) are those of one process with all rows, as far as the encoder's norms are:
    BatchNorm and IterNorm of encoder and projector see local rows unless they are synchronised.
    `update` must be called by all processes together.

    Attributes:
        views: How many augmented views it wants; 1 for most that hide parts of a series.
        by_token: Whether it needs a feature for each token: those that hide parts of a series, or
            compare moments. The others take pooled features too.
    """

    by_token: bool

    @property
    def views(self) -> int: ...

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the random part of a step for the whole batch, such as masks.

        Args:
            cases: Series of the whole batch, of all processes.
            generator: The source of randomness.

        Returns:
            Tensors whose first axis counts the series, on the generator's device; each process
            takes its rows of them. Empty for most objectives.
        """
        ...

    def __call__(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Call `forward`."""
        ...

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of a batch; change no state but the running statistics of norms.

        Args:
            encoder: The encoder that is trained, with the members above.
            batch: As many views as `views` says, and what else the objective names.

        Returns:
            `ObjectiveOutput`.

        Raises:
            ValueError: If views, labels or draws are missing or do not fit.
            TypeError: If the encoder lacks a member.
        """
        ...

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Move what lives between steps, once after each step of the optimizer.

        Args:
            encoder: The encoder as the step left it; teachers follow it.
            memory: `ObjectiveOutput.memory` of all rounds of this step, concatenated.
        """
        ...
