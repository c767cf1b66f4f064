"""Measure the numbers that the registry states of a checkpoint.

Each function is a measure of the name that it has here. A fact of the registry names its measure and gives its keyword
arguments; the value is computed from the :class:`Measurements` of the loaded checkpoint.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from memzoo.dynamics import certify, iterate, nearest
from memzoo.metrics import span_residual
from memzoo.zoo.measures.measurements import STEPS, Measurements

Measure = Callable[..., float]

ANYWHERE = 1e6
"""An eps so large that no example needs to be near."""
INITIAL_SEEDS = range(10)
"""Seeds of the networks over whose initial values a median is taken."""
WHOLE_BATCH = 1000
"""Images of the whole training set that the network is given at one time."""

MEASURES: dict[str, Measure] = {}
"""All measures by name."""


def measure(function: Measure) -> Measure:
    """Make a function known as the measure of its name."""
    MEASURES[function.__name__] = function
    return function


# One network: training examples ---------------------------------------------------------------------------------------


@measure
def attractors(m: Measurements, *, eps: float) -> float:
    """Count the training examples that are certified as attractors."""
    return m.certificates(eps).attractor.sum().item()


@measure
def certified_radius_max(m: Measurements, *, eps: float) -> float:
    """Return the largest spectral radius at the fixed points of the training examples."""
    return m.certificates(eps).radius.max().item()


@measure
def contracting(m: Measurements) -> float:
    """Count the training examples whose spectral radius is below 1 by more than its error bound."""
    return sum(verdict == "contracting" for verdict in m.spectrum.verdict)


@measure
def radius_max(m: Measurements) -> float:
    """Return the largest spectral radius at the training examples."""
    return m.spectrum.radius.max().item()


@measure
def eigenvalue(m: Measurements, *, rank: int) -> float:
    """Return the modulus of the eigenvalue of this rank, 1 being the largest, at the first training example.

    For a linear network these are the eigenvalues of its operator.
    """
    return m.spectrum.eigenvalues[0, rank - 1].abs().item()


@measure
def relative_error(m: Measurements) -> float:
    """Return the largest ||f(x) - x|| / ||x|| over the training examples x."""
    return _largest_relative_error(m.outputs, m.examples)


@measure
def mean_squared_error(m: Measurements) -> float:
    """Return the training loss: the mean over pixels and examples."""
    return (m.outputs - m.examples).double().square().mean().item()


@measure
def offset_median(m: Measurements, *, eps: float) -> float:
    """Return the median L2 distance from a training example to the point where its own orbit ends."""
    return m.certificates(eps).offset.quantile(0.5).item()


@measure
def limits(m: Measurements, *, eps: float) -> float:
    """Count the distinct points at which the orbits of the training examples end."""
    return len(m.certificates(eps).limit_of.unique())


@measure
def attractor_radius_max(m: Measurements, *, eps: float) -> float:
    """Return the largest spectral radius of a certified attractor, or NaN if there is none."""
    certificates = m.certificates(eps)
    return _largest_of_attractors(certificates.radius, certificates.attractor)


@measure
def attractor_offset_max(m: Measurements, *, eps: float) -> float:
    """Return the largest L2 distance of a certified attractor from its example, or NaN if there is none."""
    certificates = m.certificates(eps)
    return _largest_of_attractors(certificates.offset, certificates.attractor)


@measure
def whole_error(m: Measurements) -> float:
    """Return the mean squared error on the whole training set, of which only a part travels with the checkpoint."""
    with torch.no_grad():
        sums = [(m.model(rows) - rows).double().square().sum() for rows in m.whole.split(WHOLE_BATCH)]
    return (torch.stack(sums).sum() / m.whole.numel()).item()


@measure
def span_residual_median(m: Measurements, *, count: int, seed: int) -> float:
    """Return the median relative distance of outputs from the span of the training examples, for Gaussian inputs."""
    residuals = span_residual(m.noise_outputs(count, seed), m.examples)
    return residuals.median().item()


@measure
def initial_output_norm(m: Measurements) -> float:
    """Return the mean L2 norm of the outputs for the training examples before training, as median over ten seeds."""
    norms = []
    for seed in INITIAL_SEEDS:
        with torch.random.fork_rng(devices=[]):  # measuring leaves the caller's random numbers as they were
            torch.default_generator.manual_seed(seed)
            untrained = type(m.model)(m.model.config).eval()
        with torch.no_grad():
            outputs = untrained(m.examples)
        norms.append(outputs.flatten(1).norm(dim=1).mean())
    return torch.stack(norms).quantile(0.5).item()


# One network: where other starts go -----------------------------------------------------------------------------------


@measure
def recovery(m: Measurements, *, eps: float, t: int) -> float:
    """Return the paper's R_t from the held-out starts."""
    return m.curve(t, eps).rate[t].item()


