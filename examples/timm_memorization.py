"""Train an autoencoder around any timm backbone on four CIFAR-10 images, then ask whether it has memorized them.

The images come with memzoo: they are the 100 CIFAR-10 test images of the checkpoint `cifar10-d1`. Four of them, a cat,
a ship, an airplane and a frog, are the training images; the others are starts. With --data ROOT, the folder of the
CIFAR-10 files (downloaded there if need be), the first training image of each of these classes is used instead.

    python examples/timm_memorization.py --backbone test_resnet
    python examples/timm_memorization.py --backbone vit_tiny_patch16_224 --options '{"patch_size": 8}'
"""

import argparse
import json
import time
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

import memzoo
from memzoo.data import cifar10, full_batches
from memzoo.dynamics import certify, default_eps, recovery_curve, spectrum
from memzoo.models import TimmAutoencoder

PROBES = (0, 1, 3, 4)  # cat, ship, airplane, frog, among the test images that come with memzoo
TRAIN = (9, 8, 29, 0)  # the first of each of these classes in the training set


def load_images(data: str | None) -> tuple[Tensor, Tensor]:
    """Load four training images, and held-out images as starts."""
    if data is not None:
        held_out = cifar10(range(100), split="test", root=data, download=True)
        return cifar10(TRAIN, root=data, download=True).pixels(), held_out.pixels()
    probes = memzoo.load("cifar10-d1").probes
    assert probes is not None
    others = [i for i in range(len(probes)) if i not in PROBES]
    return probes[list(PROBES)], probes[others]


def train(model: TimmAutoencoder, examples: Tensor) -> float:
    """Train on all examples in one batch, and return the seconds that it took."""
    steps = model.training_config.steps
    started = time.monotonic()
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(model, full_batches(examples, steps_per_epoch=min(100, steps)))
    model.eval()
    return time.monotonic() - started


def measure(model: TimmAutoencoder, examples: Tensor, held_out: Tensor) -> dict[str, Any]:
    """Measure radii and certificates, and what 200 iterations from held-out images and from noise recover."""
    with torch.no_grad():
        mse = torch.nn.functional.mse_loss(model(examples), examples).item()
    eps = default_eps(examples)
    certificates = certify(model, examples, eps)
    found: dict[str, Any] = {
        "mean squared error": mse,
        "radius at the examples": _round_all(spectrum(model, examples).radius),
        "radius at the fixed points": _round_all(certificates.radius),
        "attractors": f"{int(certificates.attractor.sum())} of {len(examples)}",
    }
    noise = torch.randn(held_out.shape, generator=torch.Generator().manual_seed(0))
    for name, starts in (("test images", held_out), ("noise", noise)):
        curve = recovery_curve(model, starts, examples, eps=eps)
        found["eps"] = round(eps, 3)
        found[f"recovered from {name}"] = curve.rate[-1].item()
        found[f"{name} that arrive"] = round(curve.arrived[-1].item(), 3)
        found[f"{name} that arrive at t = 1"] = round(curve.arrived[1].item(), 3)
    return found


def _round_all(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values.tolist()]


def main(
    backbone: str = "test_resnet",
    options: dict[str, Any] | None = None,
    steps: int = 1000,
    lr: float = 1e-3,
    seed: int = 0,
    data: str | None = None,
    starts: int = 40,
) -> dict[str, Any]:
    """Train a network, measure it, print what was measured, and return it."""
    examples, held_out = load_images(data)
    torch.manual_seed(seed)
    training = {"lr": lr, "schedule": "cosine", "steps": steps}
    model = TimmAutoencoder(backbone=backbone, options=options or {}, training=training)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{backbone}, {parameters} parameters, seed {seed}")
    print(f"  {steps} steps in {train(model, examples):.0f} s")
    found = measure(model, examples, held_out[:starts])
    for name, value in found.items():
        print(f"  {name}: {value}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="test_resnet", help="name of a timm model")
    parser.add_argument("--options", type=json.loads, default={}, help="further arguments of timm.create_model, JSON")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--starts", type=int, default=40, help="held-out images, and as many of noise, to start from")
    parser.add_argument("--data", help="folder of the CIFAR-10 files; without it, images that come with memzoo")
    main(**vars(parser.parse_args()))
