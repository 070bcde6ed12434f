r"""`_products` at the least number of products.

Autograd differentiates $z z^\top$ as a product of two different matrices and pays for both. The
products here are symmetric, so that one suffices; and a product of `dim x dim` entries is never
built when the batch is smaller than `dim`. Second derivatives and `vmap` work. What the backward
pass needs is returned beside the results; without materialised gradients it costs no zeros there.
"""

from typing import Any, cast

import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok._shared.numerics import directed
from ssltok.losses import _products as plain
from ssltok.losses._products import DiagonalAndRest, inverse_norms

__all__ = ["contrast", "gram", "product_sums", "self_product_sums", "unit_rows"]


def product_sums(a: Tensor, b: Tensor) -> DiagonalAndRest:
    r"""As `_products.product_sums`, by the smaller product.

    Where it is cheaper (4 batch < 3 dim, by counting operations in both directions) the sum is
    $\langle a a^\top, b b^\top \rangle$ less the diagonal's part.
    """
    if a.shape[1] <= sizes.PRODUCT_ROWS:
        return plain.product_sums(a, b)  # so small that calls cost more than products
    apply: Any = _ProductSums.apply
    diagonal, rest, *_ = apply(a, b)
    return DiagonalAndRest(diagonal, rest)


def self_product_sums(z: Tensor) -> DiagonalAndRest:
    r"""As `_products.self_product_sums`, by the smaller product.

    The sum is $\lVert z z^\top \rVert^2$ less the diagonal's part where `batch < dim`.
    """
    apply: Any = _SelfProductSums.apply
    diagonal, rest, _ = apply(z)
    return DiagonalAndRest(diagonal, rest)


def contrast(z: Tensor, *, views: int, scale: float = 1.0) -> Tensor:
    """As `_products.contrast`, with the softmax of the way forward kept for the way back."""
    apply: Any = _Contrast.apply
    return cast("Tensor", apply(z, views, scale)[0])


