"""A small vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929), to be tuned over its own hyperparameters.

imagestudy run --model docs/examples/vit.py:ViT --space docs/examples/vit.py:space
"""

import torch
from torch import Tensor, nn


class ViT(nn.Module):
    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        depth: int = 4,
        width: int = 64,
        heads: int = 4,
        patch: int = 4,
    ) -> None:
        super().__init__()
        height, columns = image_size
        self.patches = nn.Conv2d(in_channels, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, 1 + (height // patch) * (columns // patch), width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(images.shape[0], -1, -1), patches], dim=1) + self.position
        return self.head(self.norm(self.encoder(tokens)[:, 0]))


def space(trial):
    heads = trial.suggest_categorical("model.heads", [2, 4])
    return {
        "model.depth": trial.suggest_int("model.depth", 1, 6),
        "model.width": trial.suggest_int("model.width", 32, 96, step=16),
        "model.heads": heads,
        "optimizer": "adamw",
        "lr": trial.suggest_float("lr", 1e-4, 1e-2, log=True),
        "translate": trial.suggest_int("translate", 0, 2),
        "schedule": "cosine",
        "warmup": 0.1,
    }
