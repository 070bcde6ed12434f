"""A teacher that is a slow average of its student."""

import copy
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from ssltok._shared.checks import check_ratio

__all__ = ["EMATeacher", "average_buffers", "copy_buffers", "keep_buffers"]

_kind = attrgetter("shape", "dtype", "device")
BufferRule = Callable[[list[Tensor], list[Tensor], float], None]


def copy_buffers(teacher: list[Tensor], student: list[Tensor], momentum: float) -> None:
    """Give the teacher the student's buffers, such as the statistics of BatchNorm.

    Example:
        >>> import torch
        >>> from ssltok.state import copy_buffers
        >>> teacher, student = [torch.zeros(2)], [torch.ones(2)]
        >>> copy_buffers(teacher, student, 0.75)
        >>> teacher
        [tensor([1., 1.])]
    """
    _copy(teacher, student)


def average_buffers(teacher: list[Tensor], student: list[Tensor], momentum: float) -> None:
    """Average floating-point buffers like parameters; copy the others, such as counters.

    Example:
        >>> import torch
        >>> from ssltok.state import average_buffers
        >>> teacher, student = [torch.zeros(2)], [torch.ones(2)]
        >>> average_buffers(teacher, student, 0.75)
        >>> teacher
        [tensor([0.2500, 0.2500])]
    """
    pairs = list(zip(teacher, student, strict=True))
    averaged = [(t, s) for t, s in pairs if t.is_floating_point()]
    _lerp([t for t, _ in averaged], [s for _, s in averaged], momentum)
    _copy(*([pair[i] for pair in pairs if not pair[0].is_floating_point()] for i in (0, 1)))


def keep_buffers(teacher: list[Tensor], student: list[Tensor], momentum: float) -> None:
    """Leave the teacher's buffers as they were when it was built.

    Example:
        >>> import torch
        >>> from ssltok.state import keep_buffers
        >>> teacher, student = [torch.zeros(2)], [torch.ones(2)]
        >>> keep_buffers(teacher, student, 0.75)
        >>> teacher
        [tensor([0., 0.])]
    """


