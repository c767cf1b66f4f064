"""Tables 1 and 2: spectra of linear convolutional networks, a checkpoint a row, several draws of the images in each."""

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from memzoo.dynamics import bracket_notation
from memzoo.figures.engine import BLUE, VERMILION, WIDTH, Arrays, Figure, Material, Row, key, tidy
from memzoo.models import ConvAutoencoder, Ensemble
from memzoo.zoo import Fact, info, list_models


def checkpoints(table: str) -> list[str]:
    """Ids of a table's rows, in the order of their aliases ``table2-1``, ``table2-2``, ..."""
    prefix = f"{table}-"
    found = {alias: id for id in list_models(figure=table) for alias in info(id).aliases if alias.startswith(prefix)}
    return [found[alias] for alias in sorted(found, key=lambda alias: int(alias.removeprefix(prefix)))]


def arrays(table: str, material: Material) -> Arrays:
    """Per row the moduli of each draw, largest first, how many belong to images, and the paper's bound or value."""
    ensembles = [cast(Ensemble, material.model(index)) for index in range(len(material))]
    facts = [claim(material, index) for index in range(len(material))]
    bounds = [fact.args["below"] if table == "table2" else cast(float, fact.paper) for fact in facts]
    moduli = {_network(e): material.measured(i).moduli for i, e in enumerate(ensembles)}
    counts = [len(cast(Tensor, e.examples)) for e in ensembles]
    return {**moduli, "examples": torch.tensor(counts), "bound": torch.tensor(bounds)}


def rows(table: str, material: Material, arrays: Arrays) -> list[Row]:
    """Medians over the draws, and their range.

    A row of Table 1 holds where the medians of the first three eigenvalues are within .1 of the paper's, one of Table 2
    where the spectra of four draws in five are within the paper's bracket.
    """
    found = []
    for index, (network, moduli) in enumerate(_by_network(arrays)):
        fact = claim(material, index)
        measured = material.value(index, fact)
        if table == "table1":
            leading = (moduli.median(0).values[:2] - 1).abs().max().item()
            holds = abs(measured - cast(float, fact.paper)) <= 0.1 and leading <= 0.1
            paper, needed = f"1, 1, {fact.paper:.2f}, ...", "each of the three within .1"
        else:
            holds = measured >= 0.8 * len(moduli)
            paper, needed = str(fact.paper), "four draws in five within the bracket"
        ensemble = cast(Ensemble, material.model(index))
        spectrum = _spectrum(table, ensemble, moduli)
        found.append(Row(network, paper, spectrum, holds, material.names[index], needed))
    return found


def claim(material: Material, index: int) -> Fact:
    """What the paper's row states: the first fact of the entry."""
    return material.entry(index).facts[0]


def _by_network(arrays: Arrays) -> list[tuple[str, Tensor]]:
    return [(name, x) for name, x in arrays.items() if name not in ("examples", "bound")]


def _network(ensemble: Ensemble) -> str:
    member = cast(ConvAutoencoder, ensemble.template)
    config = member.config
    assert ensemble.examples is not None
    parameters = sum(parameter.numel() for parameter in member.parameters())
    side, count = config.shape[-1], len(ensemble.examples)
    filters = f" x {config.filters} filters" if config.filters > 1 else ""
    return f"{side}x{side}, {count} image{'s' * (count > 1)}, {config.layers} layers{filters}, {parameters} parameters"


def _spectrum(table: str, ensemble: Ensemble, moduli: Tensor) -> str:
    """Median over the draws in the paper's notation, then the range of what the claim is about."""
    assert ensemble.examples is not None
    count = len(ensemble.examples)
    median, draws = moduli.median(0).values, len(moduli)
    decisive = moduli[:, count]  # the largest eigenvalue that has no image of its own
    low, high = decisive.min().item(), decisive.max().item()
    fit = f"{int((ensemble.stopped_at >= 0).sum())} at the loss"
    if table == "table1":
        shown = ", ".join(f"{value:.2f}" for value in median[: count + 1].tolist())
        return f"{shown}, ... (third {low:.2g} to {high:.2g} in {draws} draws, {fit})"
    return f"{bracket_notation(median, count)} (rest {low:.1e} to {high:.1e} in {draws} draws, {fit})"


def draw(table: str, arrays: Arrays) -> Any:
    """A row a network: every draw's moduli, and where the paper has its bound or value."""
    import matplotlib.pyplot as plt

    networks, log = _by_network(arrays), table == "table2"
    figure = plt.figure(figsize=(WIDTH, 0.36 * len(networks) + 1.1), layout="constrained")
    axes = figure.subplots()
    for y, (_, values) in enumerate(networks):
        count, bound = int(arrays["examples"][y]), arrays["bound"][y].item()
        spread = torch.linspace(-0.22, 0.22, len(values))[:, None]
        for part, colour, label in ((values[:, :count], VERMILION, "first n"), (values[:, count:], BLUE, "others")):
            axes.plot(
                part.clamp(min=1e-12).flatten(),
                (y + spread).expand_as(part).flatten(),
                "o",
                ms=3,
                alpha=0.6,
                mew=0,
                color=colour,
                label=label if y == 0 else None,
            )
        axes.plot([bound, bound], [y - 0.4, y + 0.4], color="0.2", lw=1.2, label="paper" if y == 0 else None)
    axes.set_yticks(range(len(networks)), [name for name, _ in networks])
    axes.invert_yaxis()
    if log:
        axes.set_xscale("log")
    axes.set_xlabel("|eigenvalue|" + (", at least 1e-12" if log else ""))
    tidy(axes)
    key(axes, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=3)
    return figure


def _table(name: str, title: str, caption: str, *notes: str) -> Figure:
    return Figure(
        name,
        title,
        partial(arrays, name),
        partial(draw, name),
        partial(checkpoints, name),
        partial(rows, name),
        caption=caption,
        notes=notes,
    )


TABLE1 = _table(
    "table1",
    "Table 1: too few layers do not memorize two images (third eigenvalue; filters of a layer start alike)",
    "Every draw of the two images: the two eigenvalues that belong to them (vermilion) and all others. Black: the "
    "paper's third eigenvalue.",
    "The rows printed as two layers have the parameter counts of three; both are here, beside the paper's value.",
    "Networks of two and three layers hardly interpolate: few of them reach the loss at which training ends, and their "
    "leading eigenvalues are above 1. The third eigenvalue, which is the point of the table, is that of the paper.",
)
TABLE2 = _table(
    "table2",
    "Table 2: with ceil(s^4 / 9) layers one filter each memorizes (all eigenvalues but the first n)",
    "Every draw of the images: the eigenvalues that belong to them (vermilion) and all others. Black: the paper's "
    "bound on these.",
    "The rows with several images fall short: one 3x3 filter a layer reaches the loss at which training ends in few "
    "draws. The paper gives no distribution of the images; ours are normal, and each row is several draws of them.",
)
