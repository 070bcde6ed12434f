"""Lightning: an objective of ssltok as a LightningModule, and what follows a step as a callback."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader

from ssltok.augment import gaussian_noise
from ssltok.nn import AverageMaxPool, ResNet1d
from ssltok.training import BYOL, ObjectiveBatch


class SelfSupervised(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        pool = AverageMaxPool(channel_dim=1)
        self.encoder = nn.Sequential(ResNet1d(1, widths=(16,), blocks=(1,)), pool)
        self.encoder.dim = 32
        self.objective = BYOL(self.encoder, projector_dim=32, hidden_dim=64, momentum=0.9)
        self.losses = []

    def training_step(self, series, index):
        batch = ObjectiveBatch((gaussian_noise(series), gaussian_noise(series)))
        output = self.objective(self.encoder, batch)
        self.losses.append(output.loss.item())
        return output._asdict()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


class Update(lightning.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        module.objective.update(module.encoder, outputs["memory"])  # the teacher follows


torch.manual_seed(0)
model, loader = SelfSupervised(), DataLoader(torch.randn(64, 1, 96).cumsum(-1) / 10, batch_size=16)
quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
lightning.Trainer(max_epochs=5, accelerator="cpu", callbacks=[Update()], **quiet).fit(model, loader)
print(f"BYOL's loss: {model.losses[0]:.2f} at first, {model.losses[-1]:.2f} after 20 steps")
