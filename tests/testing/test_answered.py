"""A part that raises fails its check in the check's own words, with the error as the cause."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssltok.testing import (
    check_augmentation,
    check_coder,
    check_loss,
    check_mask,
    check_objective,
    check_prior,
    check_quantizer,
    check_transform,
)
from tests.testing.foreign import Bands, Cells, Likeness, PlainPrior, StripDecoder, StripEncoder
from tests.testing.test_broken import Mean, Sizes


class WithoutValid(StripEncoder):
    def forward(self, band: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(band)


class OfOtherDim(StripDecoder):
    def forward(self, vectors: Tensor, valid: Tensor | None = None) -> Tensor:
        return super().forward(vectors[:, :2], valid)


class Raising(nn.Module):
    def forward(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError("out of order")


class RaisingBands(Raising, Bands):
    pass


class RaisingCells(Raising, Cells):
    pass


class RaisingLikeness(Raising, Likeness):
    pass


class RaisingPrior(PlainPrior):
    def logits_of(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError("out of order")


def alone(one: Tensor) -> Tensor:
    return one.sum()


Z = [torch.ones(3, 4), torch.zeros(3, 4)]
CASES: dict[str, tuple[Any, type[Exception]]] = {
    "check_coder": (lambda: check_coder(lambda: pair(WithoutValid), (2, 33)), TypeError),
    "check_coder ": (
        lambda: check_coder(lambda: pair(StripEncoder, OfOtherDim), (2, 33)),
        RuntimeError,
    ),
    "check_loss": (lambda: check_loss(alone, Z), TypeError),
    "check_mask": (lambda: check_mask(alone), TypeError),
    "check_augmentation": (lambda: check_augmentation(alone), TypeError),
    "check_transform": (lambda: check_transform(RaisingBands(33)), RuntimeError),
    "check_quantizer": (lambda: check_quantizer(lambda: RaisingCells(4)), RuntimeError),
    "check_objective": (
        lambda: check_objective(RaisingLikeness, Mean(), channels=2, length=12),
        RuntimeError,
    ),
    "check_prior": (lambda: check_prior(lambda: RaisingPrior(Sizes(), 2)), RuntimeError),
}


def pair(encoder: Any, decoder: Any = StripDecoder) -> Any:
    return encoder(2, 6, 33), decoder(2, 6, 33)


@pytest.mark.parametrize("name", CASES)
def test_it_is_named(name: str) -> None:
    check, cause = CASES[name]
    rule = rf"^{name.strip()}: a part must run as its protocol calls it; got {cause.__name__}: "
    with pytest.raises(AssertionError, match=rule) as caught:
        check()
    assert isinstance(caught.value.__cause__, cause)
