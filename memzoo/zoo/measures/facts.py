"""The measures that facts are made of: each a number computed from a loaded checkpoint."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from memzoo.dynamics import (
    certify,
    iterate,
    nearest,
)
from memzoo.metrics import span_residual
from memzoo.zoo.measures.measurements import STEPS, Measurements

ANYWHERE = 1e6  # an eps that asks for no example nearby
DRAWS = 10  # networks over whose initial values a median is taken


def attractors(m: Measurements, *, eps: float) -> float:
    """Training examples certified as attractors."""
    return m.certificates(eps).attractor.sum().item()


def certified_radius_max(m: Measurements, *, eps: float) -> float:
    """Largest spectral radius at the fixed points of the training examples."""
    return m.certificates(eps).radius.max().item()


def contracting(m: Measurements) -> float:
    """Training examples whose spectral radius is below 1 beyond its error bound."""
    return sum(verdict == "contracting" for verdict in m.spectrum.verdict)


def radius_max(m: Measurements) -> float:
    """Largest spectral radius at the training examples."""
    return m.spectrum.radius.max().item()


def recovery(m: Measurements, *, eps: float, t: int) -> float:
    """R_t from the held-out starts."""
    return m.curve(t, eps).rate[t].item()


def arrived(m: Measurements, *, eps: float, t: int) -> float:
    """Share of the held-out starts within eps of a training example after t iterations."""
    return m.curve(t, eps).arrived[t].item()


def eigenvalue(m: Measurements, *, rank: int) -> float:
    """Modulus of the eigenvalue of this rank (1 the largest) at the first example: of the operator, if f is linear."""
    return m.spectrum.eigenvalues[0, rank - 1].abs().item()


def relative_error(m: Measurements) -> float:
    """Largest ||f(x) - x|| / ||x|| over the training examples."""
    gap = (m.outputs - m.examples).flatten(1).norm(dim=1)
    return (gap / m.examples.flatten(1).norm(dim=1).clamp(min=torch.finfo(gap.dtype).tiny)).max().item()


def mean_squared_error(m: Measurements) -> float:
    """Training loss: mean over pixels and examples."""
    return (m.outputs - m.examples).double().square().mean().item()


def span_residual_median(m: Measurements, *, count: int, seed: int) -> float:
    """Median relative distance of outputs for Gaussian inputs from the span of the training examples."""
    return span_residual(m.noise_outputs(count, seed), m.examples).median().item()


def median_eigenvalue(m: Measurements, *, rank: int) -> float:
    """Median over the members of an ensemble of the modulus of their operators' eigenvalue of this rank."""
    return m.moduli[:, rank - 1].median().item()


def members_within(m: Measurements, *, leading: int, low: float, high: float, below: float) -> float:
    """Members of an ensemble whose ``leading`` moduli lie in [low, high] and all others are less than ``below``."""
    ours = m.moduli
    inside = ((ours[:, :leading] >= low) & (ours[:, :leading] <= high)).all(1) & (ours[:, leading:] < below).all(1)
    return inside.sum().item()


def members_converged(m: Measurements) -> float:
    """Members of an ensemble whose training reached the loss at which it was to stop."""
    return (m.ensemble.stopped_at >= 0).sum().item()


def _share(distances: Tensor, relative: float) -> float:
    return (distances <= relative).double().mean().item()


def probes_at_an_image(m: Measurements, *, relative: float, t: int, count: int) -> float:
    """Share of held-out images within ``relative``, a share of its norm, of the nearest training image at time t."""
    return _share(m.distances("probes", t, count, 0), relative)


def noise_at_an_image(m: Measurements, *, relative: float, t: int, count: int, seed: int) -> float:
    """The same share of Gaussian inputs."""
    return _share(m.distances("noise", t, count, seed), relative)


def squares_at_an_image(m: Measurements, *, relative: float, t: int, count: int, seed: int) -> float:
    """The same share of white squares of random side and place."""
    return _share(m.distances("squares", t, count, seed), relative)


def probe_distance(m: Measurements, *, t: int, count: int) -> float:
    """Median over held-out images of the relative distance to the nearest training image after t iterations."""
    return m.distances("probes", t, count, 0).quantile(0.5).item()


def noise_distance(m: Measurements, *, t: int, count: int, seed: int) -> float:
    """The same median over Gaussian inputs."""
    return m.distances("noise", t, count, seed).quantile(0.5).item()


def offset_median(m: Measurements, *, eps: float) -> float:
    """Median distance from a training example to the point where its own orbit ends, L2."""
    return m.certificates(eps).offset.quantile(0.5).item()


def limits(m: Measurements, *, eps: float) -> float:
    """Distinct points at which the orbits of the training examples end."""
    return len(m.certificates(eps).limit_of.unique())


def attractor_radius_max(m: Measurements, *, eps: float) -> float:
    """Largest spectral radius of a certified attractor; NaN if there is none."""
    found = m.certificates(eps)
    return found.radius[found.attractor].max().item() if found.attractor.any() else math.nan


def attractor_offset_max(m: Measurements, *, eps: float) -> float:
    """Largest distance of a certified attractor from its example, L2; NaN if there is none."""
    found = m.certificates(eps)
    return found.offset[found.attractor].max().item() if found.attractor.any() else math.nan


