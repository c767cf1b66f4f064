"""Jacobian spectra at the training examples, measured while training."""

from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from memzoo.callbacks.measuring import MeasuringCallback
from memzoo.callbacks.shards import Part
from memzoo.dynamics.spectra import compute_leading_eigenvalues
from memzoo.modules import Adapter


@final
class ContractionCallback(MeasuringCallback):
    r"""Log the spectra of the Jacobian at the training examples, and nothing else, while training.

    Cheaper than :class:`memzoo.callbacks.AttractorCallback`, and says less: a spectral radius below 1 makes an
    attractor only of a fixed point, and an untrained network has it everywhere. Look at the residual beside it.

    ``contraction/contracting``
        Share of tracked examples whose spectral radius is below 1 beyond its error bound.
    ``contraction/radius_median``, ``contraction/radius_max``
        Spectral radius, the largest modulus of an eigenvalue.
    ``contraction/sigma_median``
        Largest singular value: the most that one step stretches, in L2. Above 1 with a radius below 1, small
        differences grow before they shrink.
    ``contraction/residual``
        Median relative residual :math:`\|f(x) - x\| / \|x\|`.

    Everything else is as in :class:`memzoo.callbacks.AttractorCallback`, also the arguments.

    Args:
        examples: Tracked examples (n, \*shape); else up to ``max_examples`` rows of the training set.
        self_map: ``self_map(module, x)`` returns the reconstruction, where ``forward`` returns something else.
        max_examples: Most examples to measure at one time.
        rotate: Track this many times as many, and measure the subsets in turn.
        every_n_epochs: Measure at these epochs.
        every_n_steps: Measure at these optimizer steps.
        budget: Share of the training time, where neither of these two is given.
        verbose: Print a table at the end.
        name: First part of the keys.

    Raises:
        NotASelfMapError: At the start of training, when the module does not map the examples to their own shape.
    """

    NAMES: ClassVar[tuple[str, ...]] = ("contracting", "radius_median", "radius_max", "sigma_median", "residual")
    BAR: ClassVar[tuple[str, ...]] = ("radius_max",)
    NOTHING: ClassVar[dict[str, float]] = {"contracting": 0.0}
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
        super().__init__(
            examples,
            self_map=self_map,
            max_examples=max_examples,
            rotate=rotate,
            every_n_epochs=every_n_epochs,
            every_n_steps=every_n_steps,
            budget=budget,
            verbose=verbose,
            name=name,
        )

    def measure_part(self, f: nn.Module, examples: Tensor, part: Part) -> dict[str, Tensor]:
        """Spectra and residuals of its examples."""
        mine = examples[part.rows(len(examples)).to(examples.device)]
        if not len(mine):
            return {}
        found = compute_leading_eigenvalues(f, mine)
        residual = (f(mine) - mine).flatten(1).norm(dim=1) / mine.flatten(1).norm(dim=1).clamp(min=1e-12)
        return {
            "radius": found.radius.cpu(),
            "error": found.radius_error.cpu(),
            "sigma": found.sigma_max.cpu(),
            "residual": residual.cpu(),
        }

    def put_together(self, parts: list[Any], examples: Tensor) -> dict[str, float]:
        """Medians and shares over the examples of all processes."""
        radius, error, sigma, residual = (
            torch.cat([part[name] for part in parts if part]) for name in ("radius", "error", "sigma", "residual")
        )
        low, high = radius.quantile(radius.new_tensor([0.25, 0.75])).tolist()
        return {
            "contracting": (radius + error < 1).float().mean().item(),
            "radius_median": radius.quantile(0.5).item(),
            "radius_max": radius.max().item(),
            "sigma_median": sigma.quantile(0.5).item(),
            "residual": residual.quantile(0.5).item(),
            "radius_q25": low,
            "radius_q75": high,
        }
