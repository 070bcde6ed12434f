"""A quantizer that is not of this package keeps the protocol and trains inside every wrapper."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import get_protocol_members

from ssltok.quantizers import (
    FSQ,
    GroupedQuantizer,
    ProjectedQuantizer,
    Quantized,
    Quantizer,
    ResidualQuantizer,
    VectorQuantizer,
)
from ssltok.testing import check_quantizer


class SoftQuantizer(nn.Module):
    """The nearest code; the gradient is that of the softmax mixture of all codes, and a gain's."""

    code_shape: tuple[int, ...] = ()
    codes_per_token = 1
    learns_by_vectors = True
    idle = True

    def __init__(self, dim: int, codebook_size: int, channel_dim: int = -1, seed: int = 0) -> None:
        nn.Module.__init__(self)  # not super(): a test copies this class without a member
        self.dim, self.codebook_size, self.channel_dim = dim, codebook_size, channel_dim
        self.codebook_sizes = (codebook_size,)
        generator = torch.Generator().manual_seed(seed)
        self.codebook = nn.Parameter(torch.randn(codebook_size, dim, generator=generator))

    def distances(self, latents: Tensor) -> Tensor:
        rows = latents.movedim(self.channel_dim, -1)
        return (rows.unsqueeze(-2) - self.codebook).square().sum(dim=-1)

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        if valid is not None:
            padding = ~valid.unsqueeze(self.channel_dim if self.channel_dim >= 0 else -1)
            latents = latents.masked_fill(padding, 0.0)
        codes = self.encode(latents, valid)
        mixture = (-self.distances(latents)).softmax(dim=-1) @ self.codebook
        real = (codes >= 0).unsqueeze(-1)
        hard = self.codebook.detach()[codes.clamp(min=0)]
        vectors = torch.where(real, hard + (mixture - mixture.detach()), 0.0)
        loss = latents.new_zeros(())
        return Quantized(vectors.movedim(-1, self.channel_dim), codes, loss)

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        codes = self.distances(latents).argmin(dim=-1)
        return codes if valid is None else codes.masked_fill(~valid, -1)

    def decode(self, codes: Tensor) -> Tensor:
        vectors = self.codebook[codes.clamp(min=0)] * (codes >= 0).unsqueeze(-1)
        return vectors.movedim(-1, self.channel_dim)

    def update(self, latents: Tensor, codes: Tensor) -> None: ...

    def initialize(
        self, latents: Tensor, valid: Tensor | None = None, *, steps: int = 10,
        generator: torch.Generator | None = None,
    ) -> None: ...  # fmt: skip

    def revive(
        self, latents: Tensor, codes: Tensor, *, share: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        return ()


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "residual": lambda part: ResidualQuantizer([part]),
    "grouped": lambda part: GroupedQuantizer([FSQ([5]), part]),
    "projected": lambda part: ProjectedQuantizer(part, 3),
}
wrappers = pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)


def data(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).exp() - 0.7


def soft(seed: int, dim: int = 3) -> SoftQuantizer:
    return SoftQuantizer(dim, 4 + seed, seed=seed).double()


# --- oracle ---------------------------------------------------------------------------------------


def compare(whole: nn.Module, latents: Tensor, expected: Tensor) -> None:
    """Vectors and gradients of all parameters and latents are those of the naive composition."""
    vectors = whole(latents).vectors
    torch.testing.assert_close(vectors, expected)
    wave = torch.arange(vectors.numel()).reshape(vectors.shape).double().sin()
    leaves = [latents, *whole.parameters()]
    ours = torch.autograd.grad((vectors * wave).sum(), leaves)
    theirs = torch.autograd.grad((expected * wave).sum(), leaves)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
        assert other.abs().sum() > 0


def test_it_trains_inside_levels() -> None:
    parts, scales, latents = [soft(i) for i in range(3)], [1.0, 0.5, 2.0], data(9, 3)
    rest, total = latents.requires_grad_(), torch.zeros(())
    for part, scale in zip(parts, scales, strict=True):
        vectors = scale * part(rest / scale).vectors
        rest, total = rest - vectors.detach(), total + vectors
    compare(ResidualQuantizer(parts, scales=scales), latents, total)


def test_it_trains_inside_groups() -> None:
    parts, latents = [soft(0), soft(1, dim=2)], data(9, 5).requires_grad_()
    expected = torch.cat([parts[0](latents[:, :3]).vectors, parts[1](latents[:, 3:]).vectors], 1)
    compare(GroupedQuantizer(parts), latents, expected)


