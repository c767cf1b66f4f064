"""Certify small networks by memzoo and by the oracle, and compare their answers for each example."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from memzoo.dynamics import Certificates, certify
from tools.oracles.attractor_oracle import Judgement, Oracle
from tools.oracles.formulas import read_formula
from tools.oracles.outcomes import Case, Outcome, Word, attempt
from tools.oracles.small_networks import SmallNetwork, draw_network


def draw_network_cases(seed: int, count: int) -> Iterator[Case]:
    """Draw networks, and certify the examples of each."""
    for number in range(count):
        yield f"network {seed}/{number}.", partial(_certify_network, seed, number)


def _certify_network(seed: int, number: int) -> list[Outcome]:
    network = draw_network(seed, number)
    found, word, text = attempt(partial(certify, network.module, network.examples))
    if word is not None:
        return [Outcome(network.kind, "certify", word, text)]
    judgements = ask_oracle(network, found.eps)
    return [
        outcome for row, judgement in enumerate(judgements) for outcome in _compare_row(network, found, row, judgement)
    ]


def ask_oracle(network: SmallNetwork, eps: float | torch.Tensor) -> list[Judgement]:
    """Judge the examples of a network independently of memzoo; ``eps`` alone is taken from it."""
    examples = network.examples.double().numpy()
    radii = np.broadcast_to(np.asarray(torch.as_tensor(eps, dtype=torch.float64)), len(examples))
    return Oracle(read_formula(network.module), examples, radii, network.margin, network.coarse).judge()


def _compare_row(network: SmallNetwork, found: Certificates, row: int, judgement: Judgement) -> list[Outcome]:
    """Compare the certificate of one example, and its radius, with what the oracle found."""
    certified = bool(found.attractor[row])
    word: Word
    if judgement.attractor is None:
        word = "unsure"
    elif judgement.attractor == certified:
        word = "right"
    else:
        word = "wrong" if certified else "missed"
    text = f"{network.kind}, {tuple(network.examples.shape)} {network.examples.dtype}, row {row}"
    radius = f"radius {found.radius[row]:.6g} +- {found.radius_error[row]:.2g}"
    said = f"certified {certified} ({radius}, offset {found.offset[row]:.3g}); oracle: {judgement.attractor}"
    detail = "" if word in ("right", "unsure") else f"{text}: {said}, {judgement.reason or 'every criterion holds'}"
    outcomes = [Outcome(network.kind, "attractor", word, detail)]
    compared = _compare_radius(network, found, row, judgement)
    if compared is not None:
        outcomes.append(Outcome(network.kind, "radius", compared, f"{text}: {radius}, oracle {judgement.radius:.6g}"))
    return outcomes


def _compare_radius(network: SmallNetwork, found: Certificates, row: int, judgement: Judgement) -> Word | None:
    """Compare the radius with that of differences, where both speak of the same point; None elsewhere."""
    scale = max(float(np.linalg.norm(network.examples[row].double().numpy())), 1e-30)
    gap = float(np.linalg.norm(found.points[row].double().numpy() - judgement.limit))
    if not judgement.radius_error < 1e-2 or gap > 1e-6 * scale or not bool(found.fixed[row]):
        return None
    room = found.radius_error[row].item() + judgement.radius_error + network.margin * (1 + judgement.radius)
    difference = abs(found.radius[row].item() - judgement.radius)
    return "right" if difference <= room else "undecided" if np.isnan(difference) else "wrong"