def gram(z: Tensor) -> Tensor:
    """As `_products.gram`, at five eighths of the products.

    On a processor, and without a graph, blocks below the diagonal are copies of those above.
    """
    rows = z.shape[-2]
    small = rows < sizes.PRODUCT_ROWS or z.numel() <= sizes.FEW_NUMBERS
    if small or z.ndim > 2 or torch.is_grad_enabled() or z.device.type != "cpu":
        return plain.gram(z)
    products = z.new_empty(rows, rows)
    size = -(-rows // sizes.BLOCKS)
    for start in range(0, rows, size):
        end = min(start + size, rows)
        block = z[start:end] @ z[start:].mT
        products[start:end, start:] = block
        products[end:, start:end] = block[:, end - start :].mT
    return products


def unit_rows(z: Tensor, *, eps: float = 1e-12) -> Tensor:
    """As `_products.unit_rows`, with the norms of the way forward kept for the way back."""
    z = directed(z)
    if z.numel() <= sizes.FEW_NUMBERS:
        return z * inverse_norms(z, eps=eps)
    apply: Any = _UnitRows.apply
    return cast("Tensor", apply(z, eps)[0])


def _square_sum(first: Tensor, second: Tensor) -> Tensor:
    """The sum of entrywise products, in float64 where the device has it."""
    wide = first.dtype if first.device.type == "mps" else torch.float64
    return (first.to(wide) * second.to(wide)).sum()


def _or_zero(gradient: Tensor | None, like: Tensor) -> Tensor:
    """The gradient, which is absent where an output is not used."""
    return torch.zeros_like(like) if gradient is None else gradient


class _ProductSums(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        first, second = _ProductSums.products(a, b)
        if _ProductSums.small_batch(a):
            diagonal = (a * b).sum(dim=0)
            rest = _square_sum(first, second) - _square_sum(diagonal, diagonal)
        else:
            diagonal = first.diagonal().clone()
            first.diagonal().zero_()
            rest = _square_sum(first, first)
        return diagonal, rest.to(a.dtype), first, second

    @staticmethod
    def small_batch(a: Tensor) -> bool:
        """8 batch^2 dim operations against 6 batch dim^2."""
        return 4 * a.shape[0] < 3 * a.shape[1]

    @staticmethod
    def products(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        if _ProductSums.small_batch(a):
            return gram(a), gram(b)
        return a.mT @ b, a.new_zeros(())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(*inputs, output[0], *output[2:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor, Tensor]:
        a, b, diagonal, first, second = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            first, second = _ProductSums.products(a, b)
            if not _ProductSums.small_batch(a):
                first = first - torch.diag_embed(first.diagonal())
        along, rest = _or_zero(grads[0], diagonal), 2 * _or_zero(grads[1], diagonal[..., 0])
        if _ProductSums.small_batch(a):
            along = along - rest * diagonal
            return (
                torch.addcmul(along * b, second @ a, rest),
                torch.addcmul(along * a, first @ b, rest),
            )
        return (
            torch.addcmul(along * b, b @ first.mT, rest),
            torch.addcmul(along * a, a @ first, rest),
        )


class _SelfProductSums(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if z.shape[0] < z.shape[1]:
            product = gram(z)
            diagonal = z.square().sum(dim=0)
            rest = _square_sum(product, product) - _square_sum(diagonal, diagonal)
        else:
            product = gram(z.mT)
            diagonal = product.diagonal().clone()
            product.diagonal().zero_()
            rest = _square_sum(product, product)
        return diagonal, rest.to(z.dtype), product

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[2])
        ctx.save_for_backward(*inputs, output[0], output[2])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Tensor:
        z, diagonal, product = ctx.saved_tensors
        along = 2 * _or_zero(grads[0], diagonal)
        rest = 4 * _or_zero(grads[1], diagonal[..., 0])
        if z.shape[0] < z.shape[1]:
            if torch.is_grad_enabled():
                product = z @ z.mT
            return torch.addcmul((along - rest * diagonal) * z, product @ z, rest)
        if torch.is_grad_enabled():
            product = z.mT @ z
            product = product - torch.diag_embed(product.diagonal())
        return torch.addcmul(along * z, z @ product, rest)


class _Contrast(torch.autograd.Function):
    """Keeps the softmax less the positives' shares: the slope of each row's similarities."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, views: int, scale: float) -> tuple[Tensor, Tensor]:
        slopes = gram(z).mul_(scale)
        slopes.diagonal(dim1=-2, dim2=-1).fill_(-torch.inf)
        positives = _positives(slopes, views)
        mean = torch.zeros_like(slopes[..., 0])
        for places, rows in positives:
            mean[..., rows] += places / (views - 1)
        highest = slopes.amax(dim=-1, keepdim=True)
        total = slopes.sub_(highest).exp_().sum(dim=-1, keepdim=True)
        slopes.div_(total)
        for places, _ in positives:
            places -= 1 / (views - 1)
        return (highest + total.log()).squeeze(-1) - mean, slopes

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        z, ctx.views, ctx.scale = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(z, output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None, None]:
        if grads[0] is None:
            return None, None, None
        z, slopes = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            itself = torch.eye(z.shape[-2], dtype=torch.bool, device=z.device)
            shares = (ctx.scale * z @ z.mT).masked_fill(itself, -torch.inf).softmax(dim=-1)
            slopes = shares + (slopes - shares).detach()
        slopes = slopes * (ctx.scale * grads[0]).unsqueeze(-1)
        return slopes.mT.clone(memory_format=torch.contiguous_format).add_(slopes) @ z, None, None


def _positives(matrix: Tensor, views: int) -> list[tuple[Tensor, slice]]:
    """The diagonals of a `(..., rows, rows)` matrix that hold positives, and their rows."""
    rows = matrix.shape[-1]
    positives = []
    for view in range(1, views):
        offset = view * (rows // views)
        positives.append((matrix.diagonal(offset, -2, -1), slice(0, rows - offset)))
        positives.append((matrix.diagonal(-offset, -2, -1), slice(offset, rows)))
    return positives


class _UnitRows(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        inverse = torch.linalg.vector_norm(z, dim=-1, keepdim=True).clamp_min(eps).reciprocal()
        return z * inverse, inverse

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.eps = inputs[1]
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(inputs[0], *output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        if grads[0] is None:
            return None, None
        z, unit, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():
            norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
            inverse = norm.clamp_min(ctx.eps).reciprocal()
            unit = z * inverse
        longer = inverse < torch.full_like(inverse, ctx.eps).reciprocal()  # than eps
        along = (grads[0] * unit).sum(dim=-1, keepdim=True) * longer
        return torch.addcmul(grads[0], unit, along, value=-1).mul_(inverse), None
