"""Fabric: a loop of your own, its device and precision by Fabric, its tokens by ssltok."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ssltok.nn import ConvDecoder1d, ConvEncoder1d
from ssltok.quantizers import VectorQuantizer


class Tokenizer(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = {"length": 64, "width": 16, "hidden_dim": 16, "blocks": 1}
        self.encoder = ConvEncoder1d(1, 8, **sizes)
        self.quantizer = VectorQuantizer(8, 32, channel_dim=1)
        self.decoder = ConvDecoder1d(1, 8, **sizes)

    def forward(self, series):
        quantized = self.quantizer(self.encoder(series))
        error = (self.decoder(quantized.vectors) - series).square().mean()
        return error + quantized.loss, quantized.codes


fabric = lightning.Fabric(accelerator="cpu", devices=1)
torch.manual_seed(0)
series = torch.sin(torch.linspace(0, 12, 64) * torch.linspace(1, 3, 128)[:, None, None])
loader = fabric.setup_dataloaders(DataLoader(TensorDataset(series), batch_size=32, shuffle=True))
model = Tokenizer()
model, optimizer = fabric.setup(model, torch.optim.AdamW(model.parameters(), lr=3e-3))
losses = []
for _ in range(15):
    for (batch,) in loader:
        loss, codes = model(batch)
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()
        losses.append(loss.item())
print(f"loss {losses[0]:.2f} at first, {losses[-1]:.2f} at the end; {len(codes.unique())} codes")
