"""Train an autoencoder on 20 images until every one is an attractor, then recover the images from the network.

The demo uses only what comes with memzoo: 20 MNIST training images, and 1000 test images to start from.
"""

from pathlib import Path

import torch
from lightning.pytorch import Trainer

import memzoo
from memzoo.callbacks import AttractorCallback
from memzoo.data import full_batches, mnist20
from memzoo.figures import draw_trajectories

OUT = Path("demo")


def main(steps: int = 10_000, out: Path = OUT) -> dict[str, float]:
    """Train for ``steps`` full-batch steps, write the pictures to ``out``, and return the last measurement."""
    images, held_out = (selection.pixels() for selection in mnist20())
    noise = torch.randn(held_out.shape, generator=torch.Generator().manual_seed(0))

    # 14 layers of 128 units, Xavier weights and zero biases; the training images are shown all at once
    model = memzoo.create("mnist20-fc14x128", seed=4)
    watch = AttractorCallback(starts=torch.cat([held_out, noise]), every_n_epochs=max(1, steps // 500))
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        callbacks=[watch],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(model, full_batches(images, steps_per_epoch=min(100, steps)))

    out.mkdir(exist_ok=True)
    starts = torch.cat([held_out[:4], noise[:2]])
    picture = draw_trajectories(model.eval(), starts, images)
    picture.savefig(out / "trajectories.png", dpi=200)
    watch.plot().savefig(out / "history.png", dpi=150)
    last = watch.history[-1]
    attractors = last["attractor/fraction"] * len(images)
    print(f"\n{attractors:.0f} of {len(images)} training images are certified attractors;")
    print(f"{last['attractor/recovered']:.0%} of them are reached from held-out images and noise in 200 iterations.")
    print(f"Pictures: {out / 'trajectories.png'} and {out / 'history.png'}")
    return last


if __name__ == "__main__":
    main()
