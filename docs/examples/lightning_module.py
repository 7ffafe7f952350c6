"""A Lightning module as a trainer: imagestudy run --trainer docs/examples/lightning_module.py:LightningTrainer"""

import lightning as L
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Module(L.LightningModule):
    def __init__(self, recipe, spec):
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(spec.channels, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
            nn.Linear(16 * 16, spec.num_classes),
        )  # fmt: skip
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=recipe.lr)
        self.loss = 0.0

    def training_step(self, batch, batch_index):
        images, labels = batch
        loss = F.cross_entropy(self.network(images), labels)
        self.loss = loss.item()
        return loss

    def configure_optimizers(self):
        return self.optimizer  # the same one each time, so that its state lasts from fit to fit


class LightningTrainer:
    def __init__(self, recipe, train, spec, device="cpu"):
        torch.manual_seed(recipe.seed)
        self.recipe, self.accelerator = recipe, "gpu" if device == "cuda" else device
        self.module = Module(recipe, spec)
        data = TensorDataset(_prepared(train.images), torch.tensor(train.labels))
        order = torch.Generator().manual_seed(recipe.seed)
        self.batches = DataLoader(data, recipe.batch_size, shuffle=True, generator=order)

    def __iter__(self):
        for _ in range(self.recipe.epochs):
            trainer = L.Trainer(
                max_epochs=1, accelerator=self.accelerator, devices=1, logger=False, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False,
            )  # fmt: skip
            trainer.fit(self.module, self.batches)
            yield {"train_loss": self.module.loss}

    @torch.no_grad()
    def predict(self, images):
        self.module.eval().cpu()
        return self.module.network(_prepared(images)).softmax(1)


def _prepared(images):
    return torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1
