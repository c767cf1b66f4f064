"""One architecture trained on 20 and on many MNIST images, and both audited: the first gives its images away.

With the dataset, many are 20,000: `python examples/audit_mnist.py FOLDER`, where FOLDER holds torchvision's MNIST.
Without, it takes the images that come with memzoo, and many are a few hundred of its held-out ones.
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
FEW, BATCH = 20, 200


def main(steps: int = 8000, out: Path = OUT, root: Path | None = None) -> tuple[Audit, Audit]:
    """Train both for ``steps`` optimizer steps, write both reports to ``out``, return both audits."""
    few, many, held_out = images(root)
    controls, starts = held_out[:FEW], held_out[FEW:]
    generator = torch.Generator().manual_seed(0)
    noise = many.mean() + many.std() * torch.randn(starts.shape, generator=generator)
    audits = []
    for name, trained_on in (("leaking", few), ("generalising", many)):
        model = train(trained_on, steps)
        members = trained_on[:: len(trained_on) // FEW][:FEW]
        found = memzoo.audit(model, members, torch.cat([starts, noise]), controls=controls)
        folder = found.save(out / name)
        print(f"\nTrained on {len(trained_on)} images: {found}\n  -> {folder / 'report.html'}")
        audits.append(found)
    return audits[0], audits[1]


def images(root: Path | None) -> tuple[Tensor, Tensor, Tensor]:
    """The few and the many training images, and 120 others."""
    examples, test = (selection.pixels() for selection in mnist20())
    if root is None:
        return examples, test[120:], test[:120]
    many = mnist(range(20_000), root=root).pixels()
    return examples, many, test[:120]


def train(data: Tensor, steps: int) -> FullyConnected:
    """14 layers of 128 units; all images at once where they are few."""
    seed_everything(4, verbose=False)
    few = len(data) <= BATCH
    model = FullyConnected(
        depth=14, width=128, training={"lr": 1e-3, "steps": steps, "steps_per_batch": 100 if few else 1}
    )
    whole = full_batches(data, steps_per_epoch=10)
    loader = whole if few else DataLoader(TensorDataset(data), batch_size=BATCH, shuffle=True)
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