class EMATeacher(nn.Module):
    r"""A copy of a model whose parameters follow the model's by an exponential moving average.

    $$\xi \leftarrow m\, \xi + (1 - m)\, \theta$$

    `forward` reads: it builds no graph and changes no buffer, not even those of a BatchNorm in
    training mode. `update` writes, in one visible line after the optimizer's step; all tensors
    move in one multi-tensor operation. `teacher.model` is the averaged model itself.

    The mode of the teacher is `training` of its constructor, for good: `.train()` and `.eval()`
    of the teacher, or of a module that holds it, do not change it. In training mode BatchNorm
    uses the statistics of the batch and dropout is on; in evaluation mode BatchNorm uses the
    buffers, which come from the student by `buffer_rule`.

    Students that are equal on all processes, as under DDP, give equal teachers. The student may
    be wrapped (DDP, `torch.compile`): its tensors are matched in order. An average in half
    precision stands still for momenta near 1; keep the teacher in float32 (`teacher.float()`).

    Args:
        student: The model to copy.
        buffer_rule: What happens to buffers in `update`: `copy_buffers` (the default),
            `average_buffers`, `keep_buffers` (MoCo's and DINO's code, where the teacher's
            BatchNorm is in training mode), or a function of your own with their arguments.
        training: The mode of the teacher.

    Raises:
        TypeError: If `student` is no module.
        ValueError: If `student` has lazy parameters that no forward has sized yet, or holds a
            tensor computed from others (old `weight_norm`, a cached activation), which a copy
            could not follow.

    Example:
        >>> import torch
        >>> from ssltok.state import EMATeacher
        >>> student = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.zeros_(student.weight)
        >>> teacher = EMATeacher(student)
        >>> _ = torch.nn.init.ones_(student.weight)
        >>> teacher.update(student, momentum=0.75)
        >>> teacher.model.weight
        Parameter containing:
        tensor([[0.2500]])

    References:
        Grill et al., *BYOL*, 2020, <https://arxiv.org/abs/2006.07733>, equation 1.
        He et al., *MoCo*, 2020, <https://arxiv.org/abs/1911.05722>, equation 2.
    """

    def __init__(
        self, student: nn.Module, *, buffer_rule: BufferRule = copy_buffers, training: bool = False
    ) -> None:
        if not isinstance(student, nn.Module):
            raise TypeError(f"EMATeacher: student must be a module; got {type(student).__name__}")
        _check_copyable(student)
        super().__init__()
        try:
            self.model = copy.deepcopy(student).requires_grad_(False)
        except RuntimeError as error:  # torch: of a tensor that is no leaf, in a list for example
            raise ValueError(f"EMATeacher: student must have a deep copy; got {error}") from error
        self.buffer_rule = buffer_rule
        super().train(training)

    @property
    def student(self) -> nn.Module:
        """The averaged model again: a teacher built from it is an equal one."""
        return self.model

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 -- torch's own
        """Change nothing: the mode was chosen when the teacher was built."""
        return self

    @torch.no_grad()
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Return what the averaged model makes of its arguments, without a graph."""
        if not self.training:
            return self.model(*inputs, **options)
        # In training mode layers write into their buffers; here they write into copies.
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        return functional_call(self.model, buffers, inputs, options)

    @torch.no_grad()
    def update(self, student: nn.Module, *, momentum: float = 0.996) -> None:
        """Move the teacher towards `student`.

        Args:
            student: The model that was copied, further trained.
            momentum: $m$, the share of the teacher that is kept, in [0, 1]; 0.996 at the start of
                BYOL and DINO. Schedules come in here, as a number for each step.

        Raises:
            ValueError: If `momentum` is not in [0, 1], or the student's tensors do not match.
            TypeError: If an option is not a number.
        """
        check_ratio("EMATeacher", "momentum", momentum)
        averages, news = _tensors(self.model), _tensors(student)
        for name, average, new in zip(("parameters", "buffers"), averages, news, strict=True):
            if list(map(_kind, average)) == list(map(_kind, new)):
                continue
            if [t.shape for t in average] != [s.shape for s in new]:
                raise ValueError(
                    f"EMATeacher: the student's {name} must match the teacher's, {len(average)} in "
                    f"number and in shape; got {len(new)}"
                )
            new[:] = [s.to(t) for t, s in zip(average, new, strict=True)]
        _lerp(averages[0], news[0], momentum)
        if averages[1]:
            self.buffer_rule(averages[1], news[1], momentum)


def _check_copyable(student: nn.Module) -> None:
    """Refuse, by its name, what a copy would not follow or cannot be made of."""
    for name, tensor in (*student.named_parameters(), *student.named_buffers()):
        if is_lazy(tensor):
            raise ValueError(
                "EMATeacher: student must have the shapes of all its tensors, after one forward; "
                f"got the lazy {name}"
            )
    for place, module in student.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                raise ValueError(
                    "EMATeacher: student must not hold computed tensors: detach what is cached, "
                    "and use torch.nn.utils.parametrizations in place of the old weight_norm; "
                    f"got {f'{place}.{name}' if place else name}"
                )


def _tensors(module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return all parameters and all buffers, each once.

    As `parameters()` and `buffers()` do, in a third of the time: the walk is half of an update.
    """
    parameters: dict[int, Tensor] = {}
    buffers: dict[int, Tensor] = {}
    seen: set[int] = set()
    stack: list[nn.Module | None] = [module]
    while stack:
        part = stack.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        for tensor in part._parameters.values():
            if tensor is not None:
                parameters[id(tensor)] = tensor
        if part._buffers:
            for buffer in part._buffers.values():
                if buffer is not None:
                    buffers[id(buffer)] = buffer
        if part._modules:
            stack.extend(part._modules.values())
    return list(parameters.values()), list(buffers.values())


def _lerp(teacher: list[Tensor], student: list[Tensor], momentum: float) -> None:
    if teacher:
        torch._foreach_lerp_(teacher, student, 1 - momentum)


def _copy(teacher: list[Tensor], student: list[Tensor]) -> None:
    if teacher:
        torch._foreach_copy_(teacher, student)
