"""Figure 6: what network D1 with leaky ReLU has learned so far is an attractor already, early in its training."""

from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import Certificates, certify
from memzoo.figures.engine import WIDTH, Arrays, Claim, Figure, Material, Row
from memzoo.plotting import show_image

EPS = 1.2  # of the facts at these steps
ANYWHERE = 1e6  # an eps that asks for no image nearby
STEPS = (500, 5000, None)
LETTERS = "abcdefghij"


def arrays(material: Material) -> Arrays:
    """Of each training image after each of the steps: output, limit of its orbit, distance, radius, shared limits."""
    names = ("outputs", "limits", "offset", "radius", "limit_of", "attracts")
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for step in STEPS:
        m = material.measured(0, step)
        c = m.certificates(EPS)
        attracts = attracting(m.model, c)
        for name, value in zip(names, (m.outputs, c.points, c.offset, c.radius, c.limit_of, attracts), strict=True):
            found[name].append(value)
    training = material.entry().recipe
    at = torch.tensor([training.training.steps if step is None else step for step in STEPS])
    return {
        "examples": material.measured().examples,
        "epoch": at // training.steps_per_epoch,
        **{name: torch.stack(values) for name, values in found.items()},
    }


def attracting(model: torch.nn.Module, found: Certificates) -> Tensor:
    """Whether each limit is a certified attractor, (n,), however far from its image and shared by however many."""
    if found.attractor.all():
        return found.attractor
    first, limit = found.limit_of.unique(return_inverse=True)
    return certify(model, found.points[first], eps=ANYWHERE).attractor[limit]


def rows(material: Material, arrays: Arrays) -> list[Row]:
    """Of each epoch: limits that attract, of the distinct ones, how far outputs are from them, and the facts."""
    found = []
    for index in range(len(STEPS)):
        first = arrays["limit_of"][index].unique()
        attracting, count = int(arrays["attracts"][index][first].sum()), len(first)
        epoch, name = int(arrays["epoch"][index]), material.names[0]
        gap = (arrays["outputs"][index] - arrays["limits"][index]).double().flatten(1).norm(dim=1).median().item()
        found += [
            Row(
                f"epoch {epoch}: limits of the training images that attract",
                "all",
                f"{attracting} of {count}",
                attracting == count,
                name,
                "all",
            ),
            Row(f"epoch {epoch}: median distance of outputs from these limits, L2", "", gap, None, name),
        ]
    return [*found, *material.rows(choose=lambda fact: fact.step is not None)]


def draw(arrays: Arrays) -> Any:
    """A column a training image: the image, then its output and its limit after each of the epochs."""
    import matplotlib.pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    count = len(arrays["examples"])
    images, labels = [arrays["examples"]], ["training image"]
    for index, epoch in enumerate(arrays["epoch"].tolist()):
        images += [arrays["outputs"][index], arrays["limits"][index]]
        labels += [f"epoch {epoch}\noutput", f"epoch {epoch}\nlimit"]
    close = ConstrainedLayoutEngine(hspace=0.01, wspace=0.01, h_pad=0.01, w_pad=0.02)
    figure = plt.figure(figsize=(WIDTH, 6.4), layout=close)
    grid = figure.subplots(len(images), count)
    for row, (line, label) in enumerate(zip(images, labels, strict=True)):
        for axes, image in zip(grid[row], line, strict=True):
            show_image(axes, image)
        grid[row, 0].set_ylabel(label, fontsize=7)
    for index in range(len(STEPS)):
        for axes, text in zip(grid[2 * index + 2], _below(arrays, index), strict=True):
            axes.set_xlabel(text, fontsize=6.5, labelpad=2)
    return figure


def _below(arrays: Arrays, index: int) -> list[str]:
    """Letter of the limit (a star where it attracts), distance from the image, and spectral radius."""
    limits = arrays["limit_of"][index].tolist()
    letters = dict(zip(dict.fromkeys(limits), LETTERS, strict=False))
    rows = zip(limits, arrays["offset"][index], arrays["radius"][index], arrays["attracts"][index], strict=True)
    return [
        f"{letters[limit]}{'*' if attracts else ''}  {offset:.{1 if offset >= 1 else 2}f}\n" + rf"$\rho$ = {radius:.2f}"
        for limit, offset, radius, attracts in rows
    ]


FIGURE = Figure(
    "fig6",
    "Figure 6: what the network has learned so far is an attractor already, after 100 and after 1000 epochs",
    arrays,
    draw,
    checkpoints=lambda: ["cifar10-d1-leaky"],
    rows=rows,
    claims={"largest spectral radius at these limits": Claim(most=0.999999, paper="attractors")},
    caption="A column a training image: the image, then after each of the epochs what the network makes of it (output) "
    "and where iteration from it ends (limit). Below each limit: its letter, the same for images that share one, with "
    "a star where it is certified to attract; its distance from the image, L2; its spectral radius.",
    notes=(
        "After 100 epochs the ten images end at fewer points than ten, all attracting and all far from the images: "
        "what is learned so far is an attractor, but no image yet. After 1000 epochs each image has one of its own.",
    ),
)
