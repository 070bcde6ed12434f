"""LARS: against the published update, tensor by tensor in plain Python."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssltok.optim import LARS, is_bias_or_norm

SHAPES = [(3, 4), (4,), (2, 3, 5), (1,), (5, 2)]


def problem(seed: int, dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)

    def draw(scale: float) -> list[Tensor]:
        return [scale * torch.randn(s, generator=generator, dtype=dtype) for s in SHAPES]

    return draw(2.0), [g for _ in range(4) for g in draw(0.3)]


# oracle


def published(
    weights: list[Tensor],
    grads: list[Tensor],
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    trust_coefficient: float,
    form: str,
) -> list[Tensor]:
    """Barlow Twins' and VICReg's class, algorithm 1 of the paper, or apex's LARC; one by one."""
    weights = [w.clone() for w in weights]
    moments = [torch.zeros_like(w) for w in weights]
    for step in range(len(grads) // len(weights)):
        for i, w in enumerate(weights):
            g = grads[step * len(weights) + i].clone()
            if w.ndim > 1:
                wn = float(w.norm())
                if form == "code":
                    g = g + weight_decay * w
                    gn = float(g.norm())
                    rate = trust_coefficient * wn / gn if wn > 0 and gn > 0 else 1.0
                else:
                    gn = float(g.norm())
                    rate = 1.0
                    if wn > 0 and gn + weight_decay * wn > 0:
                        rate = trust_coefficient * wn / (gn + weight_decay * wn)
                        if form == "larc":
                            rate = min(rate / lr, 1.0)
                    g = g + weight_decay * w
                g = g * rate
            moments[i] = momentum * moments[i] + g
            w -= lr * moments[i]
    return weights


def ours(weights: list[Tensor], grads: list[Tensor], **options: Any) -> list[Tensor]:
    params = [nn.Parameter(w.clone()) for w in weights]
    optimizer = LARS(params, **options)
    for step in range(len(grads) // len(weights)):
        for i, p in enumerate(params):
            p.grad = grads[step * len(weights) + i].clone()
        optimizer.step()
    return [p.detach() for p in params]


FORMS = {
    "code": {"joint_norm": True, "clip": False},
    "paper": {"joint_norm": False, "clip": False},
    "larc": {"joint_norm": False, "clip": True},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_is_the_published_update(form: str, dtype: torch.dtype, bound: float) -> None:
    for seed in range(20):
        weights, grads = problem(seed, dtype)
        shared: dict[str, Any] = {
            "lr": 0.3, "momentum": 0.8, "weight_decay": 0.05, "trust_coefficient": 0.1,
        }  # fmt: skip
        for got, want in zip(
            ours(weights, grads, **shared, **FORMS[form]),
            published(weights, grads, **shared, form=form),
            strict=True,
        ):
            torch.testing.assert_close(got, want, rtol=bound, atol=bound)


# known values


def test_the_two_norms_differ_as_published() -> None:
    w, g = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    plain = {"lr": 1.0, "momentum": 0.0, "weight_decay": 1.0, "trust_coefficient": 0.1}
    joint = w - ours([w], [g], joint_norm=True, **plain)[0]
    split = w - ours([w], [g], joint_norm=False, **plain)[0]
    # the update is (3, 4): of length 5 jointly; the parts have lengths 4 and 3
    torch.testing.assert_close(joint, 0.1 * 3 / 5 * torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(split, 0.1 * 3 / 7 * torch.tensor([[3.0, 4.0]]))


def test_clip_is_a_ceiling() -> None:
    w, g = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.5]])
    plain = {"momentum": 0.0, "trust_coefficient": 0.1, "joint_norm": False, "clip": True}
    # the adaptive rate is 0.1 * 5 / 0.5 = 1
    torch.testing.assert_close(ours([w], [g], lr=0.25, **plain)[0], w - 0.25 * g)
    torch.testing.assert_close(ours([w], [g], lr=50.0, **plain)[0], w - g)


# laws


def test_bias_and_norm_parameters_get_plain_momentum() -> None:
    weights, grads = problem(3)
    got = ours(weights, grads, lr=0.1, momentum=0.7, weight_decay=0.5)[1]
    sgd_param = nn.Parameter(weights[1].clone())
    sgd = torch.optim.SGD([sgd_param], lr=0.1, momentum=0.7)
    for step in range(4):
        sgd_param.grad = grads[step * len(SHAPES) + 1].clone()
        sgd.step()
    torch.testing.assert_close(got, sgd_param.detach())
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    assert [is_bias_or_norm(p) for p in model.parameters()] == [False, True, True, True]


def test_exclude_is_asked() -> None:
    weights, grads = problem(4)
    nothing: Callable[[Tensor], bool] = lambda p: False  # noqa: E731
    everything: Callable[[Tensor], bool] = lambda p: True  # noqa: E731
    plain = {"lr": 0.1, "weight_decay": 0.1, "trust_coefficient": 0.5}
    a = ours(weights, grads, exclude=nothing, **plain)
    b = ours(weights, grads, exclude=everything, **plain)
    default = ours(weights, grads, **plain)
    assert torch.equal(a[0], default[0])
    assert not torch.equal(a[1], default[1])
    assert torch.equal(b[1], default[1])
    assert not torch.equal(b[0], default[0])


def test_a_zero_tensor_and_a_zero_gradient_take_the_rate_one() -> None:
    w = [torch.zeros(2, 2), torch.ones(2, 2)]
    g = [torch.ones(2, 2), torch.zeros(2, 2)]
    for form in ("code", "paper"):
        moved = ours(w, g, lr=0.5, **FORMS[form])
        torch.testing.assert_close(moved[0], torch.full((2, 2), -0.5))
        torch.testing.assert_close(moved[1], w[1])


def test_changes_no_gradient_and_skips_missing_ones() -> None:
    params = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(3, 3))]
    params[0].grad = torch.full((2, 2), 0.5)
    LARS(params, lr=0.1, weight_decay=0.3).step()
    assert torch.equal(params[0].grad, torch.full((2, 2), 0.5))
    assert torch.equal(params[1].detach(), torch.ones(3, 3))


