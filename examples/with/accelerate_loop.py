"""Accelerate: two views and a loss of ssltok in a loop that accelerate prepared."""

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ssltok.augment import compose, gaussian_noise, shift
from ssltok.distributed import gather
from ssltok.losses import vicreg_loss
from ssltok.nn import AverageMaxPool, Projector, ResNet1d

accelerator = Accelerator(cpu=True)
torch.manual_seed(0)
series = torch.randn(128, 1, 96).cumsum(-1) / 10
loader = DataLoader(TensorDataset(series), batch_size=32, shuffle=True, drop_last=True)
encoder = nn.Sequential(ResNet1d(1, widths=(16,), blocks=(1,)), AverageMaxPool(channel_dim=1))
model = nn.Sequential(encoder, Projector(32, hidden_dim=64, out_dim=32, layers=2))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
view = compose(shift, gaussian_noise)
losses = []
for _ in range(10):
    for (batch,) in loader:
        z_a, z_b = model(torch.cat([view(batch), view(batch)])).chunk(2)
        loss = vicreg_loss(gather(z_a), gather(z_b))  # over the batch of all processes
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
print(f"VICReg's loss: {losses[0]:.1f} at first, {losses[-1]:.1f} after {len(losses)} steps")
