"""Lightning: an objective of ssltok as a LightningModule, and what follows a step as a callback."""

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ssltok.augment import gaussian_noise
from ssltok.nn import AverageMaxPool, ResNet1d
from ssltok.training import BYOL, ObjectiveBatch

torch.manual_seed(0)
series = torch.randn(64, 1, 96).cumsum(-1) / 10


class SelfSupervised(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            ResNet1d(1, widths=(16,), blocks=(1,)), AverageMaxPool(channel_dim=1)
        )
        self.encoder.dim = 32
        self.objective = BYOL(self.encoder, projector_dim=32, hidden_dim=64, momentum=0.9)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        views = (gaussian_noise(batch[0]), gaussian_noise(batch[0]))
        output = self.objective(self.encoder, ObjectiveBatch(views))
        self.memory = output.memory
        self.log_dict(output.logged, prog_bar=True)
        return output.loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


class Update(Callback):
    """The teacher follows, once the optimizer has stepped."""

    losses: list[float] = []

    def on_train_batch_end(self, trainer, module, outputs, batch, index) -> None:
        module.objective.update(module.encoder, module.memory)
        self.losses.append(float(outputs["loss"]))


model = SelfSupervised()
loader = DataLoader(TensorDataset(series), batch_size=16, shuffle=True)
quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
update = Update()
trainer = lightning.Trainer(
    max_epochs=5, accelerator="cpu", callbacks=[update], enable_model_summary=False, **quiet
)
trainer.fit(model, loader)
print(f"BYOL's loss: {update.losses[0]:.2f} at first, {update.losses[-1]:.2f} after 20 steps")
