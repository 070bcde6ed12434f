"""A tokenizer's encoder as an ONNX file: onnxruntime gives the same codes, without torch."""

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from ssltok.pipelines import SSLTokenizer, shorten

random = np.random.default_rng(0)
phases = random.uniform(0, 6, (40, 1, 1))
X = (np.sin(np.linspace(0, 9, 64) * random.uniform(1, 3, (40, 1, 1)) + phases) * 4 + 7).astype("f4")
model = SSLTokenizer(shorten("compact", steps=20), progress=False).fit(X)


class Encode(nn.Module):
    """From series in their own units, as long as those of training, to codes."""

    def __init__(self, tokenizer: nn.Module) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, series: Tensor) -> Tensor:
        scaled = self.tokenizer.scale(series, torch.ones_like(series, dtype=torch.bool))
        latents = self.tokenizer.latents(self.tokenizer.bands(scaled))
        pairs = zip(self.tokenizer.parts, latents, strict=True)
        codes = [self.tokenizer.flat(branch.codes(latent)) for branch, latent in pairs]
        return torch.cat(codes, dim=1)


encoder = Encode(model.artifact_.tokenizer).eval()
batch = {"series": {0: torch.export.Dim("batch")}}
torch.onnx.export(
    encoder, (torch.as_tensor(X[:2]),), "encoder.onnx", dynamo=True, dynamic_shapes=batch,
    input_names=["series"], output_names=["codes"], verbose=False,
)  # fmt: skip
session = onnxruntime.InferenceSession("encoder.onnx")
(codes,) = session.run(None, {"series": X})
print(f"{len(X)} series, {codes.shape[1]} codes each, of which {len(np.unique(codes))} differ;")
print(f"{(codes == model.encode(X)).mean():.0%} of them are those of SSLTokenizer.encode")
