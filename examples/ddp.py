"""Train in two processes: the callbacks share the examples and starts among them, and both log the same values.

python examples/ddp.py [--epochs 300] [--out history.json]
"""

import argparse
import json
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping
from torch.utils.data import DataLoader, TensorDataset

from memzoo.callbacks import AttractorCallback
from memzoo.data import mnist20
from memzoo.models import FullyConnected


def main(epochs: int = 300, out: Path | None = None) -> AttractorCallback:
    """Train on 20 images, ten in each process, in batches of five."""
    seed_everything(0, verbose=False)
    images, held_out = (selection.pixels() for selection in mnist20())
    model = FullyConnected(depth=6, width=128, activation="relu", init={"scheme": "xavier_uniform"})
    watch = AttractorCallback(starts=held_out[:200], every_n_epochs=max(1, epochs // 6))
    trainer = Trainer(
        max_epochs=epochs,
        callbacks=[EarlyStopping("attractor/fraction", mode="max", patience=epochs), watch],
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(TensorDataset(images), batch_size=5, shuffle=True))
    if trainer.is_global_zero:
        alone = watch.measure(model)  # the same measurement by one process
        print(json.dumps({"two processes": watch.history[-1], "one": alone}, indent=2))
        if out is not None:
            out.write_text(json.dumps({"history": watch.history, "alone": alone}))
    return watch


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    main(arguments.epochs, arguments.out)
