"""Masked tokens: pay for what was hidden, weigh as the reduction says, bound the likelihood."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from ssltok.losses import MaskedTokenLoss, masked_token_loss


def case(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Full logits, codes with padding, and a mask that differs from row to row."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 6, 5, generator=generator, dtype=torch.float64) * 2
    codes = torch.randint(5, (4, 6), generator=generator)
    codes[1, 4:] = -1
    mask = torch.rand(4, 6, generator=generator) < 0.5
    mask[:, 0] = True
    mask[1, 4:] = False
    mask[3] = False
    return logits, codes, mask


def naive(logits: Tensor, codes: Tensor, mask: Tensor, smoothing: float, reduction: str) -> float:
    size = logits.shape[-1]
    sums, counts, lengths = [], [], []
    for b in range(len(codes)):
        total, count = 0.0, 0
        for i in range(codes.shape[1]):
            if not mask[b, i]:
                continue
            row = [float(x) for x in logits[b, i]]
            log_total = math.log(sum(math.exp(x) for x in row))
            for k in range(size):
                target = smoothing / size + (1 - smoothing) * (k == int(codes[b, i]))
                total -= target * (row[k] - log_total)
            count += 1
        sums.append(total)
        counts.append(count)
        lengths.append(sum(1 for c in codes[b].tolist() if c >= 0))
    if reduction == "token":
        return sum(sums) / sum(counts)
    each = [
        (s / c) * (n if reduction == "elbo" else 1)
        for s, c, n in zip(sums, counts, lengths, strict=True)
        if c
    ]
    return sum(each) / len(each)


# oracle


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["token", "sequence", "elbo"])
@pytest.mark.parametrize("rows", [False, True])
def test_value_is_the_definition(rows: bool, reduction: str, smoothing: float) -> None:
    logits, codes, mask = case()
    found = masked_token_loss(
        logits[mask] if rows else logits,
        codes,
        mask,
        label_smoothing=smoothing,
        reduction=reduction,  # type: ignore[arg-type]
    )
    assert float(found) == pytest.approx(naive(logits, codes, mask, smoothing, reduction))


def test_elbo_reduction_is_the_enumerated_bound() -> None:
    """All orders of 4 tokens of 3 codes, from a joint distribution with known conditionals."""
    generator = torch.Generator().manual_seed(1)
    joint = torch.rand((3,) * 4, generator=generator, dtype=torch.float64)
    joint /= joint.sum()
    codes = torch.tensor([[2, 0, 1, 1]])

    def log_conditional(place: int, seen: tuple[int, ...]) -> float:
        index = tuple(int(codes[0, i]) if i in seen else slice(None) for i in range(4))
        whole = joint[index].sum()
        index = tuple(int(codes[0, i]) if i in (*seen, place) else slice(None) for i in range(4))
        return float((joint[index].sum() / whole).log())

    orders = list(itertools.permutations(range(4)))
    along_orders = [
        -sum(log_conditional(order[t], order[:t]) for t in range(4)) for order in orders
    ]
    exact = -float(joint[tuple(codes[0].tolist())].log())
    assert along_orders == pytest.approx([exact] * len(orders))  # true conditionals: no gap

    # a wrong model: conditionals flattened by a half, so that the bound depends on the order
    def logits_of(mask: tuple[int, ...]) -> Tensor:
        seen = [i for i in range(4) if i not in mask]
        rows = []
        for place in mask:
            index = tuple(int(codes[0, i]) if i in seen else slice(None) for i in range(4))
            table = joint[index]
            axis = [i for i in range(4) if i in mask].index(place)
            dims = [d for d in range(table.ndim) if d != axis]
            rows.append((table.sum(dim=dims) if dims else table).log() * 0.5)
        return torch.stack(rows)

    def value(places: tuple[int, ...]) -> float:
        mask = torch.zeros(1, 4, dtype=torch.bool)
        mask[0, list(places)] = True
        return float(masked_token_loss(logits_of(places), codes, mask, reduction="elbo"))

    # expectation over n ~ U{1..4} and a uniform set of n
    expected = sum(
        value(places) / math.comb(4, n) / 4
        for n in range(1, 5)
        for places in itertools.combinations(range(4), n)
    )

    def surprise(place: int, seen: tuple[int, ...]) -> float:
        hidden = tuple(i for i in range(4) if i not in seen)
        row = logits_of(hidden)[hidden.index(place)]
        return -float(row.log_softmax(dim=-1)[int(codes[0, place])])

    enumerated = sum(
        sum(surprise(order[t], order[:t]) for t in range(4)) for order in orders
    ) / len(orders)
    assert expected == pytest.approx(enumerated, rel=1e-12)
    assert expected > exact + 0.01


# known values


def test_a_uniform_guess_costs_the_logarithm_of_the_codebook() -> None:
    _, codes, mask = case()
    for smoothing in (0.0, 0.3):
        found = masked_token_loss(torch.zeros(4, 6, 5), codes, mask, label_smoothing=smoothing)
        assert float(found) == pytest.approx(math.log(5))


def test_an_empty_mask_costs_nothing() -> None:
    logits, codes, mask = case()
    logits = logits.requires_grad_()
    for reduction in ("token", "sequence", "elbo"):
        loss = masked_token_loss(
            logits,
            codes,
            torch.zeros_like(mask),
            reduction=reduction,
        )
        loss.backward()
        assert loss == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


# laws


def test_visible_tokens_and_padding_get_no_gradient() -> None:
    logits, codes, mask = case()
    logits = logits.requires_grad_()
    padded = mask.clone()
    padded[1, 5] = True  # a careless mask over padding changes nothing
    loss = masked_token_loss(logits, codes, padded)
    assert loss == masked_token_loss(logits, codes, mask)
    rows = masked_token_loss(logits[padded], codes, padded, reduction="sequence")
    torch.testing.assert_close(rows, masked_token_loss(logits, codes, mask, reduction="sequence"))
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[~mask] == 0).all()
    assert (logits.grad[mask].abs().sum(dim=-1) > 0).all()


@pytest.mark.parametrize("reduction", ["token", "sequence", "elbo"])
def test_gradient(reduction: str) -> None:
    logits, codes, mask = case()
    loss = MaskedTokenLoss(label_smoothing=0.2, reduction=reduction)  # type: ignore[arg-type]
    torch.autograd.gradcheck(lambda rows: loss(rows, codes, mask), (logits[mask].requires_grad_(),))


def test_full_logits_compile_whole_and_low_precision_is_raised() -> None:
    logits, codes, mask = case()
    torch._dynamo.reset()
    compiled = torch.compile(masked_token_loss, fullgraph=True, backend="eager")
    assert compiled(logits, codes, mask) == masked_token_loss(logits, codes, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = masked_token_loss(logits.bfloat16(), codes, mask)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, masked_token_loss(logits.bfloat16().float(), codes, mask))


# complaints


def test_complaints() -> None:
    logits, codes, mask = case()
    with pytest.raises(ValueError, match=r"^masked_token_loss: logits must have a row for each"):
        masked_token_loss(logits[mask][:-1], codes, mask)
    with pytest.raises(ValueError, match=r"got \(4, 5, 5\) and \(4, 6\)$"):
        masked_token_loss(logits[:, 1:], codes, mask)
    with pytest.raises(ValueError, match=r"logits must be \(masked, codebook_size\); got shape"):
        masked_token_loss(logits[0, 0], codes, mask)
    with pytest.raises(ValueError, match=r"codes must be int64; got torch.float64$"):
        masked_token_loss(logits, codes.double(), mask)
    with pytest.raises(ValueError, match=r"mask must be boolean; got torch.int64$"):
        masked_token_loss(logits, codes, mask.long())
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\]; got -0.1$"):
        masked_token_loss(logits, codes, mask, label_smoothing=-0.1)
    said = r"^masked_token_loss: reduction must be one of token, sequence, elbo; got 'mean'$"
    with pytest.raises(ValueError, match=said):
        masked_token_loss(logits, codes, mask, reduction="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=said):
        MaskedTokenLoss(reduction="mean")  # type: ignore[arg-type]
