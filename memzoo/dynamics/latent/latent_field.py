"""Follow the codes of an autoencoder under decoding and encoding, and compare where they end with training images."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_map, check_module, check_same_shape, check_steps
from memzoo._types import Map
from memzoo.dynamics.attractors import Census, census
from memzoo.dynamics.latent.halves import Half, apply_half, compose, see_as_module
from memzoo.dynamics.tracing import leave_no_trace, promote_to_float64, widen_module, widen_points
from memzoo.errors import NonFiniteError, NotASelfMapError

SAME = 0.99
"""Cosine from which on two attractors count as one, as in the paper."""
ROWS = 256
"""Rows evaluated at one time."""
BLOCK = 1024
"""Rows compared with all images at one time."""


@dataclass(frozen=True)
class LatentField:
    r"""What :func:`latent_field` found of the map :math:`f(z) = E(D(z))`, one row a code; prints as a summary."""

    field: Float[Tensor, "batch *latent"]
    """E(D(z)) - z."""
    census: Census | None
    """Where the orbit of each code under f ends, as by :func:`memzoo.dynamics.census`; its examples are the codes of
    the ``images``, or the codes themselves. None if nothing was iterated."""
    decoded: Float[Tensor, "batch *shape"] | None
    """The image of the end of each orbit."""
    closest: Int[Tensor, " batch"]
    """Index of the image that has the largest cosine with it; -1 where the orbit does not end at a fixed point."""
    closeness: Float[Tensor, " batch"]
    """That cosine: the memorization coefficient of the attractor in which the orbit ends; NaN where there is none."""
    distinct: Int[Tensor, " m"]
    """Codes whose attractors are distinct: the cosine of each with all before it is at most .99. Attractors are
    compared as codes, in the order of the codes from which they were reached."""

    @property
    def fixed(self) -> Bool[Tensor, " batch"]:
        """Tell which orbits end at a fixed point."""
        return self.closest >= 0

    @property
    def attracting(self) -> Bool[Tensor, " batch"]:
        """Tell which orbits end at a fixed point whose spectral radius is below 1 beyond the error bound."""
        if self.census is None:
            return torch.zeros_like(self.fixed)
        known = [limit.period == 1 and limit.attracting for limit in self.census.limits]
        flags = torch.tensor([*known, False], device=self.closest.device)  # the index -1 reads the last entry
        return flags[self.census.limit]

    @property
    def memorization(self) -> Float[Tensor, ""]:
        """Return the memorization coefficient: the mean of ``closeness`` over the orbits that end at a fixed point."""
        return self.closeness[self.fixed].mean()

    @property
    def memorization_deviation(self) -> Float[Tensor, ""]:
        """Return the standard deviation of ``closeness`` over the orbits that end at a fixed point."""
        return self.closeness[self.fixed].std()

    @property
    def distinct_share(self) -> float:
        """Return the number of distinct attractors over the number of codes."""
        return len(self.distinct) / len(self.field)

    def __str__(self) -> str:
        speed = self.field.flatten(1).norm(dim=1)
        lines = [
            f"{len(self.field)} codes, |E(D(z)) - z| {speed.median():.3g} in the median, {speed.max():.3g} at most"
        ]
        if self.census is not None:
            lines += [
                f"{int(self.fixed.sum())} orbits end at a fixed point, {int(self.attracting.sum())} at one that "
                f"attracts; {len(self.distinct)} distinct (cosine <= {SAME:g})",
                f"memorization coefficient {self.memorization:.4f} +- {self.memorization_deviation:.4f}",
            ]
        return "\n".join(lines)


def latent_field(
    encoder: Half,
    decoder: Half,
    z: Float[Tensor, "batch *latent"],
    images: Float[Tensor, "n *shape"] | None = None,
    *,
    steps: int = 1000,
    eps: float | Float[Tensor, " n"] | None = None,
) -> LatentField:
    r"""Compute the latent vector field :math:`E(D(z)) - z`, where it leads, and how close that is to training images.

    Fumero, Moschella, Rodolà and Locatello (Navigating the Latent Space Dynamics of Neural Models, arXiv 2505.22785)
    iterate :math:`f(z) = E(D(z))` from the codes of the training images. Their memorization coefficient of an attractor
    z* is the cosine similarity of its image D(z*) to the closest training image,

    .. math:: mem(z^*) = \max_{x \in X} \cos(D(z^*), x),

    and they report the mean and the standard deviation over the attractors, one for each code. (Their equation has a
    minimum where their words say the closest image; the closest one has the largest cosine.) Two attractors are equal
    for them if the cosine of the codes is above .99. Images are compared as they are, without a mean taken off: images
    of positive pixels have large cosines with each other, so that a coefficient is to be read beside that of held-out
    images. Where their attractors are the points at which iteration comes to rest, these are certified: the
    ``census`` tells which of them attract.

    The orbits of f and those of the autoencoder :math:`D(E(x))` are the same: D maps the attractors of the one to those
    of the other, with the same spectra but for zeros.

    Args:
        encoder: Encoder, as a module in eval mode, a method of one (``model.encode``) or any callable. That of a
            variational autoencoder returns the mean.
        decoder: Decoder, in the same forms.
        z: Codes where the field is computed and where the orbits begin: those of the training images, of others, or
            noise.
        images: Training images. When left out: D(z), so that the codes should be those of the training images.
        steps: Most iterations of each code; 0 computes the field alone.
        eps: Radius within which an attractor counts as that of a code, one for all or one for each image;
            :func:`memzoo.dynamics.example_eps` of the codes of the images when left out.

    Returns:
        The field. Cost: two evaluations of both halves a code for the field alone; else that of a census of f.

    Raises:
        NonFiniteError: NaN or infinity in the codes, in the images, in the parameters or in the field.
        NotASelfMapError: E(D(z)) has another shape than z, draws at random or mixes rows.
        ValueError: A half is in training mode or does not return a batch of numbers; the images have another shape than
            those that are decoded.

    Example:
        >>> images = torch.eye(3)[:2]
        >>> encode = lambda x: 4 * x[:, :2] - 2
        >>> decode = lambda z: torch.nn.functional.pad(torch.sigmoid(2 * z), (0, 1))
        >>> found = latent_field(encode, decode, torch.tensor([[1.0, -1.0], [-0.5, 3.0]]), images)
        >>> found.closest, found.distinct, round(found.memorization.item(), 2)
        (tensor([0, 1]), tensor([0, 1]), 1.0)
    """
    check_batch(z, "z")
    check_steps(steps)
    if images is not None:
        check_batch(images, "images")
    f = compose(encoder, decoder)
    return _measure(f, see_as_module(encoder), see_as_module(decoder), z, images, steps, eps)


@leave_no_trace
@torch.no_grad()
def _measure(
    f: Map, encoder: Half, decoder: Half, z: Tensor, images: Tensor | None, steps: int, eps: float | Tensor | None
) -> LatentField:
    """Measure the map from code to code."""
    check_module(f)
    z = widen_points(f, z, "z")
    encoder = widen_module(encoder)
    decoder = widen_module(decoder)
    _check_loop(encoder, decoder, z)
    check_map(f, z, promote_to_float64)
    field = _apply(f, z) - z
    if not field.isfinite().all():
        row = int((~field.flatten(1).isfinite().all(1)).nonzero()[0])
        raise NonFiniteError(f"E(D(z)) holds NaN or infinity at row {row}: the field is not defined there.")
    nothing = torch.full((len(z),), -1, device=z.device)
    none = torch.full((len(z),), torch.nan, dtype=torch.float64, device=z.device)
    if not steps:
        return LatentField(field, None, None, nothing, none, nothing[:0])
    codes = z
    decoded = _apply(decoder, z)
    if images is None:
        images = decoded
    else:
        check_same_shape(images, decoded, "images and decoded codes")
        images = images.to(decoded)
        codes = _apply(encoder, images)
    found = census(f, z, codes, steps=steps, eps=eps)
    fixed = (found.label >= -1).nonzero().flatten()
    ends = _apply(decoder, found.points)
    cosine, index = _find_closest(ends[fixed], images)
    return LatentField(
        field=field,
        census=found,
        decoded=ends,
        closest=nothing.index_put((fixed,), index),
        closeness=none.index_put((fixed,), cosine),
        distinct=fixed[_find_distinct(found.points[fixed])],
    )


def _check_loop(encoder: Half, decoder: Half, z: Tensor) -> None:
    """Raise an error unless the code of the image of a code has its shape."""
    image = apply_half(decoder, z[:1].clone(), "decoder")
    code = apply_half(encoder, image, "encoder")
    if code.shape != z[:1].shape:
        raise NotASelfMapError(
            f"E(D(z)) must have the shape of z, but a code {tuple(z.shape[1:])} became an image "
            f"{tuple(image.shape[1:])}, and that a code {tuple(code.shape[1:])}; pass the two halves of one "
            "autoencoder, and codes of the shape that its encoder returns."
        )


def _apply(half: Half, x: Tensor) -> Tensor:
    """Evaluate a half, some rows at a time."""
    return torch.cat([half(rows) for rows in x.split(ROWS)])


def _normalise(points: Float[Tensor, "m *shape"]) -> Float[Tensor, "m d"]:
    """Give the rows the length 1, in float64; a row of zeros has the cosine 0 with all others."""
    flat = points.flatten(1).double()
    flat = flat / flat.abs().amax(1, keepdim=True).clamp(min=torch.finfo(flat.dtype).tiny)
    return torch.nn.functional.normalize(flat, dim=1)


def _find_closest(points: Tensor, images: Tensor) -> tuple[Float[Tensor, " m"], Int[Tensor, " m"]]:
    """Find the image that has the largest cosine with each point."""
    known = _normalise(images)
    parts = [(part @ known.mT).max(1) for part in _normalise(points).split(BLOCK)]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def _find_distinct(points: Tensor) -> Int[Tensor, " m"]:
    """Find the points whose cosine with all before them that were found is at most .99."""
    directions = _normalise(points)
    left = torch.arange(len(points), device=points.device)
    found: list[int] = []
    while len(left):
        found.append(int(left[0]))
        left = left[1:][(directions[left[1:]] @ directions[left[0]]) <= SAME]
    return torch.tensor(found, dtype=torch.long, device=points.device)
