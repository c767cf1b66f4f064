# %% [markdown]
# # Recover training images from a network
#
# This tutorial runs as a script (`python examples/tutorial.py`) and as a notebook (`examples/tutorial.ipynb`, the same
# cells). It takes about a minute, needs no dataset and no network, and writes its pictures to the folder `tutorial`.

# %%
from pathlib import Path

import torch
from lightning.pytorch import Trainer

import memzoo
from memzoo.callbacks import AttractorCallback
from memzoo.data import full_batches, gaussian_noise
from memzoo.dynamics import certify, iterate, nearest, recovery_curve
from memzoo.figures import draw_trajectories

OUT = Path("tutorial")
OUT.mkdir(exist_ok=True)

# %% [markdown]
# ## 1. Load a checkpoint
#
# `mnist20-fc14x128` is the network of Figure 3b of the paper: 14 layers, trained to reproduce 20 MNIST images. The
# images travel with it (`examples`), and so do 1000 test images that it never saw (`probes`).

# %%
model = memzoo.load("mnist20-fc14x128")
examples = model.examples
probes = model.probes
assert examples is not None and probes is not None  # noqa: PT018, they travel with every checkpoint of the zoo
print(f"{len(examples)} training images, {len(probes)} test images of shape {tuple(model.shape)}")

# %% [markdown]
# ## 2. Iterate it from noise
#
# The network is a map from images to images. Apply it again and again to something that is no image at all.

# %%
noise = gaussian_noise(6, model.shape, mean=0.5, std=0.5, seed=0)
orbit = iterate(model, noise, steps=200)
found = nearest(orbit.points, examples)
for start, (index, distance) in enumerate(zip(found.index, found.distance, strict=True)):
    print(f"noise {start} ends {distance:.1e} from training image {index}")

picture = draw_trajectories(model, noise, examples)
picture.savefig(OUT / "from_noise.png", dpi=150)

# %% [markdown]
# Every row began as noise and became one of the 20 training images.
#
# ## 3. Read the certificate
#
# A short distance proves nothing: an orbit can pass by, or creep. `certify` finds the true fixed point near each image
# and computes the spectral radius of the Jacobian there, with an error bound. An *attractor* is a fixed point within
# `eps` of the image, shared with no other image, whose radius is below 1 beyond that bound.

# %%
certificates = certify(model, examples)
print(certificates)

# %%
row = 0
print(f"image {row}: its fixed point lies {certificates.offset[row]:.1e} away (pixels in [0, 1], L2),")
print(f"and the spectral radius there is {certificates.radius[row]:.3f}, so it attracts all that is near")

# %% [markdown]
# How fast do held-out images arrive, and are all training images reached? The recovery probability R_t of the paper:

# %%
curve = recovery_curve(model, probes, examples, steps=200)
for t in (1, 2, 5, 10, 50, 200):
    recovered = f"{curve.rate[t]:4.0%} of the training images recovered"
    print(f"t = {t:3}: {recovered}, {curve.arrived[t]:6.1%} of starts arrived")

# %% [markdown]
# ## 4. The same on a model of your own
#
# Any LightningModule will do whose `forward` maps a batch to one of the same shape. Here it is a network that is small
# enough to train while you wait, on ten of the images. `AttractorCallback` measures during the training and changes
# nothing in it: your weights are bit for bit those that you would have had without it.

# %%
few = examples[:10]
starts = probes[:200]
torch.manual_seed(0)
mine = memzoo.models.FullyConnected(shape=model.shape, depth=8, width=64, training={"lr": 1e-3, "steps": 3000})
watch = AttractorCallback(starts=starts)
trainer = Trainer(
    max_steps=3000,
    max_epochs=-1,
    callbacks=[watch],
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(mine, full_batches(few, steps_per_epoch=100))

# %%
mine.eval()
print(certify(mine, few))
picture = draw_trajectories(mine, starts[:6], few)
picture.savefig(OUT / "mine.png", dpi=150)

# %% [markdown]
# ## Where to go from here
#
# - Your own autoencoder: `Trainer(callbacks=[AttractorCallback()])`, or `memzoo audit` for one that is trained already.
# - The figures of the paper: `memzoo reproduce --all --out report`.
# - Which measure answers which question: `docs/measures.md`.
