"""A cosine from one value to another, after a linear warm-up, for any scalar."""

import math

from ssltok._shared.checks import check_at_least, check_number

__all__ = ["warmup_cosine_schedule"]


def warmup_cosine_schedule(
    step: int,
    *,
    steps: int,
    start: float,
    end: float = 0.0,
    warmup_steps: int = 0,
    warmup_start: float = 0.0,
) -> float:
    r"""Return the value of a scalar at one step: a linear warm-up, then half a cosine.

    $$v_k = v_{end} + \tfrac{1}{2} (v_{start} - v_{end})
      \Bigl(1 + \cos \pi \tfrac{k - W}{K - W}\Bigr) \quad (W \le k \le K), \qquad
      v_k = v_w + (v_{start} - v_w) \tfrac{k}{W} \quad (k < W)$$

    One function serves every scalar of a recipe: a learning rate that falls (`start=0.2`), the
    momentum of a teacher that rises to 1 (`start=0.996, end=1.0`, BYOL and DINO), a weight decay
    that rises (`start=0.04, end=0.4`, DINO), a teacher's temperature that warms up and stays
    (`start=end=0.07, warmup_start=0.04`, DINO). It depends on nothing but its arguments, so a run
    that resumes at step $k$ goes on exactly. After the last step the value stays at `end`.

    The value `start` is reached at step $W$; DINO's code reaches it at $W - 1$ and repeats it.
    The value `end` is reached at step $K$, the step after the last one of a loop over
    `range(steps)`, as in BYOL; some libraries divide by $K - 1$ instead.

    Args:
        step: $k$, counted from 0.
        steps: $K$, how many steps there are, the warm-up among them.
        start: $v_{start}$, the value at the end of the warm-up.
        end: $v_{end}$, the value at step $K$ and after it.
        warmup_steps: $W$, from 0 to `steps`; 0 for no warm-up.
        warmup_start: $v_w$, the value at step 0 if there is a warm-up.

    Returns:
        The value, a Python float.

    Raises:
        ValueError: If `step < 0`, `steps < 1`, or `warmup_steps` is not in 0 to `steps`.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.optim import warmup_cosine_schedule
        >>> [warmup_cosine_schedule(k, steps=4, start=2.0, warmup_steps=2) for k in range(5)]
        [0.0, 1.0, 2.0, 1.0, 0.0]
        >>> warmup_cosine_schedule(100, steps=100, start=0.996, end=1.0)
        1.0

    References:
        Loshchilov and Hutter, *SGDR*, 2017, <https://arxiv.org/abs/1608.03983>, equation 5.
        Grill et al., *BYOL*, 2020, <https://arxiv.org/abs/2006.07733>, section 3.3 (momentum).
    """
    who = "warmup_cosine_schedule"
    check_at_least(who, "step", step, 0)
    check_at_least(who, "steps", steps, 1)
    check_at_least(who, "warmup_steps", warmup_steps, 0)
    for name, value in (("start", start), ("end", end), ("warmup_start", warmup_start)):
        check_number(who, name, value)
    if warmup_steps > steps:
        raise ValueError(f"{who}: warmup_steps must be <= steps = {steps}; got {warmup_steps}")
    if step < warmup_steps:
        return warmup_start + (start - warmup_start) * (step / warmup_steps)
    if step >= steps:
        return float(end)
    progress = (step - warmup_steps) / (steps - warmup_steps)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