def probe_error(m: Measurements) -> float:
    """Mean squared error on the held-out images that travel."""
    with torch.no_grad():
        return (m.model(m.probes) - m.probes).double().square().mean().item()


def whole_error(m: Measurements) -> float:
    """Mean squared error on the whole training set, of which only a part travels."""
    with torch.no_grad():
        sums = [(m.model(rows) - rows).double().square().sum() for rows in m.whole.split(1000)]
    return (torch.stack(sums).sum() / m.whole.numel()).item()


def probes_captured(m: Measurements) -> float:
    """Held-out starts whose orbit ends at a certified attractor that belongs to one training image.

    It is nearer to that image than half the distance to any other. Counted by start: several may share an attractor.
    """
    ends = iterate(m.model, m.probes, STEPS).points
    near = nearest(ends, m.examples)
    rows = (near.distance < near.second / 2).nonzero().flatten()
    if not len(rows):
        return 0.0
    found = certify(m.model, ends[rows], eps=ANYWHERE)
    first, limit = found.limit_of.unique(return_inverse=True)  # one for all starts that share it
    attracts = certify(m.model, found.points[first], eps=ANYWHERE).attractor[limit]
    moved = (found.points.double() - ends[rows].double()).flatten(1).norm(dim=1)  # no image is nearer by more than this
    belongs = near.distance[rows] + moved < (near.second[rows] - moved) / 2
    return (attracts & belongs).sum().item()


def initial_output_norm(m: Measurements) -> float:
    """Median over initial values (ten seeds) of the mean L2 norm of the output for a training example."""
    norms = []
    for seed in range(DRAWS):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            fresh = type(m.model)(m.model.config).eval()
        with torch.no_grad():
            norms.append(fresh(m.examples).flatten(1).norm(dim=1).mean())
    return torch.stack(norms).quantile(0.5).item()


def members_recovering(m: Measurements, *, relative: float, t: int, count: int, seed: int, share: float) -> float:
    """Members of an ensemble that take at least this share of Gaussian inputs to one of their training images."""
    arrived = (m.distances("noise", t, count, seed) <= relative).double().mean(0)
    assert len(arrived) == len(m.ensemble)
    return (arrived >= share).sum().item()


def median_attractors(m: Measurements, *, eps: float) -> float:
    """Median over the members of an ensemble of how many of their training examples are certified attractors."""
    return m.member_attractors(eps).double().median().item()


def median_loss(m: Measurements) -> float:
    """Median over the members of an ensemble of their training losses."""
    return (m.outputs - m.examples).double().square().flatten(2).mean((0, 2)).median().item()


def cycle_error(m: Measurements) -> float:
    """Largest ||f(x) - y|| / ||y|| over the training examples x, y the next one, and of the last the first."""
    wanted = m.examples.roll(-1, 0)
    gap = (m.outputs - wanted).flatten(1).norm(dim=1)
    return (gap / wanted.flatten(1).norm(dim=1).clamp(min=torch.finfo(gap.dtype).tiny)).max().item()


def cycle_length(m: Measurements, *, eps: float) -> float:
    """Period of the certified attracting cycle that runs through the training examples in their order; 0 if none."""
    found = m.cycle(eps)
    return 0 if found is None else found.period


def cycle_radius(m: Measurements, *, eps: float) -> float:
    """Spectral radius of the n-fold composition on that cycle of n images; NaN if there is none."""
    found = m.cycle(eps)
    return math.nan if found is None else found.radius


def noise_on_cycle(m: Measurements, *, relative: float, t: int, count: int, seed: int) -> float:
    """Share of Gaussian inputs that from time t on run through the training examples in their order, once around."""
    return m.in_order("noise", relative, t, count, seed).double().mean().item()


def probes_on_cycle(m: Measurements, *, relative: float, t: int, count: int) -> float:
    """The same share of held-out images."""
    return m.in_order("probes", relative, t, count, 0).double().mean().item()


OF_THE_WHOLE = frozenset({"whole_error"})
"""Measures of the whole training set, which may not travel with the checkpoint."""

OF_A_PART = frozenset({"probe_error", "probes_captured"}) | OF_THE_WHOLE
"""Measures that are right where only those training images travel that iteration from the starts reaches."""

MEASURES: dict[str, Callable[..., float]] = {
    measure.__name__: measure
    for measure in (
        arrived,
        attractor_offset_max,
        attractor_radius_max,
        attractors,
        certified_radius_max,
        contracting,
        cycle_error,
        cycle_length,
        cycle_radius,
        eigenvalue,
        initial_output_norm,
        limits,
        mean_squared_error,
        median_attractors,
        median_eigenvalue,
        median_loss,
        members_converged,
        members_recovering,
        members_within,
        noise_at_an_image,
        noise_distance,
        noise_on_cycle,
        offset_median,
        probe_distance,
        probe_error,
        probes_at_an_image,
        probes_captured,
        probes_on_cycle,
        radius_max,
        recovery,
        relative_error,
        span_residual_median,
        squares_at_an_image,
        whole_error,
    )
}
