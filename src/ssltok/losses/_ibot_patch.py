"""iBOT: a student that does not see a token should say what the teacher, which does, says of it."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
    check_same_shape,
)
from ssltok._shared.numerics import upcast
from ssltok.losses._soft_cross_entropy_fast import soft_cross_entropy
from ssltok.losses._temperature import check_temperature

__all__ = ["IBOTPatchLoss", "ibot_patch_loss"]


def ibot_patch_loss(
    student: Tensor, teacher: Tensor, mask: Tensor, *, temperature: float | Tensor = 0.1
) -> Tensor:
    r"""Average the cross-entropy over the masked tokens of each series, then over the batch.

    $$-\frac{1}{B} \sum_b \frac{1}{\max(1, \lvert M_b \rvert)} \sum_{i \in M_b} \sum_k
      q_{bik} \log \mathrm{softmax}(x_{bi} / \tau_s)_k$$

    A series without a masked token counts with 0, as published: a series has the same weight
    however many of its tokens are masked. The teacher's probabilities are an argument, made by
    `center_and_sharpen` with a centre of their own or by `sinkhorn`; they are detached. Tokens of
    the same view are compared; add the views' losses and the `dino_loss` of the class tokens.

    Args:
        student: Logits, `(masked, codebook_size)`: a row for each True of `mask` in row-major
            order, which costs only what is masked; or `(batch, tokens, codebook_size)`.
        teacher: Probabilities, of the same shape.
        mask: Which tokens the student did not see, `(batch, tokens)`, boolean.
        temperature: $\tau_s$, the temperature of the student; a number, or a tensor of shape `()`,
            which may be learned.

    Returns:
        The loss, a scalar; 0 if nothing is masked.

    Raises:
        ValueError: If shapes or dtypes do not fit, the temperature is not positive, or there are
            not as many rows as masked tokens. On an accelerator, which is not waited for, such
            rows cost NaN.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import ibot_patch_loss
        >>> mask = torch.tensor([[True, True], [False, False]])
        >>> teacher = torch.tensor([1.0, 0.0]).expand(2, 2, 2)
        >>> ibot_patch_loss(torch.zeros(2, 2, 2), teacher, mask)  # half of ln 2
        tensor(0.3466)

    References:
        Zhou et al., *iBOT*, 2022, <https://arxiv.org/abs/2111.07832>, equation 2.
        Oquab et al., *DINOv2*, 2023, <https://arxiv.org/abs/2304.07193>, section 4.
    """
    who = "ibot_patch_loss"
    check_axes(who, "mask", mask, "batch tokens")
    check_bool_mask(who, "mask", mask, mask.shape)
    check_at_least(who, "mask.numel()", mask.numel(), 1)
    check_floating(who, "student", student)
    check_floating(who, "teacher", teacher)
    check_same_shape(who, "student and teacher", student, teacher)
    if not (student.ndim == 2 or (student.ndim == 3 and student.shape[:2] == mask.shape)):
        raise ValueError(
            f"{who}: student must be (masked, codebook_size) or (batch, tokens, codebook_size) "
            f"with mask (batch, tokens) = {tuple(mask.shape)}; got shape {tuple(student.shape)}"
        )
    check_temperature(who, "temperature", temperature)
    counts = mask.sum(-1)
    weights = counts.clamp(min=1).to(upcast(student[..., :0]).dtype).reciprocal() / mask.shape[0]
    if student.ndim == 3:  # what is not masked must not leak, not even as NaN times 0
        student, teacher = (torch.where(mask.unsqueeze(-1), x, 0) for x in (student, teacher))
        rows = soft_cross_entropy(student, teacher, temperature=temperature)
        return (rows.sum(-1) * weights).sum()  # a target of no mass costs nothing
    ends = counts.cumsum(0)
    places = torch.arange(student.shape[0], device=mask.device)
    if mask.device.type == "cpu" and not torch.compiler.is_compiling():
        if ends[-1] != len(places):
            raise ValueError(
                f"{who}: student must have a row for each masked token; "
                f"got {len(places)} rows for {int(ends[-1])} masked tokens"
            )
    else:  # a device is not waited for: it says so by NaN
        weights = torch.where(ends[-1] == len(places), weights, torch.nan)
    series = torch.searchsorted(ends, places, right=True).clamp(max=len(counts) - 1)
    rows = soft_cross_entropy(student, teacher, temperature=temperature)
    return (rows * weights[series]).sum()


class IBOTPatchLoss(nn.Module):
    """`ibot_patch_loss` with its option bound once; see there for its meaning."""

    def __init__(self, *, temperature: float | Tensor = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """Return the loss of student logits and teacher probabilities at masked tokens."""
        return ibot_patch_loss(student, teacher, mask, temperature=self.temperature)
