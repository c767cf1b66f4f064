"""Train one architecture on 20 and on many MNIST images, and audit both networks: the first gives its images away.

With the dataset, many are 20,000: `python examples/audit_mnist.py FOLDER`, where FOLDER holds torchvision's MNIST.
Without the dataset, it takes the images that come with memzoo; many are then a few hundred of the held-out images.
"""

import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import memzoo
from memzoo.auditing import Audit
from memzoo.data import full_batches, mnist, mnist20
from memzoo.models import FullyConnected

OUT = Path("audit")
FEW = 20
BATCH = 200


def main(steps: int = 8000, out: Path = OUT, root: Path | None = None) -> tuple[Audit, Audit]:
    """Train both networks for ``steps`` optimizer steps, write both reports to ``out``, and return both audits."""
    few, many, held_out = load_images(root)
    controls = held_out[:FEW]
    starts = held_out[FEW:]
    generator = torch.Generator().manual_seed(0)
    noise = many.mean() + many.std() * torch.randn(starts.shape, generator=generator)
    starts = torch.cat([starts, noise])
    audits = []
    for name, data in (("leaking", few), ("generalising", many)):
        model = train(data, steps)
        members = data[:: len(data) // FEW][:FEW]  # as many of both, so that the audits can be compared
        found = memzoo.audit(model, members, starts, controls=controls)
        folder = found.save(out / name)
        print(f"\nTrained on {len(data)} images: {found}\n  -> {folder / 'report.html'}")
        audits.append(found)
    return audits[0], audits[1]


def load_images(root: Path | None) -> tuple[Tensor, Tensor, Tensor]:
    """Load the few and the many training images, and 120 others."""
    examples, test = (selection.pixels() for selection in mnist20())
    if root is None:
        return examples, test[120:], test[:120]
    many = mnist(range(20_000), root=root).pixels()
    return examples, many, test[:120]


def train(data: Tensor, steps: int) -> FullyConnected:
    """Train 14 layers of 128 units; all images are in one batch where they are few."""
    seed_everything(4, verbose=False)
    if len(data) <= BATCH:
        loader = full_batches(data, steps_per_epoch=10)
        steps_per_batch = 100
    else:
        loader = DataLoader(TensorDataset(data), batch_size=BATCH, shuffle=True)
        steps_per_batch = 1
    training = {"lr": 1e-3, "steps": steps, "steps_per_batch": steps_per_batch}
    model = FullyConnected(depth=14, width=128, training=training)
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader)
    return model


if __name__ == "__main__":
    main(root=Path(sys.argv[1]) if len(sys.argv) > 1 else None)
