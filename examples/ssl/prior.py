"""A prior of codes that is told a vector, or shown examples: what `conditioning.py` trains."""

import torch
from data import Data
from encoders import DIM
from torch import Tensor, nn

from ssltok.decoding import LogitsFn, condition_on, in_context
from ssltok.nn import TokenEmbedding, TokenTransformer, Transformer, patchify, unpatchify
from ssltok.quantizers import kmeans, nearest_codes

CODES, SHOTS = 64, 2


class Prior(nn.Module):
    """Fill in hidden codes of patches, told a vector, `(batch, 64)`."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.data, self.patch = data, max(2, data.length // 32)
        self.codebook = kmeans(patchify(data.train, patch=self.patch).flatten(0, 1), CODES).centers
        self.count = -(-data.length // self.patch)
        embedding, trunk = TokenEmbedding(CODES, DIM), Transformer(DIM, depth=2, heads=4)
        self.prior = TokenTransformer(embedding, trunk, tokens=(1 + SHOTS) * self.count)
        self.told = nn.Linear(DIM, DIM)

    def forward(self, tokens: Tensor, where: Tensor, condition: Tensor) -> Tensor:
        """Return the logits of the tokens at `where`."""
        context = self.told(condition)[:, None].expand(-1, tokens.shape[1], -1)
        return self.prior(tokens, where, context=context)

    def codes(self, series: Tensor) -> Tensor:
        """Turn series into codes, `(batch, tokens)`."""
        patches = patchify(series, patch=self.patch).flatten(0, 1)
        return nearest_codes(patches, self.codebook).view(-1, self.count)

    def series(self, codes: Tensor) -> Tensor:
        """Turn codes into series."""
        shape = {"channels": self.data.channels, "length": self.data.length}
        return unpatchify(self.codebook[codes], **shape)

    def after_examples(self, labels: Tensor) -> LogitsFn:
        """Put two training series of each class in front."""
        chosen = (labels[:, None] == self.data.train_labels).float().multinomial(SHOTS)
        support = self.codes(self.data.train[chosen.flatten()]).view(len(labels), -1)
        nothing = condition_on(self, torch.zeros(1, DIM).expand(len(labels), -1))
        return in_context(nothing, support)