def test_it_trains_inside_projections() -> None:
    whole, latents = ProjectedQuantizer(soft(0), 5).double(), data(9, 5).requires_grad_()
    inside, outside = whole.project_in, whole.project_out
    vectors = whole.quantizer(latents @ inside.weight.T + inside.bias).vectors
    compare(whole, latents, vectors @ outside.weight.T + outside.bias)


# --- laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel_dim", [-1, 1])
def test_it_keeps_the_law(channel_dim: int) -> None:
    check_quantizer(lambda: SoftQuantizer(3, 6, channel_dim))


def projected() -> nn.Module:
    return ProjectedQuantizer(SoftQuantizer(2, 6), 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "build",
    [
        lambda: ResidualQuantizer([SoftQuantizer(3, 6), SoftQuantizer(3, 4, seed=1)]),
        lambda: GroupedQuantizer([SoftQuantizer(3, 6), FSQ([5])]),
        projected,
    ],
)
def test_wrappers_of_it_keep_the_law(build: Callable[[], nn.Module]) -> None:
    check_quantizer(build)


class WrongAxes(SoftQuantizer):
    code_shape = (1,)


class WrongProduct(SoftQuantizer):
    codes_per_token = 2


class WrongSizes(SoftQuantizer):
    @property
    def codebook_sizes(self) -> Any:
        return (self.codebook_size - 1,)

    @codebook_sizes.setter
    def codebook_sizes(self, value: Any) -> None: ...


class OneTooFew(SoftQuantizer):
    """It has one code more than it says."""

    @property
    def codebook_size(self) -> Any:
        return 2

    @codebook_size.setter
    def codebook_size(self, value: Any) -> None: ...

    @property
    def codebook_sizes(self) -> Any:
        return (2,)

    @codebook_sizes.setter
    def codebook_sizes(self, value: Any) -> None: ...


class SaysNothingOfGradients(SoftQuantizer):
    learns_by_vectors = False


class NotAFlag(SoftQuantizer):
    idle = 1  # type: ignore[assignment]


class OtherVectors(SoftQuantizer):
    def decode(self, codes: Tensor) -> Tensor:
        return 1.01 * super().decode(codes)


class Narrow(SoftQuantizer):
    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        return super().encode(latents, valid).int()


class NoLoss(SoftQuantizer):
    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        return super().forward(latents, valid)._replace(loss=torch.tensor(torch.nan))


class Triple(SoftQuantizer):
    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Any:
        return tuple(super().forward(latents, valid))


class Drawing(SoftQuantizer):
    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        torch.rand(())
        return super().encode(latents, valid)


class Writing(SoftQuantizer):
    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        self.codebook.data.mul_(0.99)
        return super().forward(latents, valid)


class Evaluating(SoftQuantizer):
    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        self.eval()
        return super().forward(latents, valid)


class InPlace(SoftQuantizer):
    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        latents.detach().add_(1e-3)
        return super().encode(latents, valid)


class Leaking(SoftQuantizer):
    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        return super().encode(latents)


class CountingPadding(SoftQuantizer):
    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        result = super().forward(latents, valid)
        loss = result.loss if valid is None else (~valid).sum() * 0.1
        return result._replace(loss=loss)


class NonZeroPadding(SoftQuantizer):
    def decode(self, codes: Tensor) -> Tensor:
        return self.codebook[codes.clamp(min=0)].movedim(-1, self.channel_dim)


class Busy(SoftQuantizer):
    def update(self, latents: Tensor, codes: Tensor) -> None:
        self.codebook.data.add_(0.01 * (codes >= 0).any())


class CountsPadding(SoftQuantizer):
    idle = False

    def update(self, latents: Tensor, codes: Tensor) -> None:
        self.codebook.data.add_(0.01)


class StartsFromPadding(SoftQuantizer):
    def initialize(self, latents: Tensor, valid: Tensor | None = None, **_: Any) -> None:
        self.codebook.data[0] = latents.movedim(self.channel_dim, -1).reshape(-1, self.dim)[0]


class RevivesFromNowhere(SoftQuantizer):
    def revive(self, latents: Tensor, codes: Tensor, **_: Any) -> Any:
        self.codebook.data[0] = torch.rand(self.dim)
        return ()


