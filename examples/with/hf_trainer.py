"""Hugging Face: `datasets` holds the tokens, `Trainer` trains a masked model of them."""

import numpy as np
from datasets import Dataset
from torch import nn
from transformers import Trainer, TrainingArguments, set_seed

from ssltok.losses import masked_token_loss
from ssltok.masking import cosine_schedule, schedule_mask
from ssltok.nn import TokenEmbedding, TokenTransformer, Transformer
from ssltok.pipelines import SSLTokenizer

random = np.random.default_rng(0)
waves = np.sin(np.linspace(0, 12, 96) * random.uniform(1, 3, (64, 1, 1)))
series = Dataset.from_dict({"series": waves + 0.1 * random.normal(size=waves.shape)})
tokenizer = SSLTokenizer.from_pretrained("general")  # ships with ssltok; three codes a token
encoded = series.map(
    lambda rows: {"codes": tokenizer.encode(np.array(rows["series"]))[..., 0]}, batched=True
).remove_columns("series")


class MaskedModel(nn.Module):
    def __init__(self, tokens, codes):
        super().__init__()
        self.mask_index = codes
        parts = TokenEmbedding(codes, 32), Transformer(32, depth=2, heads=2)
        self.prior = TokenTransformer(*parts, tokens=tokens)

    def forward(self, codes):
        mask = schedule_mask(codes.shape, schedule=cosine_schedule, device=codes.device)
        logits = self.prior(codes.masked_fill(mask, self.mask_index), mask)
        return {"loss": masked_token_loss(logits, codes, mask)}


set_seed(0)
codes = np.array(encoded["codes"])
model = MaskedModel(codes.shape[1], int(codes.max()) + 1)
quiet = {"logging_steps": 10, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
size = {"max_steps": 60, "per_device_train_batch_size": 32, "learning_rate": 5e-3}
arguments = TrainingArguments("trainer", use_cpu=True, **size, **quiet)
(trainer := Trainer(model, arguments, train_dataset=encoded)).train()
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
print(f"hidden tokens cost {losses[0]:.2f} nats at first, {losses[-1]:.2f} at the end")
