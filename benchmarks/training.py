"""Time training against a bare PyTorch loop; ratios are medians over rounds that run both sides one after the other.

Prints a table and writes ``benchmarks/training.json``. Needs no dataset: times do not depend on the images.
"""

import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

from memzoo.data import drawn, full_batches
from memzoo.models import D1, Autoencoder, ConvAutoencoder, Ensemble, FullyConnected, Training, single_filter_chain

ROUNDS = 5
OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
SINGLE = {"shape": (1, 3, 3), "layers": 9, "init": {"scheme": "constant", "value": 0.1}}


class Stamps(Callback):
    """Wall time and optimizer step at the end of every batch."""

    def __init__(self) -> None:
        self.at: list[tuple[int, float]] = []

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Note them."""
        self.at.append((trainer.global_step, time.perf_counter()))


def framework(model: Autoencoder, images: Tensor, batches: int = 4) -> float:
    """Seconds an optimizer step under the Trainer, from the end of the first batch of steps to that of the last."""
    stamps, per_batch = Stamps(), model.training_config.steps_per_batch
    Trainer(
        max_steps=batches * per_batch,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[stamps],
    ).fit(model, full_batches(images, steps_per_epoch=batches))
    (first, start), (last, end) = stamps.at[0], stamps.at[-1]
    return (end - start) / (last - first)


def bare(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, steps: int) -> float:
    """Seconds a step of the loop that one would write."""
    before = time.perf_counter()
    for _ in range(steps):
        loss = nn.functional.mse_loss(model(images), images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - before) / steps


def compare(case: str, ours: Callable[[], float], plain: Callable[[], float]) -> dict[str, Any]:
    """Median ratio of the seconds on both sides."""
    ours(), plain()
    pairs = [(ours(), plain()) for _ in range(ROUNDS)]
    fast, slow = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(ours / plain for ours, plain in pairs)
    print(f"{case:<60} {1e3 * fast:9.3f} ms  plain {1e3 * slow:9.3f} ms  ours / plain {ratio:.3f}  ({1 / ratio:.1f}x)")
    return {"case": case, "ours_ms": 1e3 * fast, "plain_ms": 1e3 * slow, "ratio": ratio}


def per_step() -> list[dict[str, Any]]:
    """Full-batch training, many steps a batch, over the bare loop."""
    cases: list[tuple[str, Callable[[Training | None], Autoencoder], Tensor, str, int]] = [
        ("D1, 128 filters, 2 images", lambda t: D1(training=t), torch.rand(2, 3, 32, 32), "adam", 20),
        (
            "FC 14 x 128, 20 images",
            lambda t: FullyConnected(depth=14, width=128, training=t),
            torch.rand(20, 1, 28, 28),
            "adam",
            100,
        ),
        (
            "9 layers of one filter, 1 image",
            lambda t: ConvAutoencoder(SINGLE, training=t),
            torch.rand(1, 1, 3, 3),
            "sgd",
            300,
        ),
    ]
    rows = []
    for case, build, images, optimizer, steps in cases:
        training = Training(optimizer=optimizer, lr=1e-4, steps=10**6, steps_per_batch=steps)
        plain = build(None).net
        stepper = OPTIMIZERS[optimizer](plain.parameters(), 1e-4)
        rows.append(
            compare(
                f"{case}, {optimizer}: one optimizer step",
                lambda build=build, training=training, images=images: framework(build(training), images),
                lambda plain=plain, stepper=stepper, images=images, steps=steps: bare(
                    plain, stepper, images, 3 * steps
                ),
            )
        )
    return rows


def ensembles(members: int = 64) -> list[dict[str, Any]]:
    """A step of all members over a loop that steps each."""
    rows = []
    for case, member, batch in (
        ("9 layers of one filter", SINGLE, 100),
        ("5 layers of 16 filters", {"shape": (1, 3, 3), "layers": 5, "filters": 16}, 20),
        ("FC 4 x 32 on 5x5", {"shape": (1, 5, 5), "depth": 4, "width": 32}, 50),
    ):
        kind = FullyConnected if "depth" in member else ConvAutoencoder
        side = member["shape"][-1]
        images = drawn("uniform", range(members), 2, (1, side, side)).pixels()
        training = Training(optimizer="sgd", lr=1e-4, steps=10**6, steps_per_batch=batch)

        def together(kind: Any = kind, member: Any = member, training: Any = training, images: Any = images) -> float:
            model = Ensemble(architecture=kind.__name__, member=member, members=members, training=training)
            return framework(model, images)

        def looped(kind: Any = kind, member: Any = member, images: Any = images) -> float:
            networks = [kind(member).net for _ in range(8)]
            took = sum(
                bare(network, torch.optim.SGD(network.parameters(), 1e-4), images[:, i], 20)
                for i, network in enumerate(networks)
            )
            return took * members / len(networks)

        rows.append(compare(f"{members} seeds of {case}: one step of all", together, looped))
    return rows


def very_deep() -> list[dict[str, Any]]:
    """Loss and gradients of 350 layers with skip connections, through matrices over eager convolutions."""
    images = torch.rand(5, 1, 7, 7)
    config = {"shape": (1, 7, 7), "layers": 350, "skip": 10, "skip_from": 10}
    model = ConvAutoencoder(config | {"init": {"scheme": "constant", "value": 0.1}})
    chain = model.net
    filters = torch.stack([layer.weight.detach()[0, 0] for layer in model.convolutions])[:, None].requires_grad_()

    def ours() -> float:
        before = time.perf_counter()
        for _ in range(10):
            points = images.transpose(0, 1)
            loss = (single_filter_chain(filters, points, chain.skips) - points).square().mean()
            filters.grad = None
            loss.backward()
        return (time.perf_counter() - before) / 10

    def plain() -> float:
        before = time.perf_counter()
        for _ in range(10):
            model.zero_grad()
            nn.functional.mse_loss(chain(images), images).backward()
        return (time.perf_counter() - before) / 10

    return [compare("350 layers of one filter, 7x7, 5 images: loss and gradients", ours, plain)]


def main() -> None:
    """Measure and report."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_flush_denormal(True)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    rows = [*per_step(), *ensembles(), *very_deep()]
    Path(__file__).with_suffix(".json").write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
