"""A plain PyTorch loop as a trainer that can be paused: imagestudy run --trainer docs/examples/pytorch_loop.py:Loop"""

import torch
import torch.nn.functional as F
from torch import nn


class Loop:
    def __init__(self, recipe, train, spec, device="cpu", hidden=64):
        torch.manual_seed(recipe.seed)
        pixels = spec.height * spec.width * spec.channels
        network = nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, spec.num_classes))
        self.recipe, self.device, self.network = recipe, device, network.to(device)
        self.optimizer = torch.optim.SGD(network.parameters(), lr=recipe.lr, momentum=recipe.momentum)
        self.images, self.labels = self._prepared(train.images), torch.tensor(train.labels, device=device)
        self.epoch = 0

    def __iter__(self):
        while self.epoch < self.recipe.epochs:
            # A generator of its own for each epoch, so that a training that was paused continues to the same numbers.
            generator = torch.Generator().manual_seed(self.recipe.seed + self.epoch)
            losses = []
            for index in torch.randperm(len(self.labels), generator=generator).split(self.recipe.batch_size):
                loss = F.cross_entropy(self.network(self.images[index]), self.labels[index])
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                losses.append(loss.item())
            self.epoch += 1
            yield {"train_loss": sum(losses) / len(losses)}

    @torch.no_grad()
    def predict(self, images):
        return self.network(self._prepared(images)).softmax(1)

    def state_dict(self):
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "epoch": self.epoch}

    def load_state_dict(self, state):
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]

    def _prepared(self, images):
        return torch.tensor(images, device=self.device).float() / 127.5 - 1
