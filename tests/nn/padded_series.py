"""What encoders of padded series are tested with: a batch, and laws that all of them keep."""

import torch
from torch import Tensor, nn

__all__ = ["assert_exports_for_any_length", "assert_missing_samples_are_not_read", "padded_batch"]


def padded_batch(*lengths: int) -> tuple[Tensor, Tensor]:
    """Series of two channels and these lengths, NaN behind them, and which samples are real."""
    longest = max(lengths)
    valid = torch.arange(longest).expand(len(lengths), -1) < torch.tensor(lengths)[:, None]
    x = torch.randn(len(lengths), 2, longest, dtype=torch.float64)
    return x.masked_fill(~valid.unsqueeze(1), torch.nan), valid


def assert_missing_samples_are_not_read(encoder: nn.Module) -> None:
    x = torch.randn(2, 2, 30, dtype=torch.float64)
    valid = torch.rand(2, 30) < 0.6
    other = torch.where(valid.unsqueeze(1), x, torch.nan)
    torch.testing.assert_close(encoder(other, valid), encoder(x, valid))
    assert not torch.allclose(encoder(x, valid), encoder(x))


def assert_exports_for_any_length(encoder: nn.Module) -> None:
    x, valid = padded_batch(50, 14)
    length = torch.export.Dim("length", min=8, max=4096)
    dynamic = {"series": {2: length}, "valid": {1: length}}
    exported = torch.export.export(encoder, (x, valid), dynamic_shapes=dynamic).module()
    for cut in (8, 33, 50):
        sample = (x[..., :cut], valid[:, :cut])
        torch.testing.assert_close(exported(*sample), encoder(*sample))
