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


ANY_LENGTH = torch.export.Dim("length", min=8, max=4096)


def assert_exports_for_any_length(
    encoder: nn.Module, *, padded: bool = True, length: object = ANY_LENGTH
) -> None:
    """One graph serves all lengths from 8 to 4096, with `valid` or without."""
    dtype = next(encoder.parameters()).dtype

    def sample(size: int) -> tuple[tuple[Tensor], dict[str, Tensor]]:
        x, valid = padded_batch(size, 7)
        return (x.nan_to_num().to(dtype),), {"valid": valid} if padded else {}

    args, options = sample(50)
    dynamic = {"series": {2: length}, **({"valid": {1: length}} if padded else {})}
    exported = torch.export.export(encoder, args, options, dynamic_shapes=dynamic).module()
    for cut in (8, 9, 33, 4096):
        args, options = sample(cut)
        torch.testing.assert_close(exported(*args, **options), encoder(*args, **options))
