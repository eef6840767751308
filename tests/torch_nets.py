"""The torch networks of nets.py, as `optimize run torch_nets.py:cnn --weights …` takes them."""

from __future__ import annotations

import torch
from torch import nn

CLASSES = 10


class Convolutions(nn.Module):
    """136,000 parameters: three convolutions with batch normalization, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(1, 24), nn.MaxPool2d(2), *_block(24, 48), nn.MaxPool2d(2), *_block(48, 96)
        )
        self.pool = nn.MaxPool2d(2)
        self.hidden = nn.Linear(96 * 3 * 3, 96)
        self.relu = nn.ReLU()
        self.scores = nn.Linear(96, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, 1, 28, 28), 0 to 1, to scores (n, 10)."""
        features = torch.flatten(self.pool(self.features(image)), 1)
        scores: torch.Tensor = self.scores(self.relu(self.hidden(features)))
        return scores


class Perceptron(nn.Module):
    """235,000 parameters in three linear layers, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(28 * 28, 256),
            nn.ReLU(),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Linear(128, CLASSES),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, 1, 28, 28), 0 to 1, to scores (n, 10)."""
        scores: torch.Tensor = self.layers(torch.flatten(image, 1))
        return scores


def cnn() -> nn.Module:
    return Convolutions()


def mlp() -> nn.Module:
    return Perceptron()


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
