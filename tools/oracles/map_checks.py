"""Measure maps of known spectrum by every method, and judge each number by what is known."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from memzoo.dynamics import Spectrum, radius_bracket, spectrum
from tools.oracles.known_maps import KnownMap, draw_map
from tools.oracles.outcomes import Case, Outcome, Word, attempt

DENSE = 400
"""Largest dimension that is measured in full."""
SQUARED = 200
"""Largest dimension whose radius is bounded by squaring."""
ROOM = {"arnoldi": 1e-3}
"""Relative error that is allowed to the largest singular value, which has no bound of its own; 1e-6 in full."""


def draw_map_cases(seed: int, count: int) -> Iterator[Case]:
    """Draw maps, and measure each by the automatic method and by every method that can take it."""
    for number in range(count):
        yield f"map {seed}/{number}.", partial(_measure_map, seed, number)


def _measure_map(seed: int, number: int) -> list[Outcome]:
    known = draw_map(seed, number)
    outcomes = [_measure_spectrum(known, method) for method in _list_methods(known)]
    if known.dim <= SQUARED:
        outcomes.append(_measure_bracket(known))
    return outcomes


def _list_methods(known: KnownMap) -> list[str]:
    """List the methods for a map; a cut is asked for only where the map is narrow."""
    methods = ["automatic", "arnoldi"]
    if known.dim <= DENSE:
        methods.append("dense")
    if known.narrow:
        methods.append("cut")
    return methods


def _measure_spectrum(known: KnownMap, method: str) -> Outcome:
    chosen: Any = None if method == "automatic" else method
    found, word, text = attempt(partial(spectrum, known.f, known.point, method=chosen, top=1))
    if word is None:
        word, text = _judge_spectrum(known, found)
    return Outcome(known.kind, method, word, _name_size(known, text))


def _judge_spectrum(known: KnownMap, found: Spectrum) -> tuple[Word, str]:
    """Judge the radius, its bound, the verdict and the largest singular value."""
    word, text = known.truth.judge_row(found, 0)
    sigma_max = found.sigma_max[0].item()
    if word == "wrong" or known.sigma_max is None:
        return word, text
    room = ROOM.get(found.method, 1e-6) * known.sigma_max
    if abs(sigma_max - known.sigma_max) > room + known.truth.slack:  # also false for NaN: nothing is said then
        return "wrong", f"sigma_max {sigma_max:.9g} by {found.method}, true {known.sigma_max:.9g}"
    return word, text


def _measure_bracket(known: KnownMap) -> Outcome:
    """Measure the radius by squaring alone."""
    with torch.no_grad():
        found, word, text = attempt(partial(radius_bracket, known.f, known.point))
    if word is None:
        lower, upper = (bound.item() for bound in found)
        # memzoo evaluates exponentials and logarithms on the way, which round by a few units in the last place
        slack = known.truth.slack + 1e-13 * known.truth.radius
        holds = lower <= known.truth.radius + slack and upper >= known.truth.radius - slack
        word = "right" if holds else "wrong"
        text = "" if holds else f"bracket {lower:.9g} to {upper:.9g}, true {known.truth.radius:.9g}"
    return Outcome(known.kind, "squaring", word, _name_size(known, text))


def _name_size(known: KnownMap, text: str) -> str:
    """Add the size of the map, and how it computes, to a text."""
    kind = "module" if isinstance(known.f, torch.nn.Module) else "function"
    return f"{known.kind}, d = {known.dim}, {known.point.dtype}, {kind}: {text}" if text else ""
