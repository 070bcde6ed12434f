"""Language models: a series becomes a row of codes, and a model learns to write them.

    python examples/ssl/language_models.py --method albert --data GunPoint

The codes are those of k-means over patches. `bert`: corrupted codes are restored, and two segments
are told apart that follow each other or not. `albert`: all layers share their weights, and the
question is which of two segments came first. `igpt`: each code is guessed from those before it.
"""

from collections.abc import Callable

import torch
from data import Data
from encoders import DIM, mean_tokens
from loop import main
from recipe import Batch, Recipe
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssltok.augment import SegmentPairs, next_segment_pairs, segment_order_pairs
from ssltok.losses import masked_token_loss, next_token_loss
from ssltok.masking import bert_corrupt, random_mask
from ssltok.nn import TokenEmbedding, Transformer, patchify, sinusoidal_positions
from ssltok.quantizers import kmeans, nearest_codes

CODES = 64


class CodeEncoder(nn.Module):
    """Codes through a transformer; features: the mean of its vectors (causal: of layer 1)."""

    codebook: Tensor

    def __init__(self, data: Data, *, causal: bool = False, shared: bool = False) -> None:
        super().__init__()
        self.patch = max(2, data.length // 32)
        patches = patchify(data.train, patch=self.patch).flatten(0, 1)
        self.register_buffer("codebook", kmeans(patches, CODES).centers)
        self.embedding = TokenEmbedding(CODES, DIM, embedding_dim=16 if shared else None)
        layers, self.causal = 1 if shared else 2, causal
        self.trunk = Transformer(DIM, depth=2, heads=4, causal=causal, distinct_layers=layers)

    def codes(self, series: Tensor) -> Tensor:
        """Find the code of each patch, `(batch, tokens)`."""
        patches = patchify(series, patch=self.patch)
        return nearest_codes(patches.flatten(0, 1), self.codebook).view(patches.shape[:2])

    def tokens(self, codes: Tensor) -> Tensor:
        """Encode codes, `(batch, tokens, 64)`."""
        return self.trunk(self.embedded(codes))

    def embedded(self, codes: Tensor) -> Tensor:
        """Embed codes and their places, `(batch, tokens, 64)`."""
        places = torch.arange(codes.shape[1])
        return self.embedding(codes) + 0.02 * sinusoidal_positions(places, DIM)

    def forward(self, series: Tensor) -> Tensor:
        """Map `(batch, channels, length)` to `(batch, 64)`."""
        x = self.embedded(self.codes(series))
        return mean_tokens(self.trunk.hidden_states(x).tokens[0] if self.causal else self.trunk(x))


def masked_model(encoder: CodeEncoder, pairs: Callable[..., SegmentPairs], data: Data) -> Recipe:
    """Restore corrupted codes, and answer a question about two segments."""
    head, answer = nn.Linear(DIM, CODES), nn.Linear(2 * DIM, 2)

    def loss_of(batch: Batch, step: int) -> Tensor:
        codes = encoder.codes(batch.series)
        mask = random_mask(tuple(codes.shape), ratio=0.3).mask
        logits = head(encoder.tokens(bert_corrupt(codes, mask, codebook_size=CODES))[mask])
        first, second, _, _, labels = pairs(batch.series, segment=data.length // 2)
        both = torch.cat([encoder(first), encoder(second)], dim=1)
        return masked_token_loss(logits, codes, mask) + cross_entropy(answer(both), labels)

    return Recipe(encoder, nn.ModuleList([head, answer]), loss_of, steps=200)


def bert(data: Data) -> Recipe:
    return masked_model(CodeEncoder(data), next_segment_pairs, data)


def albert(data: Data) -> Recipe:
    return masked_model(CodeEncoder(data, shared=True), segment_order_pairs, data)


def igpt(data: Data) -> Recipe:
    encoder, head = CodeEncoder(data, causal=True), nn.Linear(DIM, CODES)

    def loss_of(batch: Batch, step: int) -> Tensor:
        codes = encoder.codes(batch.series)
        return next_token_loss(head(encoder.tokens(codes)), codes)

    return Recipe(encoder, head, loss_of, steps=200)


METHODS = {f.__name__: f for f in (bert, albert, igpt)}

if __name__ == "__main__":
    main(METHODS)
