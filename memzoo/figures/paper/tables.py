"""Tables 1 and 2 of the paper: spectra of linear convolutional networks.

A row is a checkpoint, an ensemble of networks, each of which was trained on its own draw of the images.
"""

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from memzoo.dynamics import bracket_notation
from memzoo.figures.engine import (
    BLUE,
    VERMILION,
    WIDTH,
    Arrays,
    Figure,
    Material,
    Row,
    add_legend,
    create_figure,
    tidy,
)
from memzoo.models import ConvAutoencoder, Ensemble
from memzoo.zoo import Fact, info, list_models


def list_checkpoints(table: str) -> list[str]:
    """List the ids of the rows of a table, in the order of their aliases ``table2-1``, ``table2-2``, ..."""
    prefix = f"{table}-"
    found = {}
    for id in list_models(figure=table):
        aliases = [alias for alias in info(id).aliases if alias.startswith(prefix)]
        found |= {int(alias.removeprefix(prefix)): id for alias in aliases}
    return [found[number] for number in sorted(found)]


def measure(table: str, material: Material) -> Arrays:
    """Measure the moduli of all draws of each row, largest first, and list its images and the paper's bound."""
    found: Arrays = {}
    counts = []
    bounds = []
    for index, m in enumerate(material.measure_all()):
        found[_describe_network(m.ensemble)] = m.moduli
        counts.append(len(m.examples))
        fact = find_claim(material, index)
        bounds.append(fact.args["below"] if table == "table2" else cast(float, fact.paper))
    return {**found, "examples": torch.tensor(counts), "bound": torch.tensor(bounds)}


def find_claim(material: Material, index: int) -> Fact:
    """Find what the row of the paper states: the first fact of the entry."""
    return material.entry(index).facts[0]


def _describe_network(ensemble: Ensemble) -> str:
    member = cast(ConvAutoencoder, ensemble.template)
    config = member.config
    side = config.shape[-1]
    count = _count_images(ensemble)
    images = "images" if count > 1 else "image"
    filters = f" x {config.filters} filters" if config.filters > 1 else ""
    parameters = sum(parameter.numel() for parameter in member.parameters())
    return f"{side}x{side}, {count} {images}, {config.layers} layers{filters}, {parameters} parameters"


def _count_images(ensemble: Ensemble) -> int:
    assert ensemble.examples is not None
    return len(ensemble.examples)


def _list_networks(arrays: Arrays) -> list[tuple[str, Tensor]]:
    """List the descriptions of the networks with the moduli of their draws."""
    return [(name, x) for name, x in arrays.items() if name not in ("examples", "bound")]


def draw(table: str, arrays: Arrays) -> Any:
    """Draw a row for each network: the moduli of every draw, and the paper's bound or value."""
    networks = _list_networks(arrays)
    figure = create_figure(WIDTH, 0.36 * len(networks) + 1.1)
    axes = figure.subplots()
    for y, (_, moduli) in enumerate(networks):
        # the n largest eigenvalues belong to the n images
        count = int(arrays["examples"][y])
        _draw_moduli(axes, y, moduli[:, :count], VERMILION, "first n")
        _draw_moduli(axes, y, moduli[:, count:], BLUE, "others")
        bound = arrays["bound"][y].item()
        label = "_" if y else "paper"  # a label that begins with _ is left out of the legend
        axes.plot([bound, bound], [y - 0.4, y + 0.4], color="0.2", lw=1.2, label=label)
    axes.set_yticks(range(len(networks)), [name for name, _ in networks])
    axes.invert_yaxis()
    axes.set_xlabel("|eigenvalue|")
    if table == "table2":
        axes.set_xscale("log")
        axes.set_xlabel("|eigenvalue|, at least 1e-12")
    tidy(axes)
    add_legend(axes, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=3)
    return figure


