"""Measure attractors and recovery while training."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from memzoo._attempt import is_out_of_memory
from memzoo._checks import check_eps, check_steps
from memzoo.callbacks.advice import give_advice
from memzoo.callbacks.bad_rows import describe_bad_rows, find_bad_rows
from memzoo.callbacks.cost import affordable_starts
from memzoo.callbacks.history import format_certificates
from memzoo.callbacks.options import StartingOptions, Starts
from memzoo.callbacks.quantities import Quantity, quantities_of
from memzoo.callbacks.radii import relative_residual, summarise_radii
from memzoo.callbacks.reporting import Row
from memzoo.callbacks.shards import Part
from memzoo.callbacks.starting import StartingCallback
from memzoo.dynamics import Certificates, RecoveryCurve, example_eps, group_near_copies, recovery_curve
from memzoo.dynamics.attractors import certify_near, certify_quickly
from memzoo.dynamics.orbits import format_eps, resolve_eps, resolve_groups
from memzoo.dynamics.spectra import compute_radii
from memzoo.errors import InvalidArgumentError
from memzoo.modules import Adapter, evaluation_mode, find_self_map, like_parameters
from memzoo.runs import Run

MEMORY = 3 * 2**27
"""Bytes for the Jacobians in work at one time, beside a training."""
SETTLING = 200
"""Least number of iterations from an example towards its limit, before Newton's method takes over."""


@dataclass(frozen=True)
class Measured:
    """Hold what one process measured on its examples and from its starts."""

    certificates: Certificates | None
    radius: Tensor
    residual: Tensor
    reached: Tensor
    """Examples that its starts are within eps of at the last step."""
    ever_reached: Tensor
    """Examples that its starts are within eps of at some step."""
    arrived: int


