"""Masked tokens: hide patches of a series, and say which code each of them has.

    python examples/ssl/masked_tokens.py --method best_rq --data GunPoint

Who makes the codes differs. `beit`: a codebook learned from the patches (k-means here; any
quantizer will do), and spans are hidden. `best_rq`: a random projection and random directions;
nobody learns. `splitmask`: the input's nearest random directions; the series is split in two
halves that predict each other's codes, and whose means belong together.
"""

import torch
from data import Data
from encoders import DIM, PatchEncoder, mean_tokens
from loop import main
from recipe import Batch, Recipe
from torch import Tensor, nn

from ssltok.losses import masked_token_loss, nt_xent_loss
from ssltok.masking import block_mask, span_mask, split_mask
from ssltok.nn import MAEDecoder, Projector, Transformer, patchify, token_places
from ssltok.quantizers import RandomProjectionQuantizer, kmeans, nearest_codes

CODES = 64


def beit(data: Data) -> Recipe:
    encoder, head = PatchEncoder(data), nn.Linear(DIM, CODES)
    patches = patchify(data.train, patch=encoder.patch)
    codebook = kmeans(patches.flatten(0, 1), CODES).centers

    def loss_of(batch: Batch, step: int) -> Tensor:
        patches = patchify(batch.series, patch=encoder.patch)
        codes = nearest_codes(patches.flatten(0, 1), codebook).view(patches.shape[:2])
        mask = block_mask(tuple(codes.shape), ratio=0.4, least_area=2)
        logits = head(encoder.vit(batch.series, masked=mask)[mask])
        return masked_token_loss(logits, codes, mask)

    return Recipe(encoder, head, loss_of, steps=200)


def best_rq(data: Data) -> Recipe:
    encoder, head = PatchEncoder(data), nn.Linear(DIM, CODES)
    quantizer = RandomProjectionQuantizer(encoder.values, CODES, code_dim=8)

    def loss_of(batch: Batch, step: int) -> Tensor:
        codes = quantizer.encode(patchify(batch.series, patch=encoder.patch))
        mask = span_mask(tuple(codes.shape), ratio=0.4, length=2)
        logits = head(encoder.vit(batch.series, masked=mask)[mask])
        return masked_token_loss(logits, codes, mask)

    return Recipe(encoder, head, loss_of, steps=600)


def splitmask(data: Data, *, weight: float = 1.0) -> Recipe:
    encoder = PatchEncoder(data)
    decoder = MAEDecoder(DIM, CODES, Transformer(32, depth=1, heads=2))
    projector = Projector(DIM, hidden_dim=128, out_dim=32, layers=2)
    quantizer = RandomProjectionQuantizer(encoder.values, CODES, normalize=False)

    def loss_of(batch: Batch, step: int) -> Tensor:
        codes = quantizer.encode(patchify(batch.series, patch=encoder.patch))
        total, means = 0.0, []
        for mask in split_mask(tuple(codes.shape)):
            seen = int((~mask[0]).sum())  # of every row the same
            tokens = encoder.vit(batch.series, visible=token_places(~mask, slots=seen))
            restore = torch.where(mask, seen, (~mask).cumsum(1) - 1)
            total = total + masked_token_loss(decoder(tokens, restore)[mask], codes, mask) / 2
            means.append(projector(mean_tokens(tokens)))
        return total + weight * nt_xent_loss(*means, temperature=0.2)

    return Recipe(encoder, nn.ModuleList([decoder, projector]), loss_of, steps=200)


METHODS = {f.__name__: f for f in (beit, best_rq, splitmask)}

if __name__ == "__main__":
    main(METHODS)
