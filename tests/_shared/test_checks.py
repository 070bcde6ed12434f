"""Checks: each names who, the rule and the fact, and each lets the good value pass."""

from collections.abc import Callable

import pytest
import torch

from ssltok._shared import checks


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (
            lambda: checks.check_axes("f", "x", torch.zeros(2, 3), "batch channels length"),
            r"^f: x must be \(batch, channels, length\); got shape \(2, 3\)$",
        ),
        (
            lambda: checks.check_axes("f", "x", torch.zeros(2, 3), "batch"),
            r"^f: x must be \(batch,\); got shape \(2, 3\)$",
        ),
        (
            lambda: checks.check_floating("f", "x", torch.zeros(2, dtype=torch.int64)),
            r"^f: x must be floating point; got torch.int64$",
        ),
        (lambda: checks.check_codes("f", "x", torch.zeros(2)), r"x must be int64; got"),
        (
            lambda: checks.check_bool_mask("f", "m", torch.zeros(2), (2,)),
            r"^f: m must be boolean; got torch.float32$",
        ),
        (
            lambda: checks.check_bool_mask("f", "m", torch.zeros(2, dtype=torch.bool), (3,)),
            r"^f: m must have shape \(3,\); got \(2,\)$",
        ),
        (
            lambda: checks.check_same_shape("f", "a and b", torch.zeros(2, 1), torch.zeros(3)),
            r"^f: a and b must share one shape; got \(2, 1\) and \(3,\)$",
        ),
        (
            lambda: checks.check_size("f", "x", torch.zeros(2, 5), -1, 4),
            r"^f: x must have size 4 in dimension -1; got 5 in shape \(2, 5\)$",
        ),
        (
            lambda: checks.check_view_pair("f", torch.zeros(1, 3), torch.zeros(1, 3)),
            r"^f: batch must be >= 2; got 1$",
        ),
        (lambda: checks.check_at_least("f", "x", float("nan"), 1), r"^f: x must be >= 1; got nan$"),
        (lambda: checks.check_positive("f", "x", 0.0), r"^f: x must be > 0; got 0.0$"),
        (lambda: checks.check_ratio("f", "x", 1.5), r"^f: x must lie in \[0, 1\]; got 1.5$"),
    ],
)
def test_refuses(check: Callable[[], None], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check()


@pytest.mark.parametrize(
    "check",
    [
        checks.check_floating,
        checks.check_codes,
        lambda w, n, t: checks.check_axes(w, n, t, "batch"),
    ],
)
def test_refuses_what_is_no_tensor(check: Callable[[str, str, object], None]) -> None:
    with pytest.raises(TypeError, match=r"^f: x must be a tensor; got list$"):
        check("f", "x", [1.0])


def test_lets_good_values_pass() -> None:
    z = torch.zeros(2, 3)
    checks.check_axes("f", "x", z, "batch dim")
    checks.check_view_pair("f", z, z)
    checks.check_size("f", "x", z, 1, 3)
    checks.check_bool_mask("f", "m", z > 1, (2, 3))
    checks.check_at_least("f", "x", 1, 1)
    checks.check_positive("f", "x", 1e-9)
    for value in (0, 1, 0.5):
        checks.check_ratio("f", "x", value)