class RevivesWithoutAWord(SoftQuantizer):
    def revive(self, latents: Tensor, codes: Tensor, **_: Any) -> Any:
        return None


class Forgetful(SoftQuantizer):
    """What it learned at its start is no part of its state."""

    shift = 0.0

    def initialize(self, latents: Tensor, valid: Tensor | None = None, **_: Any) -> None:
        self.shift = 3.0

    def distances(self, latents: Tensor) -> Tensor:
        return super().distances(latents + self.shift)


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (WrongAxes, "codes must have shape"),
        (WrongProduct, "codes_per_token must be the product of code_shape; got 2"),
        (WrongSizes, "codebook_size must be the largest of codebook_sizes; got 6"),
        (OneTooFew, r"code 0 must lie in \[-1, 2\)"),
        (SaysNothingOfGradients, "learns_by_vectors must say whether parameters get .*; got False"),
        (NotAFlag, "idle must be a bool; got 1"),
        (OtherVectors, r"vectors must be decode\(codes\)"),
        (Narrow, "codes must be int64; got torch.int32"),
        (NoLoss, "the loss must be a finite scalar; got nan"),
        (Triple, "forward must return Quantized"),
        (Drawing, "encode must not draw"),
        (Writing, "forward must read, not write"),
        (Evaluating, "the mode must stay as it is"),
        (InPlace, "latents must stay as they are"),
        (Leaking, "codes must be -1 at padding"),
        (CountingPadding, "padding must not change the loss"),
        (NonZeroPadding, "decode must return 0 for -1"),
        (Busy, "idle must say that update does nothing"),
        (CountsPadding, "update must pass padding over"),
        (StartsFromPadding, "initialize must draw from its generator and pass padding over"),
        (RevivesFromNowhere, "revive must draw from its generator"),
        (RevivesWithoutAWord, "revive must return booleans"),
        (Forgetful, "the state_dict must carry all that encode needs"),
    ],
)
def test_the_law_names_what_is_broken(kind: type[SoftQuantizer], complaint: str) -> None:
    with pytest.raises(AssertionError, match=f"{kind.__name__}: {complaint}"):
        check_quantizer(lambda: kind(3, 6))


# --- complaints -----------------------------------------------------------------------------------


@wrappers
@pytest.mark.parametrize("member", sorted(get_protocol_members(Quantizer) - {"__call__"}))
def test_a_missing_member_is_named(wrap: Callable[[Any], Any], member: str) -> None:
    kind: Any = type(
        "Less", (nn.Module,), {k: v for k, v in vars(SoftQuantizer).items() if k != member}
    )
    part = kind(2, 5)
    if member in part.__dict__ or member in part._parameters:
        delattr(part, member)
    with pytest.raises(
        TypeError,
        match=rf"Quantizer: every part must be a quantizer; got Less, which has no {member}$",
    ):
        wrap(part)


@wrappers
def test_what_multiplies_in_float64_is_asked_in_float64(wrap: Callable[[Any], Any]) -> None:
    class Product(SoftQuantizer):
        def distances(self, latents: Tensor) -> Tensor:
            rows = latents.movedim(self.channel_dim, -1)
            return self.codebook.square().sum(dim=1) - 2 * rows @ self.codebook.T

    whole = wrap(Product(2, 5).double()).double()
    assert whole(data(9, whole.dim)).vectors.dtype == torch.float64


@wrappers
def test_what_is_no_module_is_refused(wrap: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"every part must be a quantizer; got str, no nn\.Module"):
        wrap("fsq")


@wrappers
@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (WrongAxes, r"code_shape must be .* of a vector, \(\); got \(1,\) from WrongAxes"),
        (WrongProduct, ".* must be the product of code_shape, 1; got 2 and 1 from WrongProduct"),
        (WrongSizes, "codebook_size must be the largest of codebook_sizes, 4; got 5 from WrongS"),
    ],
)
def test_what_is_not_as_said_is_refused(
    wrap: Callable[[Any], Any], kind: type[SoftQuantizer], complaint: str
) -> None:
    with pytest.raises(ValueError, match=rf"Quantizer: {complaint}"):
        wrap(kind(2, 5))


def test_levels_of_both_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"all levels must learn from .*VectorQ.*SoftQ"):
        ResidualQuantizer([VectorQuantizer(3, 4), SoftQuantizer(3, 4)])