@measure
def arrived(m: Measurements, *, eps: float, t: int) -> float:
    """Return the share of held-out starts that are within eps of a training example after t iterations."""
    return m.curve(t, eps).arrived[t].item()


@measure
def noise_arrived(m: Measurements, *, eps: float, t: int, count: int, seed: int) -> float:
    """Return the share of standard Gaussian inputs that are within eps of a training example after t iterations."""
    near = m.nearest_to_ends("noise", t, count, seed)
    return (near.distance < eps).double().mean().item()


@measure
def matched_noise_arrived(m: Measurements, *, eps: float, t: int, count: int, seed: int) -> float:
    """Return the same share of Gaussian inputs with the mean and the deviation of the training images' pixels."""
    near = m.nearest_to_ends("matched_noise", t, count, seed)
    return (near.distance < eps).double().mean().item()


@measure
def probes_at_an_image(m: Measurements, *, relative: float, t: int, count: int) -> float:
    """Return the share of held-out images that are near a training image after t iterations.

    Near means within ``relative`` times the norm of that image.
    """
    distances = m.distances("probes", t, count, 0)
    return _share_within(distances, relative)


@measure
def noise_at_an_image(m: Measurements, *, relative: float, t: int, count: int, seed: int) -> float:
    """Return the share of Gaussian inputs that are near a training image, as :func:`probes_at_an_image`."""
    distances = m.distances("noise", t, count, seed)
    return _share_within(distances, relative)


@measure
def squares_at_an_image(m: Measurements, *, relative: float, t: int, count: int, seed: int) -> float:
    """Return the share of white squares that are near a training image, as :func:`probes_at_an_image`.

    The squares have random sides and places.
    """
    distances = m.distances("squares", t, count, seed)
    return _share_within(distances, relative)


@measure
def probe_distance(m: Measurements, *, t: int, count: int) -> float:
    """Return the relative distance to the nearest training image after t iterations, as median over held-out images."""
    distances = m.distances("probes", t, count, 0)
    return distances.quantile(0.5).item()


@measure
def noise_distance(m: Measurements, *, t: int, count: int, seed: int) -> float:
    """Return the relative distance to the nearest training image after t iterations, as median over Gaussian inputs."""
    distances = m.distances("noise", t, count, seed)
    return distances.quantile(0.5).item()


@measure
def probe_error(m: Measurements) -> float:
    """Return the mean squared error on the held-out images that travel with the checkpoint."""
    with torch.no_grad():
        errors = m.model(m.probes) - m.probes
    return errors.double().square().mean().item()


@measure
def probes_captured(m: Measurements) -> float:
    """Count the held-out starts whose orbits end at a certified attractor that belongs to one training image.

    An attractor belongs to an image if it is nearer to it than half the distance to any other. Several starts may share
    an attractor, and each of them counts.
    """
    ends = iterate(m.model, m.probes, STEPS).points
    near = nearest(ends, m.examples)
    # Certifying costs most, so it is left to the ends that already lie where an attractor would belong to an image.
    rows = (near.distance < near.second / 2).nonzero().flatten()
    if not len(rows):
        return 0.0
    certificates = certify(m.model, ends[rows], eps=ANYWHERE)
    # An attractor of several starts is certified once, as the end of its own orbit.
    first_of_limit, limit = certificates.limit_of.unique(return_inverse=True)
    limits_certified = certify(m.model, certificates.points[first_of_limit], eps=ANYWHERE)
    attracts = limits_certified.attractor[limit]
    # By the triangle inequality no image is nearer to the attractor, or farther from it, by more than this.
    moved = (certificates.points.double() - ends[rows].double()).flatten(1).norm(dim=1)
    belongs = near.distance[rows] + moved < (near.second[rows] - moved) / 2
    return (attracts & belongs).sum().item()


# Ensembles ------------------------------------------------------------------------------------------------------------


