"""Measure Jacobian spectra at the training examples while training."""

from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from memzoo.callbacks.measuring import MeasuringCallback
from memzoo.callbacks.options import MeasuringOptions
from memzoo.callbacks.quantities import Quantity, quantities_of
from memzoo.callbacks.radii import relative_residual, summarise_radii
from memzoo.callbacks.shards import Part
from memzoo.dynamics.spectra import compute_leading_eigenvalues, select_verified_radii
from memzoo.modules import Adapter


@final
class ContractionCallback(MeasuringCallback):
    r"""Log the spectra of the Jacobian at the training examples, and nothing else, while training.

    This callback is cheaper than :class:`memzoo.callbacks.AttractorCallback`, and its values say less: a spectral
    radius below 1 shows an attractor only at a fixed point, and an untrained network has such a radius everywhere.
    Compare it with the residual.

    ``contraction/contracting``
        Share of tracked examples whose spectral radius is below 1 beyond its error bound.
    ``contraction/measured``
        Share of tracked examples that could be measured; the others stay in the denominators.
    ``contraction/radius_median``
        Median spectral radius at the tracked examples: the largest modulus of an eigenvalue. Examples at which nothing
        tells whether the derivative is that of the map are left out.
    ``contraction/radius_max``
        Largest spectral radius at the tracked examples.
    ``contraction/sigma_median``
        Median over the tracked examples of the largest singular value: the most that one step stretches, in L2. Where
        it is above 1 with a radius below 1, small differences grow before they shrink.
    ``contraction/residual``
        Median relative residual :math:`\|f(x) - x\| / \|x\|` of the tracked examples.

    Everything else, including the arguments, is as in :class:`memzoo.callbacks.AttractorCallback`.

    Args:
        examples: Tracked examples (n, \*shape); when left out, up to ``max_examples`` rows that are trained on.
        self_map: ``self_map(module, x)`` returns the reconstruction, if ``forward`` does not.
        max_examples: Most examples to measure at one time.
        rotate: Number of subsets. So many times ``max_examples`` are tracked, and one subset is measured at a time.
        every_n_epochs: Measure at these epochs.
        every_n_steps: Measure at these optimizer steps.
        budget: Share of the training time, if neither of these two is given.
        verbose: Print a table at the end.
        name: First part of the keys.

    Raises:
        NotASelfMapError: Before the first step, when the module does not map the examples to their own shape.
    """

    KIND: ClassVar[str] = "contraction"
    QUANTITIES: ClassVar[tuple[Quantity, ...]] = quantities_of(KIND)
    TITLE: ClassVar[str] = "Contraction"

    def __init__(
        self,
        examples: Tensor | None = None,
        *,
        self_map: Adapter | None = None,
        max_examples: int | None = None,
        rotate: int = 1,
        every_n_epochs: int | None = None,
        every_n_steps: int | None = None,
        budget: float = 0.05,
        verbose: bool = True,
        name: str = "contraction",
    ) -> None:
        options = MeasuringOptions(
            examples=examples,
            self_map=self_map,
            max_examples=max_examples,
            rotate=rotate,
            every_n_epochs=every_n_epochs,
            every_n_steps=every_n_steps,
            budget=budget,
            verbose=verbose,
            name=name,
        )
        super().__init__(options)

    def measure_part(self, f: nn.Module, examples: Tensor, part: Part) -> dict[str, Tensor]:
        """Measure spectra and residuals at the examples of this process."""
        own = part.select(examples)
        if not len(own):
            return {}
        leading = compute_leading_eigenvalues(f, own)
        return {
            "radius": select_verified_radii(leading).cpu(),
            "error": torch.where(leading.trusted, leading.radius_error, torch.inf).cpu(),
            "sigma": leading.sigma_max.cpu(),
            "residual": relative_residual(f, own).cpu(),
        }

    def combine_parts(self, parts: list[Any], examples: Tensor) -> dict[str, float]:
        """Return medians and shares over the examples of all processes."""

        def join(name: str) -> Tensor:
            return torch.cat([part[name] for part in parts if part])

        radius = join("radius")
        # A radius of exactly 1, or one whose error bound straddles 1, is not contracting.
        contracting = radius + join("error") < 1
        return {
            "contracting": contracting.float().mean().item(),
            "sigma_median": join("sigma").quantile(0.5).item(),
            "residual": join("residual").quantile(0.5).item(),
            **summarise_radii(radius),
        }
