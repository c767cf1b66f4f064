"""Activation, initial values and optimizer: how many of ten MNIST images become attractors of each kind of network."""

from typing import Any

import torch
from torch import Tensor

from memzoo.figures.engine import WIDTH, Arrays, Figure, Material, Row, create_figure, report_number
from memzoo.zoo import Entry

EPS = 0.5  # largest distance of an attractor from its image, L2
LEARNED = 1e-3  # a network with a larger training loss has not learned its images
INITIAL_VALUES = {"xavier_uniform": "Xavier", "default": "PyTorch's own"}


def measure(material: Material) -> Arrays:
    """Measure the attractors and the loss of each network, (activations, initial values x optimizers, networks).

    The labels of the first two axes are the names ``activation/LABEL`` and ``column/LABEL``, with their positions.
    """
    cells = [_name_cell(material.entry(index)) for index in range(len(material))]
    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    members = len(material.measured().ensemble)
    count = torch.full((len(rows), len(columns), members), torch.nan)
    loss = count.clone()
    for (row, column), m in zip(cells, material.measure_all(), strict=True):
        cell = rows.index(row), columns.index(column)
        count[cell] = m.member_attractors(EPS).float()
        # axes are images, networks and pixels: the loss of a network is the mean over images and pixels
        squares = (m.outputs - m.examples).square().flatten(2)
        loss[cell] = squares.mean((0, 2))
    return {
        **{f"activation/{label}": torch.tensor(place) for place, label in enumerate(rows)},
        **{f"column/{label}": torch.tensor(place) for place, label in enumerate(columns)},
        "count": count,
        "loss": loss,
    }


def _name_cell(entry: Entry) -> tuple[str, str]:
    """Name the row and the column of an entry: its activation; its initial values and its optimizer."""
    member = entry.config["member"]
    init = INITIAL_VALUES[member["init"]["scheme"]]
    return member["activation"], f"{init}\n{entry.recipe.training.optimizer}"


def _list_labels(arrays: Arrays, axis: str) -> list[str]:
    return [name.removeprefix(axis) for name in arrays if name.startswith(axis)]


def draw(arrays: Arrays) -> Any:
    """Draw a cell for each recipe: the median number of attractors, its range over the networks, and the loss."""
    rows = _list_labels(arrays, "activation/")
    columns = _list_labels(arrays, "column/")
    figure = create_figure(WIDTH * 0.75, 0.55 * len(rows) + 0.9)
    axes = figure.subplots()
    median = arrays["count"].median(2).values
    # 14 for ten images: the scale ends at a blue on which black is legible
    axes.imshow(median.numpy(force=True), cmap="Blues", vmin=0, vmax=14, aspect="auto")
    for row in range(len(rows)):
        for column in range(len(columns)):
            _fill_cell(axes, row, column, arrays["count"][row, column], arrays["loss"][row, column])
    axes.set_xticks(range(len(columns)), columns, fontsize=7)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    return figure


def _fill_cell(axes: Any, row: int, column: int, count: Tensor, losses: Tensor) -> None:
    low = count.min()
    high = count.max()
    spread = f" ({low:.0f} to {high:.0f})" if low != high else ""
    loss = losses.median()
    text = f"{count.median():.0f}{spread}\nloss {loss:.0e}"
    # grey where the images were not learned, so that the count says nothing about attraction
    colour = "black" if loss < LEARNED else "0.45"
    axes.annotate(text, (column, row), ha="center", va="center", fontsize=7, color=colour)


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """List the facts of each cell, and tell which initial values gave more attractors."""
    found = []
    for index in range(len(material)):
        cell = ", ".join(_name_cell(material.entry(index))).replace("\n", ", ")
        found += material.rows(index, prefix=f"{cell}: ")
    columns = _list_labels(arrays, "column/")
    median = arrays["count"].median(2).values
    means = {}
    for init in dict.fromkeys(column.partition("\n")[0] for column in columns):
        chosen = [place for place, column in enumerate(columns) if column.startswith(f"{init}\n")]
        means[init] = median[:, chosen].mean().item()
        found.append(report_number(f"mean over activations and optimizers, {init} initial values", means[init]))
    more = means["Xavier"] > means["PyTorch's own"]
    found.append(Row("Xavier initial values give more attractors than PyTorch's own", "", str(more), more))
    return found


FIGURE = Figure(
    "activations",
    "Activation, initial values and optimizer: attractors among ten training images",
    measure,
    draw,
    rows=make_rows,
    caption="Median over three networks of 5 layers of 12 (and their range) of how many of ten MNIST images are "
    "certified attractors, and the median training loss; grey where the images were not learned.",
    notes=(
        "A question of the follow-up paper. Three networks a cell show a tendency, no more; one rate and one number "
        "of steps for each optimizer.",
    ),
)
