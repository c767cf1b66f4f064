"""Figure 6 of the paper: what D1 with leaky ReLU has learned so far is an attractor already, early in its training."""

from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import Certificates, certify
from memzoo.figures.engine import WIDTH, Arrays, Claim, Figure, Material, Row, report_number, stack_arrays
from memzoo.plotting import show_image

EPS = 1.2  # as in the facts at these steps
ANYWHERE = 1e6  # an eps that asks for no image nearby
STEPS = (500, 5000, None)  # optimizer steps; None is the end of training
LETTERS = "abcdefghij"  # names of the limits


def measure(material: Material) -> Arrays:
    """Measure the output for each training image and the limit of its orbit, after each of the steps.

    Of each limit: the distance from the image, the spectral radius, the first image that has the same limit, and
    whether the limit attracts.
    """
    moments = []
    for step in STEPS:
        m = material.measured(0, step)
        certificates = m.certificates(EPS)
        moments.append(
            {
                "outputs": m.outputs,
                "limits": certificates.points,
                "offset": certificates.offset,
                "radius": certificates.radius,
                "limit_of": certificates.limit_of,
                "attracts": find_attracting(m.model, certificates),
            }
        )
    recipe = material.entry().recipe
    steps = torch.tensor([step or recipe.training.steps for step in STEPS])
    return {
        "examples": material.measured().examples,
        "epoch": steps // recipe.steps_per_epoch,
        **stack_arrays(moments),
    }


def find_attracting(model: torch.nn.Module, found: Certificates) -> Tensor:
    """Find the limits (n,) that are certified attractors, however far from their images and shared by however many."""
    if found.attractor.all():
        return found.attractor
    # images that share a limit are represented by the first of them, else none would be certified
    first, limit = found.limit_of.unique(return_inverse=True)
    return certify(model, found.points[first], eps=ANYWHERE).attractor[limit]


def draw(arrays: Arrays) -> Any:
    """Draw a column for each training image: the image, then its output and its limit after each of the epochs."""
    import matplotlib.pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    lines = {"training image": arrays["examples"]}
    for index, epoch in enumerate(arrays["epoch"].tolist()):
        lines[f"epoch {epoch}\noutput"] = arrays["outputs"][index]
        lines[f"epoch {epoch}\nlimit"] = arrays["limits"][index]
    # 70 images: the usual room between axes would take most of the page
    close = ConstrainedLayoutEngine(hspace=0.01, wspace=0.01, h_pad=0.01, w_pad=0.02)
    figure = plt.figure(figsize=(WIDTH, 6.4), layout=close)
    grid = figure.subplots(len(lines), len(arrays["examples"]))
    for row, (label, images) in zip(grid, lines.items(), strict=True):
        for axes, image in zip(row, images, strict=True):
            show_image(axes, image)
        row[0].set_ylabel(label, fontsize=7)
    for index in range(len(STEPS)):
        for axes, text in zip(grid[2 * index + 2], _describe_limits(arrays, index), strict=True):
            axes.set_xlabel(text, fontsize=6.5, labelpad=2)
    return figure


def _describe_limits(arrays: Arrays, index: int) -> list[str]:
    """Describe each limit: its letter (with a star if it attracts), distance from the image, and spectral radius."""
    limits = arrays["limit_of"][index].tolist()
    letters = dict(zip(dict.fromkeys(limits), LETTERS, strict=False))
    texts = []
    for image, limit in enumerate(limits):
        star = "*" if arrays["attracts"][index, image] else ""
        offset = arrays["offset"][index, image].item()
        digits = 1 if offset >= 1 else 2
        radius = arrays["radius"][index, image].item()
        texts.append(f"{letters[limit]}{star}  {offset:.{digits}f}\n$\\rho$ = {radius:.2f}")
    return texts


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """Count for each epoch the limits that attract, measure how far outputs are from them, and list the facts."""
    name = material.names[0]
    found = []
    for index, epoch in enumerate(arrays["epoch"].tolist()):
        distinct = arrays["limit_of"][index].unique()
        count = len(distinct)
        attracting = int(arrays["attracts"][index][distinct].sum())
        quantity = f"epoch {epoch}: limits of the training images that attract"
        found.append(Row(quantity, "all", f"{attracting} of {count}", attracting == count, name, "all"))
        gaps = arrays["outputs"][index] - arrays["limits"][index]
        distances = gaps.double().flatten(1).norm(dim=1)
        quantity = f"epoch {epoch}: median distance of outputs from these limits, L2"
        found.append(report_number(quantity, distances.median().item(), name))
    return [*found, *material.rows(choose=lambda fact: fact.step is not None)]


FIGURE = Figure(
    "fig6",
    "Figure 6: what the network has learned so far is an attractor already, after 100 and after 1000 epochs",
    measure,
    draw,
    checkpoints=lambda: ["cifar10-d1-leaky"],
    rows=make_rows,
    claims={"largest spectral radius at these limits": Claim(most=0.999999, paper="attractors")},
    caption="A column a training image: the image, then after each of the epochs what the network makes of it (output) "
    "and where iteration from it ends (limit). Below each limit: its letter, the same for images that share one, with "
    "a star where it is certified to attract; its distance from the image, L2; its spectral radius.",
    notes=(
        "After 100 epochs the ten images end at fewer points than ten, all attracting and all far from the images: "
        "what is learned so far is an attractor, but no image yet. After 1000 epochs each image has one of its own.",
    ),
)
