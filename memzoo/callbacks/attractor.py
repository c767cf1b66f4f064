"""Attractors and recovery, measured while training."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from memzoo._checks import check_eps, check_steps
from memzoo.callbacks.advice import advice
from memzoo.callbacks.cost import affordable_starts
from memzoo.callbacks.history import examples_table
from memzoo.callbacks.shards import Part
from memzoo.callbacks.starting import StartingCallback, Starts
from memzoo.dynamics import Certificates, default_eps, recovery_curve
from memzoo.dynamics.attractors import certify_quickly
from memzoo.dynamics.spectra import compute_leading_eigenvalues
from memzoo.modules import Adapter, evaluation_mode, find_self_map, like_parameters

SETTLING = 200  # iterations from an example towards its limit, at least; Newton's method goes on from there


@dataclass(frozen=True)
class Measured:
    """What one process measured: its examples and its starts."""

    certificates: Certificates | None
    radius: Tensor
    residual: Tensor
    reached: Tensor
    arrived: int


@final
class AttractorCallback(StartingCallback):
    r"""Log how many training examples are attractors, and how many are recovered by iteration, while training.

    ``Trainer(callbacks=[AttractorCallback()])`` works on any LightningModule whose ``forward`` maps a batch to a batch
    of the same shape. Training is left bit-identical: the module is measured in eval mode, with a generator of its own.

    Logged, at the end of an epoch (of its validation, where there is one), so that EarlyStopping and ModelCheckpoint
    can monitor each key in any order of the callbacks:

    ``attractor/fraction``
        Share of tracked examples certified as attractors: a fixed point within ``eps`` of the example, shared with no
        other, spectral radius below 1 beyond its error bound. 0 for untrained and for constant maps.
    ``attractor/recovered``
        :math:`R_T`: share of tracked examples within ``eps`` of some start after ``steps`` iterations.
    ``attractor/converged``
        Share of starts that end within ``eps`` of a tracked example.
    ``attractor/radius_median``, ``attractor/radius_max``
        Spectral radius at the tracked examples; says something about attraction only where the residual is small.
    ``attractor/residual``
        Median relative residual :math:`\|f(x) - x\| / \|x\|` of the tracked examples.

    The first epoch is always measured, so that monitors find their keys, and so is the state at the end of the run. A
    run that another callback or the user stops is over when this one hears of it: then the closing values are in
    ``history`` and in the loggers, but no longer in ``trainer.callback_metrics``. In ``Trainer.validate`` and
    ``Trainer.test`` the same keys are logged, once the examples are known.

    With several processes (DDP), examples and starts are shared out among them, and all log the same values. With
    weight averaging (``EMAWeightAveraging``), the averaged weights are measured, those that the run ends with.
    ``torch.compile``'d parts run eagerly, and mixed precision is off, while measuring.

    Args:
        examples: Tracked examples (n, \*shape); else up to ``max_examples`` rows spread over the training set. Of a
            dataset that can only be streamed, the first rows that come by in training.
        starts: Starts of the iteration: points (B, \*shape), a function that makes them from the examples,
            ``"validation"`` or ``"noise"``. When left out, up to ``max_starts`` rows of the validation set, else noise
            with the examples' mean and variance. Validation images that are tracked examples themselves are left out.
        self_map: ``self_map(module, x)`` returns the reconstruction, where ``forward`` returns something else.
        eps: Radius of recovery, L2; :func:`memzoo.dynamics.default_eps` of the examples when left out.
        steps: Iterations T.
        max_examples: Most examples to measure at one time, where they are not given; 32 when left out, 8 for large maps
            that are nowhere narrower than their input, whose leading eigenvalues come from products with the Jacobian.
        rotate: Track this many times as many examples, and measure the subsets in turn; the closing measurement is of
            all of them. A limit shared with an example outside the subset is seen only then.
        max_starts: Most starts; 200 when left out, fewer (at least 16) for networks so large that iterating these would
            take more than 5e11 operations.
        every_n_epochs: Measure at these epochs.
        every_n_steps: Measure at these optimizer steps, also within an epoch.
        budget: Share of the training time that measuring may take, the closing measurement included, where neither of
            these two is given; turned into a step after each measurement. The first and the closing measurement are
            made in any case, and one at every epoch when another callback monitors a key: it would take an old value
            for a new one (:class:`memzoo.callbacks.StopWhenMemorized` counts measurements instead).
        seed: Seed of the noise starts.
        verbose: Print a table at the end.
        name: First part of the keys; two callbacks in one Trainer need two names.

    Raises:
        NotASelfMapError: At the start of training, when the module does not map the examples to their own shape.
        TypeError: Likewise, when the training data hold no floating-point tensors.

    Warns:
        UserWarning: At the end, where the run was stopped while the loss was still falling, or where dropout or batch
            norm make the measured map another than the one that was trained.
    """

    NAMES: ClassVar[tuple[str, ...]] = ("fraction", "recovered", "converged", "radius_median", "radius_max", "residual")
    BAR: ClassVar[tuple[str, ...]] = ("fraction", "recovered")
    NOTHING: ClassVar[dict[str, float]] = {"fraction": 0.0, "recovered": 0.0, "converged": 0.0}
    TITLE: ClassVar[str] = "Attractors"
    given_eps: float | None
    steps: int

    def __init__(
        self,
        examples: Tensor | None = None,
        starts: Starts | None = None,
        *,
        self_map: Adapter | None = None,
        eps: float | None = None,
        steps: int = 200,
        max_examples: int | None = None,
        rotate: int = 1,
        max_starts: int | None = None,
        every_n_epochs: int | None = None,
        every_n_steps: int | None = None,
        budget: float = 0.05,
        seed: int = 0,
        verbose: bool = True,
        name: str = "attractor",
    ) -> None:
        check_steps(steps)
        if eps is not None:
            check_eps(eps)
        self.given_eps, self.steps = eps, steps
        self.eps: float = math.nan
        self.certificates: Certificates | None = None
        """Of the last measurement, one row a tracked example."""
        super().__init__(
            examples,
            starts,
            self_map=self_map,
            max_examples=max_examples,
            rotate=rotate,
            max_starts=max_starts,
            seed=seed,
            every_n_epochs=every_n_epochs,
            every_n_steps=every_n_steps,
            budget=budget,
            verbose=verbose,
            name=name,
        )

    def _forget(self) -> None:
        super()._forget()
        self.certificates = None

    def most_starts(self, module: nn.Module, examples: Tensor) -> int:
        """As many as were asked for, else as many as the network can be iterated from at a reasonable price."""
        if self.max_starts is not None:
            return self.max_starts
        with evaluation_mode(module):
            f, fitting = find_self_map(module, self.adapter, like_parameters(examples, module))
            return affordable_starts(f, fitting[:1], self.steps)

    def choose_others(self, trainer: Trainer, examples: Tensor) -> None:
        """Starts and eps; starts that a checkpoint brought are kept."""
        self.eps = default_eps(examples) if self.given_eps is None else self.given_eps
        super().choose_others(trainer, examples)

    # What is measured -------------------------------------------------------------------------------------------------

    def measure(self, module: nn.Module) -> dict[str, float]:
        """One measurement of ``module`` on all tracked examples and starts, in this process; leaves no trace on it.

        Raises:
            ValueError: No examples or starts were given, and no run has begun.
        """
        examples = self._tracked()
        if math.isnan(self.eps):
            self.eps = default_eps(examples) if self.given_eps is None else self.given_eps
        return super().measure(module)

    def measure_part(self, f: nn.Module, examples: Tensor, part: Part) -> Measured:
        """Certificates and radii of its examples; which examples its starts reach."""
        mine = examples[part.rows(len(examples)).to(examples.device)]
        starts = self.own_starts(f, examples, part)
        reached, arrived = torch.zeros(len(examples), dtype=torch.bool), 0
        if len(starts):  # while training, fixed points far from their examples are no surprise: no offset
            curve = recovery_curve(f, starts, examples, self.steps, eps=self.eps, tol=None, offset=math.nan)
            reached, arrived = curve.reached.cpu(), int((curve.ended_at >= 0).sum())
        if not len(mine):
            return Measured(None, torch.empty(0), torch.empty(0), reached, arrived)
        norm = mine.flatten(1).norm(dim=1).clamp(min=1e-12)
        residual = (f(mine) - mine).flatten(1).norm(dim=1) / norm
        certificates = certify_quickly(f, mine, self.eps, steps=max(self.steps, SETTLING))
        here = {name: value.cpu() for name, value in vars(certificates).items() if isinstance(value, Tensor)}
        radius = compute_leading_eigenvalues(f, mine).radius
        return Measured(replace(certificates, **here), radius.cpu(), residual.cpu(), reached, arrived)

    def put_together(self, parts: list[Any], examples: Tensor) -> dict[str, float]:
        """Which limits are shared is decided over the examples of all processes."""
        found = [part.certificates for part in parts if part.certificates is not None]
        order = Part(0, len(parts)).order(len(examples))
        joined = Certificates.join(found, _mine(examples, len(parts)))[order]
        self.certificates = replace(joined, limit_of=_first_of(joined.limit_of, order))
        radius = torch.cat([part.radius for part in parts])
        residual = torch.cat([part.residual for part in parts])
        low, high = radius.quantile(radius.new_tensor([0.25, 0.75])).tolist()
        assert self.starts is not None
        return {
            "fraction": self.certificates.fraction,
            "recovered": torch.stack([part.reached for part in parts]).any(0).float().mean().item(),
            "converged": sum(part.arrived for part in parts) / len(self.starts),
            "radius_median": radius.quantile(0.5).item(),
            "radius_max": radius.max().item(),
            "residual": residual.quantile(0.5).item(),
            "radius_q25": low,
            "radius_q75": high,
        }

    # What is shown ----------------------------------------------------------------------------------------------------

    def about(self) -> str:
        """What the values refer to."""
        starts = 0 if self.starts is None else len(self.starts)
        return f"{len(self._tracked())} examples, {starts} starts, T = {self.steps}, eps = {self.eps:.3g}"

    def examples_table(self) -> str:
        """The last measurement, a line an example: is it an attractor, where is its limit, with whom is it shared."""
        if self.certificates is None:
            return "Nothing was measured yet."
        return examples_table(self.certificates, self._chosen.tolist())

    def advise(self, module: nn.Module) -> None:
        """Warn of what the closing state says that the user can act on."""
        advice(module, self.history, self.name)


def _mine(examples: Tensor, parts: int) -> Tensor:
    """The examples in the order in which their parts are joined."""
    return torch.cat([examples[Part(i, parts).rows(len(examples))] for i in range(parts)])


def _first_of(groups: Tensor, order: Tensor) -> Tensor:
    """The first member of each row's group, where ``groups`` name members by their places before ``order``."""
    place = order.argsort()
    named = place[groups]
    return torch.stack([(named == own).nonzero()[0, 0] for own in named])
