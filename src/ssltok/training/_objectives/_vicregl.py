"""VICRegL as an objective: two views agree as wholes, and token by token."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_bool_mask, check_ratio
from ssltok.distributed import gather
from ssltok.losses import vicreg_terms, vicregl_terms
from ssltok.nn import mean_pool
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    check_views,
    features_of,
    logged,
    token_valid,
)

__all__ = ["VICRegL"]

INVARIANCE_WEIGHT = 25.0  # the paper's; the other weights are measured by it


@documented
class VICRegL(PlainObjective):
    r"""Make pooled features agree, and tokens that look alike or stand at the same place.

    `vicreg_terms` of the pooled features and `vicregl_terms` of the tokens, each behind a projector
    of its own, with the weights $\alpha$ and $1 - \alpha$. A token's place is its number: the views
    are of one length and of one grid, so that matches by place are the tokens at the same place.

    Args:
        encoder: Gives the number of features, and a feature for each token; see `Objective`.
        projector_dim: Features of a projection, and width of the hidden layers; 8192 and 512 in the
            paper, 512 for both by default.
        projector: A module of your own instead for the pooled features; its width takes the place
            of `projector_dim`.
        token_projector: Likewise for the tokens.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series; by default their mean.
        matches: How many pairs of tokens a series keeps, of each kind.
        global_weight: $\alpha$ in [0, 1]; 0.75 in the paper.
        variance_weight: The weight of the deviations, 0 or more; that of the differences is 25.
        covariance_weight: The weight of the covariances, 0 or more.

    Example:
        >>> import torch
        >>> from ssltok.training import ObjectiveBatch, VICRegL
        >>> class Samples(torch.nn.Module):
        ...     dim = 2
        ...     def forward(self, series):
        ...         return series.transpose(1, 2)  # a token for each sample
        >>> objective = VICRegL(Samples(), projector_dim=8, matches=4)
        >>> output = objective(Samples(), ObjectiveBatch((torch.randn(6, 2, 10),) * 2))
        >>> [name for name in output.logged if name.startswith("token")]
        ['token_invariance', 'token_variance', 'token_covariance']

    References:
        Bardes et al., *VICRegL*, 2022, <https://arxiv.org/abs/2210.01571>, equation 6.
    """

    by_token = True

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 512,
        projector: nn.Module | None = None,
        token_projector: nn.Module | None = None,
        pool: Pool | None = None,
        matches: int = 20,
        global_weight: float = 0.75,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_at_least("VICRegL", "matches", matches, 1)
        check_ratio("VICRegL", "global_weight", global_weight)
        check_at_least("VICRegL", "variance_weight", variance_weight, 0)
        check_at_least("VICRegL", "covariance_weight", covariance_weight, 0)
        self._build_projector(
            encoder, projector, pool, hidden_dim=projector_dim, out_dim=projector_dim, layers=3
        )
        self.token_projector, _ = projector_of(
            "VICRegL", encoder, projector=token_projector, pool=None, hidden_dim=projector_dim,
            out_dim=projector_dim, layers=3,
        )  # fmt: skip
        self.matches, self.global_weight = matches, global_weight
        self.variance_weight, self.covariance_weight = variance_weight, covariance_weight

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of two views."""
        check_views("VICRegL", batch, self.views)
        features = features_of("VICRegL", encoder, batch)
        for part in features:
            check_axes("VICRegL", "features", part, "batch tokens dim")
        if features[0].shape != features[1].shape:
            raise ValueError(
                f"VICRegL: both views must have equally many tokens; "
                f"got {features[0].shape[1]} and {features[1].shape[1]}"
            )
        real = None if batch.valid is None else token_valid("VICRegL", encoder, batch.valid)
        if real is not None:
            check_bool_mask("VICRegL", "token_valid(valid) of the encoder", real,
                            features[0].shape[:2])  # fmt: skip
        pooled = [self._pooled(part, real) for part in features]
        whole = vicreg_terms(*map(gather, self.projector(torch.cat(pooled)).chunk(2)))
        tokens = [gather(part) for part in self._projected_tokens(torch.cat(features), real)]
        places = torch.arange(tokens[0].shape[1], device=tokens[0].device, dtype=tokens[0].dtype)
        places = places.expand(tokens[0].shape[:2])
        valid = None if real is None else gather(real)
        local = vicregl_terms(
            tokens[0], tokens[1], places, places, valid, valid, matches=self.matches
        )
        weights = (INVARIANCE_WEIGHT, self.variance_weight, self.covariance_weight)
        loss = torch.zeros_like(whole.invariance)
        for weight, of_whole, of_tokens in zip(weights, whole, local, strict=True):
            share = self.global_weight
            loss = loss + weight * (share * of_whole + (1 - share) * of_tokens)
        terms = {f"token_{name}": term for name, term in local._asdict().items()}
        return ObjectiveOutput(loss, logged(**whole._asdict(), **terms))

    def _pooled(self, features: Tensor, real: Tensor | None) -> Tensor:
        if self.pool is not None:
            return self.pool(features, real)
        return mean_pool(features, real, channel_dim=-1)

    def _projected_tokens(self, features: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
        """Project the real tokens of both views, all at once; padding is 0."""
        if real is None:
            z: Tensor = self.token_projector(features.flatten(0, 1))
            filled = z.unflatten(0, features.shape[:2])
        else:
            both = real.repeat(2, 1)
            z = self.token_projector(features[both])
            filled = z.new_zeros((*both.shape, z.shape[1])).masked_scatter(both.unsqueeze(2), z)
        z_a, z_b = filled.chunk(2)
        return z_a, z_b