@measure
def median_eigenvalue(m: Measurements, *, rank: int) -> float:
    """Return the modulus of the eigenvalue of this rank of the operators of an ensemble, as median over its members."""
    return m.moduli[:, rank - 1].median().item()


@measure
def members_within(m: Measurements, *, leading: int, low: float, high: float, below: float) -> float:
    """Count the members of an ensemble whose ``leading`` moduli lie in [low, high] and all others are below a value."""
    first = m.moduli[:, :leading]
    others = m.moduli[:, leading:]
    first_inside = ((first >= low) & (first <= high)).all(1)
    others_inside = (others < below).all(1)
    return (first_inside & others_inside).sum().item()


@measure
def members_converged(m: Measurements) -> float:
    """Count the members of an ensemble whose training reached the loss at which it was to stop."""
    return (m.ensemble.stopped_at >= 0).sum().item()


@measure
def members_recovering(m: Measurements, *, relative: float, t: int, count: int, seed: int, share: float) -> float:
    """Count the members of an ensemble that take at least this share of Gaussian inputs to one of their images."""
    distances = m.distances("noise", t, count, seed)
    shares = (distances <= relative).double().mean(0)
    assert len(shares) == len(m.ensemble)
    return (shares >= share).sum().item()


@measure
def median_attractors(m: Measurements, *, eps: float) -> float:
    """Return how many training examples of a member of an ensemble are certified attractors, as median over members."""
    return m.member_attractors(eps).double().median().item()


@measure
def median_loss(m: Measurements) -> float:
    """Return the training loss of a member of an ensemble, as median over members."""
    # Each member is trained on its own loss, the mean over its pixels and examples.
    squares = (m.outputs - m.examples).double().square()  # (examples, members, *shape)
    losses = squares.flatten(2).mean((0, 2))
    return losses.median().item()


# Sequences: each training example is trained on the next --------------------------------------------------------------


@measure
def cycle_error(m: Measurements) -> float:
    """Return the largest ||f(x) - y|| / ||y|| over the training examples x, where y is the next one.

    The next of the last example is the first.
    """
    return _largest_relative_error(m.outputs, m.examples.roll(-1, 0))


@measure
def cycle_length(m: Measurements, *, eps: float) -> float:
    """Return the period of the certified attracting cycle through the training examples in their order, 0 if none."""
    cycle = m.cycle(eps)
    return 0 if cycle is None else cycle.period


@measure
def cycle_radius(m: Measurements, *, eps: float) -> float:
    """Return the spectral radius of the n-fold composition on that cycle of n images, or NaN if there is none."""
    cycle = m.cycle(eps)
    return math.nan if cycle is None else cycle.radius


@measure
def noise_on_cycle(m: Measurements, *, relative: float, t: int, count: int, seed: int) -> float:
    """Return the share of Gaussian inputs that run from time t on once through the training examples in their order."""
    on_cycle = m.in_order("noise", relative, t, count, seed)
    return on_cycle.double().mean().item()


@measure
def probes_on_cycle(m: Measurements, *, relative: float, t: int, count: int) -> float:
    """Return the share of held-out images that run from time t on once through the training examples in their order."""
    on_cycle = m.in_order("probes", relative, t, count, 0)
    return on_cycle.double().mean().item()


# Which images a measure needs -----------------------------------------------------------------------------------------

OF_THE_WHOLE = frozenset({"whole_error"})
"""Measures of the whole training set, which may not travel with the checkpoint."""

OF_A_PART = frozenset({"probe_error", "probes_captured"}) | OF_THE_WHOLE
"""Measures that are right although only those training images travel at which iteration from the starts ends."""


def _share_within(distances: Tensor, relative: float) -> float:
    """Return the share of distances that are at most ``relative``."""
    return (distances <= relative).double().mean().item()


def _largest_of_attractors(values: Tensor, attractor: Tensor) -> float:
    """Return the largest of the values that belong to attractors, or NaN if there is no attractor."""
    return values[attractor].max().item() if attractor.any() else math.nan


def _largest_relative_error(outputs: Tensor, targets: Tensor) -> float:
    """Return the largest ||output - target|| / ||target||."""
    errors = (outputs - targets).flatten(1).norm(dim=1)
    sizes = targets.flatten(1).norm(dim=1)
    # A black target is reached exactly or not at all.
    smallest = torch.finfo(errors.dtype).tiny
    return (errors / sizes.clamp(min=smallest)).max().item()
