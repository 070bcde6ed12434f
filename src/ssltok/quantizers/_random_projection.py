"""Random-projection quantization: targets for masked prediction that nobody has to learn."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least
from ssltok._shared.numerics import full_precision, upcast
from ssltok.quantizers._nearest import nearest_codes
from ssltok.quantizers._quantized import Quantized
from ssltok.quantizers._single import SingleCode
from ssltok.quantizers._unit import unit_rows_plain

__all__ = ["RandomProjectionQuantizer"]


class RandomProjectionQuantizer(SingleCode):
    r"""Compare a random projection with random unit vectors; the nearest one is the target.

    $$k = \arg\min_i \Big| \frac{P \bar x}{|P \bar x|} - u_i \Big|
        = \arg\max_i \langle P \bar x, u_i \rangle$$

    with $\bar x$ the latent with mean 0 and variance 1 over its channels, $P$ drawn by Xavier's
    rule and $u_i$ uniform on the sphere (a normalised Gaussian). Nothing is learned: no loss, no
    gradient. The scale of latents does not matter as long as their squares are in the range of
    float32 (lengths of about $10^{-12}$ to $10^{18}$). BEST-RQ projects to few channels; SplitMask
    compares with the input itself (`code_dim=None`, `normalize=False`). For several codebooks make
    several quantizers.

    Departure: BEST-RQ normalises features over its data set. Here each latent is normalised over
    its channels, which needs no statistics and prevents the same collapse: without it the
    mean of all latents decides the code. Channels that are scaled very differently should be
    normalised over the data before.

    Args:
        dim: Channels of the latents.
        codebook_size: The number of codes.
        code_dim: Channels of the projection, and of the vectors returned; None: no projection.
        normalize: Whether latents are normalised over their channels; needs `dim >= 2`.
        channel_dim: Where the channels are.
        generator: Source of the projection and of the codebook.

    Raises:
        ValueError: If a size is below 1, or `dim` is 1 and `normalize` is true.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import RandomProjectionQuantizer
        >>> quantizer = RandomProjectionQuantizer(4, 8, generator=torch.Generator().manual_seed(0))
        >>> x = torch.tensor([[1.0, 2.0, 0.0, 5.0]])
        >>> codes = quantizer.encode(x)
        >>> bool(quantizer.encode(3 * x + 7) == codes)  # neither scale nor offset matters
        True
        >>> bool(quantizer.encode(quantizer.decode(codes)).shape == codes.shape)
        True

    References:
        Chiu et al., *Self-supervised Learning with Random-projection Quantizer for Speech
        Recognition*, 2022, <https://arxiv.org/abs/2202.01855>, section 3.1, equation 1.
        El-Nouby et al., *Are Large-scale Datasets Necessary for Self-Supervised Pre-training?*
        (SplitMask), 2021, <https://arxiv.org/abs/2112.10740>, section 4.
    """

    vectors: Tensor
    projection: Tensor | None

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        code_dim: int | None = None,
        normalize: bool = True,
        channel_dim: int = -1,
        generator: torch.Generator | None = None,
    ) -> None:
        who = "RandomProjectionQuantizer"
        check_at_least(who, "dim with normalize" if normalize else "dim", dim, 1 + normalize)
        check_at_least(who, "codebook_size", codebook_size, 1)
        super().__init__(dim, codebook_size, channel_dim=channel_dim)
        self.code_dim = code_dim
        self.normalize = normalize
        projection = None
        if code_dim is not None:
            check_at_least(who, "code_dim", code_dim, 1)
            projection = torch.empty(code_dim, dim)
            nn.init.xavier_normal_(projection, generator=generator)
        self.register_buffer("projection", projection)
        vectors = torch.empty(codebook_size, code_dim or dim).normal_(generator=generator)
        self.register_buffer("vectors", unit_rows_plain(vectors))

    @property
    def codebook(self) -> Tensor:
        """The random unit vectors, `(codebook_size, code_dim)`."""
        return self.vectors

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents; the vectors have `code_dim` channels and no gradient, the loss is 0."""
        flat = self._flatten(latents, valid)
        codes = self._search(flat.tokens)
        vectors = F.embedding(codes, self.vectors)
        loss = self.vectors.new_zeros(())
        return Quantized(flat.restore_vectors(vectors), flat.restore_codes(codes), loss)

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes of latents, int64, in their layout without the channels."""
        flat = self._flatten(latents, valid)
        return flat.restore_codes(self._search(flat.tokens))

    @torch.no_grad()
    def _search(self, tokens: Tensor) -> Tensor:
        with full_precision(tokens):
            tokens = upcast(tokens)
            if self.normalize:
                tokens = F.layer_norm(tokens, (self.dim,))
            if self.projection is not None:
                tokens = tokens @ upcast(self.projection).T
            return nearest_codes(unit_rows_plain(tokens), self.vectors)

    @property
    def _dtype(self) -> torch.dtype:
        return self.vectors.dtype
