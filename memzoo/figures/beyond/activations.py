"""Activation, initial values and optimizer: how many of ten MNIST images become attractors."""

from typing import Any, cast

import torch

from memzoo.figures.engine import WIDTH, Arrays, Figure, Material, Row
from memzoo.models import Ensemble
from memzoo.zoo import Entry

EPS = 0.5
LEARNED = 1e-3  # a training loss above which a network has not learned its images


def arrays(material: Material) -> Arrays:
    """Counts and losses, (activations, initial values x optimizers, networks), and which labels they have."""
    keys = [_key(material.entry(index)) for index in range(len(material))]
    activations = list(dict.fromkeys(activation for activation, _ in keys))
    others = list(dict.fromkeys(other for _, other in keys))
    members = len(cast(Ensemble, material.model()))
    count = torch.full((len(activations), len(others), members), torch.nan)
    loss = count.clone()
    for index, (activation, other) in enumerate(keys):
        m, at = material.measured(index), (activations.index(activation), others.index(other))
        count[at] = m.member_attractors(EPS).float()
        loss[at] = (m.outputs - m.examples).square().flatten(2).mean((0, 2))
    labels = {f"activation/{name}": torch.tensor(row) for row, name in enumerate(activations)}
    return {
        **labels,
        **{f"column/{name}": torch.tensor(i) for i, name in enumerate(others)},
        "count": count,
        "loss": loss,
    }


def _key(entry: Entry) -> tuple[str, str]:
    member, training = entry.config["member"], entry.recipe.training
    init = {"xavier_uniform": "Xavier", "default": "PyTorch's own"}[member["init"]["scheme"]]
    return member["activation"], f"{init}\n{training.optimizer}"


def rows(material: Material, arrays: Arrays) -> list[Row]:
    """The facts of each cell, and which initial values gave more."""
    found = []
    for index in range(len(material)):
        activation, other = _key(material.entry(index))
        found += material.rows(index, prefix=f"{activation}, {other.replace(chr(10), ', ')}: ")
    columns = [name.removeprefix("column/") for name in arrays if name.startswith("column/")]
    median = arrays["count"].median(2).values
    mean = {}
    for init in dict.fromkeys(name.partition("\n")[0] for name in columns):
        chosen = [i for i, name in enumerate(columns) if name.partition("\n")[0] == init]
        mean[init] = median[:, chosen].mean().item()
        found.append(Row(f"mean over activations and optimizers, {init} initial values", "", mean[init], None))
    more = mean["Xavier"] > mean["PyTorch's own"]
    found.append(Row("Xavier initial values give more attractors than PyTorch's own", "", str(more), more))
    return found


def draw(arrays: Arrays) -> Any:
    """A cell a recipe: the median number of attractors, the range over the networks, and the loss."""
    import matplotlib.pyplot as plt

    activations = [name.partition("/")[2] for name in arrays if name.startswith("activation/")]
    columns = [name.partition("/")[2] for name in arrays if name.startswith("column/")]
    count, loss = arrays["count"], arrays["loss"].median(2).values
    median = count.median(2).values
    figure, axes = plt.subplots(figsize=(WIDTH * 0.75, 0.55 * len(activations) + 0.9), layout="constrained")
    axes.imshow(
        median.numpy(force=True), cmap="Blues", vmin=0, vmax=14, aspect="auto"
    )  # ends at a blue on which black is legible
    for row in range(len(activations)):
        for column in range(len(columns)):
            low, high = count[row, column].min(), count[row, column].max()
            spread = f" ({low:.0f} to {high:.0f})" if low != high else ""
            learned = loss[row, column] < LEARNED
            text = f"{median[row, column]:.0f}{spread}\nloss {loss[row, column]:.0e}"
            axes.annotate(
                text, (column, row), ha="center", va="center", fontsize=7, color="black" if learned else "0.45"
            )
    axes.set_xticks(range(len(columns)), columns, fontsize=7)
    axes.set_yticks(range(len(activations)), activations, fontsize=8)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    return figure


FIGURE = Figure(
    "activations",
    "Activation, initial values and optimizer: attractors among ten training images",
    arrays,
    draw,
    rows=rows,
    caption="Median over three networks of 5 layers of 12 (and their range) of how many of ten MNIST images are "
    "certified attractors, and the median training loss; grey where the images were not learned.",
    notes=(
        "A question of the follow-up paper. Three networks a cell show a tendency, no more; one rate and one number "
        "of steps for each optimizer.",
    ),
)