def _draw_moduli(axes: Any, y: int, moduli: Tensor, colour: str, label: str) -> None:
    """Draw the moduli of all draws around the height ``y``; only the first row has a label in the legend."""
    # the draws of a row are spread over its height, so that equal moduli do not hide each other
    spread = torch.linspace(-0.22, 0.22, len(moduli))[:, None]
    heights = (y + spread).expand_as(moduli).flatten()
    values = moduli.clamp(min=1e-12).flatten()  # a zero has no place on a logarithmic axis
    style = {"ms": 3, "mew": 0, "alpha": 0.6, "color": colour}
    axes.plot(values, heights, "o", label="_" if y else label, **style)


def make_rows(table: str, material: Material, arrays: Arrays) -> list[Row]:
    """Compare the medians over the draws, and their range, with each row of the paper.

    A row of Table 1 holds if the medians of the first three eigenvalues are within .1 of the paper's; a row of
    Table 2 holds if the spectra of four draws in five are within the bracket of the paper.
    """
    found = []
    for index, (network, moduli) in enumerate(_list_networks(arrays)):
        fact = find_claim(material, index)
        value = material.value(index, fact)
        if table == "table1":
            leading = (moduli.median(0).values[:2] - 1).abs().max().item()
            holds = abs(value - cast(float, fact.paper)) <= 0.1 and leading <= 0.1
            paper = f"1, 1, {fact.paper:.2f}, ..."
            needed = "each of the three within .1"
        else:
            holds = value >= 0.8 * len(moduli)  # the value counts the draws within the bracket
            paper = str(fact.paper)
            needed = "four draws in five within the bracket"
        spectrum = _describe_spectrum(table, material.measured(index).ensemble, moduli)
        found.append(Row(network, paper, spectrum, holds, material.names[index], needed))
    return found


def _describe_spectrum(table: str, ensemble: Ensemble, moduli: Tensor) -> str:
    """Describe the median over the draws in the notation of the paper, and the range of what the claim is about."""
    count = _count_images(ensemble)
    median = moduli.median(0).values
    decisive = moduli[:, count]  # the largest eigenvalue that has no image of its own
    low = decisive.min().item()
    high = decisive.max().item()
    draws = len(moduli)
    fitted = int((ensemble.stopped_at >= 0).sum())
    if table == "table1":
        leading = ", ".join(f"{value:.2f}" for value in median[: count + 1].tolist())
        return f"{leading}, ... (third {low:.2g} to {high:.2g} in {draws} draws, {fitted} at the loss)"
    bracket = bracket_notation(median, count)
    return f"{bracket} (rest {low:.1e} to {high:.1e} in {draws} draws, {fitted} at the loss)"


def _create_table(name: str, title: str, caption: str, *notes: str) -> Figure:
    return Figure(
        name,
        title,
        partial(measure, name),
        partial(draw, name),
        partial(list_checkpoints, name),
        partial(make_rows, name),
        caption=caption,
        notes=notes,
    )


TABLE1 = _create_table(
    "table1",
    "Table 1: too few layers do not memorize two images (third eigenvalue)",
    "Every draw of the two images: the two largest eigenvalues (vermilion) and all others. Black: the paper's third "
    "eigenvalue.",
    "The rows printed as two layers have the parameter counts of three; both are here, beside the paper's value.",
    "The largest eigenvalue of a network of two or three layers may be above 1 and belong to no image: those of the "
    "two images are 1, and what fits both leaves others free. The third, the point of the table, is that of the paper.",
)
TABLE2 = _create_table(
    "table2",
    "Table 2: with ceil(s^4 / 9) layers one filter each memorizes (all eigenvalues but the first n)",
    "Every draw of the images: the eigenvalues that belong to them (vermilion) and all others. Black: the paper's "
    "bound on these.",
    "The rows with several images fall short: one 3x3 filter a layer reaches the loss at which training ends in few "
    "draws. The paper gives no distribution of the images; ours are normal, and each row is several draws of them.",
)
