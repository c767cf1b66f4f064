"""Tables 1 and 2: spectra of linear convolutional networks, a checkpoint a row, several draws of the images in each."""

from typing import Any, cast

import torch
from torch import Tensor

from memzoo.dynamics import bracket_notation
from memzoo.figures.reproduction import Reproduction, Row
from memzoo.models import Autoencoder, ConvAutoencoder, Ensemble
from memzoo.zoo.verification import measure_facts

TITLES = {
    "table1": "Table 1: too few layers do not memorize two images (third eigenvalue; filters of a layer start alike)",
    "table2": "Table 2: with ceil(s^4 / 9) layers one filter each memorizes (all eigenvalues but the first n)",
}


def reproduce(table: str, models: list[Autoencoder], names: list[str]) -> Reproduction:
    """Measure every row from its weights: medians over the draws, and their range.

    A row of Table 1 holds where the median of the third eigenvalue is within .1 of the paper's, a row of Table 2 where
    the spectra of four draws in five are within the paper's bracket.
    """
    ensembles = [cast(Ensemble, model) for model in models]
    moduli = [ensemble.eigenvalues().abs() for ensemble in ensembles]
    rows = []
    for ensemble, values in zip(ensembles, moduli, strict=True):
        assert ensemble.entry is not None
        fact, measured = claim(ensemble)
        if table == "table1":
            holds = abs(measured - fact.paper) <= 0.1
            paper = f"1, 1, {fact.paper:.2f}, ..."
        else:
            holds = measured >= 0.8 * len(values)
            paper = fact.paper
        rows.append(Row(_network(ensemble), paper, _spectrum(table, ensemble, values), holds))

    def draw() -> Any:
        return _draw(table, ensembles, moduli)

    return Reproduction(table, TITLES[table], ", ".join(names), tuple(rows), draw)


def claim(ensemble: Ensemble) -> tuple[Any, float]:
    """What the paper's row states, the first fact of the entry, and its value measured now."""
    fact = ensemble.entry.facts[0]
    return fact, measure_facts(lambda _: ensemble, [fact])[0].measured


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


def _draw(table: str, ensembles: list[Ensemble], moduli: list[Tensor]) -> Any:
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(7.2, 0.36 * len(ensembles) + 1.1), layout="constrained")
    axes = figure.subplots()
    for y, (ensemble, values) in enumerate(zip(ensembles, moduli, strict=True)):
        assert ensemble.examples is not None
        count = len(ensemble.examples)
        spread = torch.linspace(-0.22, 0.22, len(values))[:, None]
        for part, colour, label in (
            (values[:, :count], "#D55E00", "first n"),
            (values[:, count:], "#0072B2", "others"),
        ):
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
        fact, _ = claim(ensemble)
        bound = fact.args["below"] if table == "table2" else fact.paper
        axes.plot([bound, bound], [y - 0.4, y + 0.4], color="0.2", lw=1.2, label="paper" if y == 0 else None)
    axes.set_yticks(range(len(ensembles)), [_network(ensemble) for ensemble in ensembles], fontsize=7)
    axes.invert_yaxis()
    if table == "table2":
        axes.set_xscale("log")
    axes.set_xlabel("|eigenvalue|" + (", at least 1e-12" if table == "table2" else ""), fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=3, frameon=False)
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(False)
    return figure
