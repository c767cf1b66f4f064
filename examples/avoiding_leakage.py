"""Train a network that must not leak its training images: stop before they are memorized, and check from outside.

The same network is trained twice on the same 20 images, once to the end and once with ``StopBeforeMemorized``. Both are
then audited: can the training images be recovered by iterating the network, and can as many images that it never saw?

    python examples/avoiding_leakage.py
"""

import torch
from lightning.pytorch import Callback, Trainer

import memzoo
from memzoo.auditing import Audit
from memzoo.callbacks import AttractorCallback, StopBeforeMemorized
from memzoo.data import full_batches, mnist20
from memzoo.models import FullyConnected


def main(steps: int = 3000) -> dict[str, Audit]:
    """Train both networks, audit them, and return both reports."""
    images, held_out = (selection.pixels() for selection in mnist20())
    controls = held_out[:20]
    starts = held_out[20:]
    reports = {}
    for name, rule in (("to the end", []), ("stopped before", [StopBeforeMemorized()])):
        torch.manual_seed(0)
        model = FullyConnected(depth=7, width=128, activation="relu", init={"scheme": "xavier_uniform"})
        watch = AttractorCallback(starts=starts[:200], every_n_steps=25, verbose=False)
        callbacks: list[Callback] = [watch, *rule]
        trainer = Trainer(
            max_steps=steps,
            max_epochs=-1,
            callbacks=callbacks,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, full_batches(images, steps_per_epoch=25))
        reports[name] = memzoo.audit(model, images, starts, controls=controls)
        error = torch.nn.functional.mse_loss(model(images), images).item()
        print(f"\n{name}: {watch.stopping_reason}; mean squared error {error:.1e}\n{reports[name]}")
    return reports


if __name__ == "__main__":
    main()