def test_resumes_from_its_state() -> None:
    weights, grads = problem(5)
    whole = ours(weights, grads, lr=0.1, weight_decay=0.01)
    params = [nn.Parameter(w.clone()) for w in weights]
    optimizer = LARS(params, lr=0.1, weight_decay=0.01)
    for step in range(4):
        if step == 2:
            saved = optimizer.state_dict()
            optimizer = LARS(params, lr=9.0)
            optimizer.load_state_dict(saved)
        for i, p in enumerate(params):
            p.grad = grads[step * len(SHAPES) + i].clone()
        optimizer.step()
    for p, w in zip(params, whole, strict=True):
        assert torch.equal(p.detach(), w)


def test_groups_and_schedulers_and_closures() -> None:
    a, b = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    groups: list[dict[str, Any]] = [{"params": [a], "lr": 0.5}, {"params": [b]}]
    optimizer = LARS(groups, lr=0.1, momentum=0.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)

    def closure() -> float:
        optimizer.zero_grad()
        loss = a.sum() + b.sum()
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) == 6.0
    torch.testing.assert_close(a.detach(), torch.full((2, 2), 1 - 0.5 * 1e-3))
    torch.testing.assert_close(b.detach(), torch.full((2,), 0.9))
    scheduler.step()
    optimizer.step(closure)
    torch.testing.assert_close(b.detach(), torch.full((2,), 0.85))


def test_mixed_precisions_meet_in_one_group() -> None:
    a: Tensor = nn.Parameter(torch.ones(2, 2))
    b: Tensor = nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))
    a.grad, b.grad = torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bfloat16)
    params: list[Tensor] = [a, b]
    LARS(params, lr=0.5, trust_coefficient=0.5).step()
    torch.testing.assert_close(a.detach(), torch.full((2, 2), 0.75))
    assert b.dtype == torch.bfloat16
    torch.testing.assert_close(b.detach().float(), a.detach())


# complaints


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": -1.0}, r"^LARS: lr must be >= 0; got -1.0$"),
        ({"lr": 1.0, "momentum": 1.5}, r"momentum must lie in \[0, 1\]; got 1.5$"),
        ({"lr": 1.0, "weight_decay": -0.1}, r"weight_decay must be >= 0; got -0.1$"),
        ({"lr": 1.0, "trust_coefficient": 0.0}, r"trust_coefficient must be > 0; got 0.0$"),
    ],
)
def test_refuses(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LARS([nn.Parameter(torch.ones(1))], **options)  # type: ignore[arg-type]