@final
class AttractorCallback(StartingCallback):
    r"""Log how many training examples are attractors, and how many are recovered by iteration, while training.

    ``Trainer(callbacks=[AttractorCallback()])`` works on any LightningModule whose ``forward`` maps a batch to a batch
    of the same shape. Training is left bit-identical: the module is measured in eval mode, with a generator of its own.

    Logged, at the end of an epoch (of its validation, if there is one), so that EarlyStopping and ModelCheckpoint
    can monitor each key in any order of the callbacks:

    ``attractor/fraction``
        Share of tracked examples certified as attractors: a fixed point within ``eps`` of the example, shared with no
        other, spectral radius below 1 beyond its error bound. 0 for untrained and for constant maps.
    ``attractor/recovered``
        Share of tracked examples within ``eps`` of some start after ``steps`` iterations, :math:`R_T`.
    ``attractor/ever_recovered``
        Share of tracked examples within ``eps`` of some start after ``steps`` iterations or fewer. An orbit may pass an
        example and leave it again; :func:`memzoo.audit` gives both shares by the same names.
    ``attractor/converged``
        Share of starts that end within ``eps`` of a tracked example.
    ``attractor/measured``
        Share of tracked examples that could be measured. The others count as neither attractors nor recovered, and stay
        in the denominators; ``history`` gives the ``reason``.
    ``attractor/radius_median``
        Median spectral radius at the tracked examples; of maps without a narrow place, to three digits by estimate.
        Examples at which nothing tells whether the derivative is that of the map are left out.
    ``attractor/radius_max``
        Largest spectral radius at the tracked examples. Both say something about attraction only where the residual is
        small.
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
        examples: Tracked examples (n, \*shape). When left out, a random sample of up to ``max_examples`` distinct rows
            among those that ``training_step`` is given in the first epoch, whatever sampler, ``collate_fn`` and hooks
            they passed; of the first 65 536 rows if there are more. A measurement before the first epoch has ended is
            of a sample of the rows so far. Of data that are augmented at random, these versions are tracked.
        starts: Starts of the iteration: points (B, \*shape), a function that makes them from the examples,
            ``"validation"`` or ``"noise"``. When left out, a sample of up to ``max_starts`` rows that
            ``validation_step`` is given, without those that are tracked examples themselves. Noise is drawn where
            there are none, or none yet: each coordinate is that of a tracked example, drawn for each start anew.
        self_map: ``self_map(module, x)`` returns the reconstruction, if ``forward`` does not.
        eps: Radius of recovery, L2, one for all tracked examples or one for each of ``examples``. When left out,
            :func:`memzoo.dynamics.example_eps` of a sample of up to 1024 rows (as many as have 2**24 numbers, if
            fewer), of which the tracked ones are a part.
        steps: Iterations T.
        max_examples: Most examples to measure at one time, if they are not given; 32 when left out, 8 for large maps
            that are nowhere narrower than their input, whose leading eigenvalues come from products with the Jacobian.
        rotate: Track this many times as many examples, and measure the subsets in turn; the closing measurement is of
            all of them. A limit shared with an example outside the subset is seen only then.
        max_starts: Most starts; 200 when left out, fewer (at least 16) for networks so large that iterating these would
            take more than 5e11 operations.
        every_n_epochs: Measure at these epochs.
        every_n_steps: Measure at these optimizer steps, also within an epoch.
        budget: Share of the training time that measuring may take, the closing measurement included, if neither of
            these two is given; turned into a step after each measurement. The first and the closing measurement are
            made in any case, and one at every epoch when another callback monitors a key: it would take an old value
            for a new one (:class:`memzoo.callbacks.StopWhenMemorized` counts measurements instead).
        seed: Seed of the noise starts.
        verbose: Print a table at the end.
        name: First part of the keys; two callbacks in one Trainer need two names.

    Raises:
        ValueError: An argument is out of its range, or ``eps`` holds several radii, not one for each of ``examples``.
        NotASelfMapError: Before the first step, when the module does not map the examples to their own shape.
        TypeError: Before the first step, when the training batches hold no floating-point tensors.

    Warns:
        UserWarning: At the end, if the run was stopped while the loss was still falling, or where dropout or batch
            norm make the measured map another than the one that was trained.
    """

    KIND: ClassVar[str] = "attractor"
    QUANTITIES: ClassVar[tuple[Quantity, ...]] = quantities_of(KIND)
    TITLE: ClassVar[str] = "Attractors"
    given_eps: float | Tensor | None
    steps: int
    eps: Tensor | None
    """Radius of recovery of each tracked example; None before the examples are known."""
    group: Tensor | None
    """A number for each tracked example; those of equal numbers count as one."""

    def __init__(
        self,
        examples: Tensor | None = None,
        starts: Starts | None = None,
        *,
        self_map: Adapter | None = None,
        eps: float | Tensor | None = None,
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
        self.given_eps = eps
        self.steps = steps
        self.certificates: Certificates | None = None
        """Certificates of the last measurement, one row for each tracked example.

        Of maps without a narrow place, orbits that no verdict depends on are not followed: see ``ruled_out`` there.
        """
        options = StartingOptions(
            examples=examples,
            starts=starts,
            self_map=self_map,
            max_examples=max_examples,
            rotate=rotate,
            max_starts=max_starts,
            every_n_epochs=every_n_epochs,
            every_n_steps=every_n_steps,
            budget=budget,
            seed=seed,
            verbose=verbose,
            name=name,
        )
        super().__init__(options)
        if isinstance(eps, Tensor) and eps.ndim:
            if examples is None:
                raise InvalidArgumentError(
                    f"eps= holds {len(eps)} radii, one for each example, but nobody knows of which examples before the "
                    "run chooses them; pass examples= too, or one radius for all."
                )
            resolve_eps(eps, examples)

    def _forget(self) -> None:
        super()._forget()
        self.certificates = None
        self.eps = None
        self.group = None

    def most_starts(self, module: nn.Module, examples: Tensor) -> int:
        """Return the number that was asked for, else how many starts can be iterated at a reasonable cost."""
        if self.max_starts is not None:
            return self.max_starts
        with evaluation_mode(module):
            f, adapted = find_self_map(module, self.adapter, like_parameters(examples, module))
            return affordable_starts(f, adapted[:1], self.steps)

    def forget_others(self) -> None:
        """Forget the eps, the groups and the starts of examples that have changed."""
        super().forget_others()
        self.eps = None
        self.group = None

    def choose_others(self, run: Run, examples: Tensor) -> None:
        """Choose starts and eps; those that a checkpoint brought are kept."""
        if not self._tracked.pending:  # that of rows so far is derived when they are measured
            self._choose_eps(examples)
        super().choose_others(run, examples)

    def _choose_eps(self, examples: Tensor) -> Tensor:
        """Return the radius of each tracked example; it is derived once, from all rows that are known."""
        if self.eps is None and self.given_eps is None:
            self.eps = self._tracked.derive_from_all(example_eps)
            self.group = self._tracked.derive_from_all(lambda known: group_near_copies(known).group)
        else:
            self.eps = resolve_eps(self.given_eps if self.eps is None else self.eps, examples)
            self.group = resolve_groups(self.group, self.given_eps, examples)
        return self.eps

    # What is measured -------------------------------------------------------------------------------------------------

    def measure(self, module: nn.Module) -> Row:
        """Measure ``module`` on all tracked examples and starts, in this process, and leave no trace on it.

        Raises:
            ValueError: No examples or starts were given, and no run has begun.
        """
        self._choose_eps(self._tracked.get())
        return super().measure(module)

    def _measure_in_all_processes(self, run: Run, module: nn.Module, examples: Tensor) -> Row:
        self.certificates = None  # those before are not of a measurement that fails
        return super()._measure_in_all_processes(run, module, examples)

    def measure_part(self, f: nn.Module, examples: Tensor, part: Part) -> Measured:
        """Certify the examples of this process, and find which examples its starts reach."""
        eps = self._choose_eps(self._tracked.get())[self._tracked.chosen].to(examples.device)
        own = part.select(examples)
        reached, ever_reached, arrived = self._iterate_starts(f, examples, eps, part)
        if not len(own):
            return Measured(None, torch.empty(0), torch.empty(0), reached, ever_reached, arrived)
        residual = relative_residual(f, own)
        rows = self._add_copies(part.select(torch.arange(len(examples))))
        group = self._groups_measured[rows]
        steps = max(self.steps, SETTLING)
        # A limit that is shared with an example of another process is seen only if all orbits are followed.
        certify = certify_near if part.of == 1 else certify_quickly
        certificates = certify(f, examples[rows], eps[rows], steps=steps, group=group, memory_limit=MEMORY)
        certificates = certificates[torch.arange(len(own), device=own.device)]
        on_cpu = {name: value.cpu() for name, value in vars(certificates).items() if isinstance(value, Tensor)}
        radius = compute_radii(f, own, memory_limit=MEMORY)
        found = replace(certificates, **on_cpu)
        return Measured(found, radius.cpu(), residual.cpu(), reached, ever_reached, arrived)

    @property
    def _groups_measured(self) -> Tensor:
        """Return the groups of the examples that are measured now."""
        assert self.group is not None
        return self.group[self._tracked.chosen]

    def _add_copies(self, rows: Tensor) -> Tensor:
        """Add to ``rows`` the examples of other processes that count as one with one of them."""
        group = self._groups_measured
        beside = torch.isin(group, group[rows])
        beside[rows] = False
        return torch.cat([rows, beside.nonzero().flatten()])

    def _iterate_starts(self, f: nn.Module, examples: Tensor, eps: Tensor, part: Part) -> tuple[Tensor, Tensor, int]:
        """Return which examples the starts of this process reach, at the end and ever, and how many starts arrive."""
        starts = self.own_starts(f, examples, part)
        if not len(starts):
            none = torch.zeros(len(examples), dtype=torch.bool)
            return none, none, 0

        def follow(rows: Tensor) -> RecoveryCurve:
            # offset: while training, a fixed point far from its example is no reason for a warning
            return recovery_curve(f, starts[rows], examples, self.steps, eps=eps, tol=None, offset=math.nan)

        rows = torch.arange(len(starts))
        try:
            curve = follow(rows)
        except Exception as error:
            # a start at which the map fails does not arrive
            bad = {} if is_out_of_memory(error) else find_bad_rows(follow, rows)
            if len(bad) in (0, len(starts)):
                raise
            rank_zero_warn(f"{self.name}: {describe_bad_rows(bad, len(starts), 'starts')}")
            curve = follow(torch.tensor([row for row in rows.tolist() if row not in bad]))
        ever_reached = curve.recovered_at >= 0
        return curve.reached.cpu(), ever_reached.cpu(), int((curve.ended_at >= 0).sum())

    def combine_parts(self, parts: list[Any], examples: Tensor) -> dict[str, float]:
        """Combine the parts; which examples share a limit is decided over the examples of all processes."""
        assert self.starts is not None
        # The parts are joined one after another; everything per example is then put back into its order.
        whole = Part(0, len(parts))
        order = whole.restore_order(len(examples))
        certificates = [part.certificates for part in parts if part.certificates is not None]
        joined = Certificates.join(certificates, self._groups_measured[whole.joined_order(len(examples))])
        self.certificates = joined.reorder(order)
        residual = torch.cat([part.residual for part in parts])
        reached = torch.stack([part.reached for part in parts])
        ever_reached = torch.stack([part.ever_reached for part in parts])
        arrived = sum(part.arrived for part in parts)
        return {
            "fraction": self.certificates.fraction,
            "recovered": reached.any(0).float().mean().item(),
            "ever_recovered": ever_reached.any(0).float().mean().item(),
            "converged": arrived / len(self.starts),
            "residual": residual.quantile(0.5).item(),
            **summarise_radii(torch.cat([part.radius for part in parts])),
        }

    # What is kept and shown -------------------------------------------------------------------------------------------

    def kept(self) -> dict[str, Tensor]:
        """Return examples, their eps, and starts, as far as they did not come as arguments."""
        kept = super().kept()
        # The eps of examples that a run has chosen comes from rows which a resumed run does not know.
        if "examples" in kept and self.eps is not None and self.given_eps is None:
            kept["eps"] = self.eps
            if self.group is not None:
                kept["group"] = self.group
        return kept

    def restore(self, kept: dict[str, Tensor]) -> None:
        """Take over the tensors that a checkpoint kept; earlier versions kept no eps, and no groups."""
        super().restore(kept)
        if self.given_eps is None:  # a radius that is given now holds, whatever the earlier run derived
            self.eps = kept.get("eps", self.eps)
            self.group = kept.get("group", self.group)

    def about(self) -> str:
        """Say what the values refer to."""
        eps = "nan" if self.eps is None else format_eps(self.eps)
        return f"{super().about()}, T = {self.steps}, eps = {eps}"

    def examples_table(self) -> str:
        """Return the last measurement with a line for each example: its verdict, its limit, who shares the limit."""
        if self.certificates is None:
            return "Nothing was measured yet."
        return format_certificates(self.certificates, self._tracked.chosen.tolist())

    def advise(self, module: nn.Module) -> None:
        """Warn if the closing state shows something that the user can change."""
        give_advice(module, self.history, self.name)
