"""Time training against a bare PyTorch loop; ratios are medians over rounds that run both sides one after the other.

The script prints a table and writes ``benchmarks/training.json``. It needs no dataset, since times do not depend on the
images.
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
    """Record wall time and optimizer step at the end of every batch."""

    def __init__(self) -> None:
        self.at: list[tuple[int, float]] = []

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Record both."""
        self.at.append((trainer.global_step, time.perf_counter()))


def time_trainer(model: Autoencoder, images: Tensor, batches: int = 4) -> float:
    """Measure the seconds of an optimizer step under the Trainer, between the ends of the first and the last batch."""
    stamps = Stamps()
    per_batch = model.training_config.steps_per_batch
    trainer = Trainer(
        max_steps=batches * per_batch,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[stamps],
    )
    trainer.fit(model, full_batches(images, steps_per_epoch=batches))
    first, start = stamps.at[0]
    last, end = stamps.at[-1]
    return (end - start) / (last - first)


def time_loop(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, steps: int) -> float:
    """Measure the seconds a step takes in the loop that one would write."""
    before = time.perf_counter()
    for _ in range(steps):
        loss = nn.functional.mse_loss(model(images), images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - before) / steps


def compare(case: str, ours: Callable[[], float], plain: Callable[[], float]) -> dict[str, Any]:
    """Measure the median ratio of the seconds on both sides."""
    # the first calls fill caches and do not count
    ours()
    plain()
    pairs = [(ours(), plain()) for _ in range(ROUNDS)]
    fast, slow = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(ours / plain for ours, plain in pairs)
    fast_ms = 1e3 * fast
    slow_ms = 1e3 * slow
    print(f"{case:<60} {fast_ms:9.3f} ms  plain {slow_ms:9.3f} ms  ours / plain {ratio:.3f}  ({1 / ratio:.1f}x)")
    return {"case": case, "ours_ms": fast_ms, "plain_ms": slow_ms, "ratio": ratio}


def compare_single_networks() -> list[dict[str, Any]]:
    """Compare full-batch training, with many steps in a batch, with the bare loop."""
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
                lambda build=build, training=training, images=images: time_trainer(build(training), images),
                lambda plain=plain, stepper=stepper, images=images, steps=steps: time_loop(
                    plain, stepper, images, 3 * steps
                ),
            )
        )
    return rows


def compare_ensembles(members: int = 64) -> list[dict[str, Any]]:
    """Compare a step of all members of an ensemble with a loop that steps each of them."""
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

        def step_ensemble(
            kind: Any = kind, member: Any = member, training: Any = training, images: Any = images
        ) -> float:
            model = Ensemble(architecture=kind.__name__, member=member, members=members, training=training)
            return time_trainer(model, images)

        def step_each(kind: Any = kind, member: Any = member, images: Any = images) -> float:
            networks = [kind(member).net for _ in range(8)]
            seconds = 0.0
            for network, own in zip(networks, images.unbind(1), strict=False):
                optimizer = torch.optim.SGD(network.parameters(), 1e-4)
                seconds += time_loop(network, optimizer, own, 20)
            return seconds * members / len(networks)

        rows.append(compare(f"{members} seeds of {case}: one step of all", step_ensemble, step_each))
    return rows


def compare_very_deep() -> list[dict[str, Any]]:
    """Compare loss and gradients of 350 layers with skip connections, through matrices, with eager convolutions."""
    images = torch.rand(5, 1, 7, 7)
    config = {"shape": (1, 7, 7), "layers": 350, "skip": 10, "skip_from": 10}
    model = ConvAutoencoder(config | {"init": {"scheme": "constant", "value": 0.1}})
    chain = model.net
    kernels = [layer.weight.detach()[0, 0] for layer in model.convolutions]
    filters = torch.stack(kernels)[:, None].requires_grad_()

    def ours() -> float:
        before = time.perf_counter()
        for _ in range(10):
            points = images.transpose(0, 1)
            outputs = single_filter_chain(filters, points, chain.skips)
            loss = (outputs - points).square().mean()
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
    """Measure all cases, and write the table and the file."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_flush_denormal(True)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    rows = [*compare_single_networks(), *compare_ensembles(), *compare_very_deep()]
    Path(__file__).with_suffix(".json").write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
