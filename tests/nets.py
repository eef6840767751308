"""Small networks that know Fashion-MNIST, trained when they are first asked for.

    python tests/nets.py cnn.keras --seed 0     prints the path

cnn.keras (Keras 3; 136,000 parameters, about 91 %), cnn.pt and mlp.pt (state dicts of torch_nets.py; 136,000
and 235,000, about 91 and 88 %). They learn from the first `datasets.FASHION_TRAINED` pictures, in a
process of their own, and are kept in the cache.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cache
import datasets

TORCH = Path(__file__).with_name("torch_nets.py")
# Counts up when what is trained changes.
_RECIPES = 1
_BATCH = 128


def trained(name: str, seed: int = 0) -> Path:
    """The file of a network: "cnn.keras", "cnn.pt" or "mlp.pt"."""
    if name not in _TRAINERS:
        raise FileNotFoundError(f"no network {name}; there are {', '.join(_TRAINERS)}")
    stem, _, suffix = name.partition(".")
    target = cache.folder("nets") / str(_RECIPES) / f"{stem}-{seed}.{suffix}"
    if not target.exists():
        with cache.atomic(target) as partial:
            command = [sys.executable, "-W", "ignore", __file__, name]
            subprocess.run(
                [*command, "--seed", str(seed), "--into", str(partial)],
                check=True,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"},
            )
    return target


def _keras_cnn(seed: int, path: Path) -> None:
    import keras

    epochs = 3
    keras.utils.set_random_seed(seed)
    net = _keras_net()
    steps = epochs * datasets.FASHION_TRAINED // _BATCH
    net.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)),
        "sparse_categorical_crossentropy",
    )
    data = datasets.fashion("nhwc")
    seen = slice(datasets.FASHION_TRAINED)
    net.fit(data.x_train[seen], data.y_train[seen], _BATCH, epochs, verbose=0)
    # Without the optimizer's state, which is twice as large as the net.
    plain = _keras_net()
    plain.set_weights(net.get_weights())
    plain.save(path)


def _keras_net() -> Any:
    import keras

    layers = keras.layers
    x = image = keras.Input((28, 28, 1), name="image")
    for filters in (24, 48, 96):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(96, activation="relu")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(10, activation="softmax", name="class")(x))


def _torch_net(factory: str, epochs: int) -> Callable[[int, Path], None]:
    def train(seed: int, path: Path) -> None:
        import torch

        import torch_nets

        torch.manual_seed(seed)
        net = getattr(torch_nets, factory)()
        data = datasets.fashion("nchw")
        seen = slice(datasets.FASHION_TRAINED)
        images, classes = torch.tensor(data.x_train[seen]), torch.tensor(data.y_train[seen])
        optimizer = torch.optim.Adam(net.parameters(), 2e-3)
        steps = epochs * (len(images) // _BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        net.train()
        for _ in range(epochs):
            for batch in torch.randperm(len(images))[: len(images) // _BATCH * _BATCH].view(
                -1, _BATCH
            ):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(net(images[batch]), classes[batch]).backward()
                optimizer.step()
                schedule.step()
        torch.save(net.state_dict(), path)

    return train


_TRAINERS: dict[str, Callable[[int, Path], Any]] = {
    "cnn.keras": _keras_cnn,
    "cnn.pt": _torch_net("cnn", epochs=3),
    "mlp.pt": _torch_net("mlp", epochs=6),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Prints the path of a network, trained or kept.")
    parser.add_argument("name", choices=list(_TRAINERS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.into:
        _TRAINERS[arguments.name](arguments.seed, arguments.into)
    else:
        sys.stdout.write(f"{trained(arguments.name, arguments.seed)}\n")


if __name__ == "__main__":
    main()
