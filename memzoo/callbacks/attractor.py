"""Attractors and recovery, measured while training."""

import math
import time
import warnings
from typing import Any, final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from memzoo._checks import check_eps, check_steps
from memzoo.callbacks.evaluation import evaluation_mode
from memzoo.callbacks.history import closing_table, plot_history
from memzoo.callbacks.self_map import Adapter, find_self_map
from memzoo.callbacks.tracked import matching_noise, rows
from memzoo.dynamics import certify, default_eps, recovery_curve, spectrum
from memzoo.dynamics.jacobian import Jacobians
from memzoo.errors import NonFiniteError

KEYS = ("fraction", "recovered", "converged", "radius_median", "radius_max", "residual")
EXAMPLES, WIDE_EXAMPLES = 32, 8  # tracked by default; where the map is nowhere narrower than its input


@final
class AttractorCallback(Callback):
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
    ``history`` and in the loggers, but no longer in ``trainer.callback_metrics``.

    Args:
        examples: Tracked examples (n, \*shape); else up to ``max_examples`` rows spread over the training set.
        starts: Starts of the iteration (B, \*shape); else up to ``max_starts`` rows of the validation set, else noise
            with the examples' mean and variance.
        self_map: ``self_map(module, x)`` returns the reconstruction, where ``forward`` returns something else.
        eps: Radius of recovery, L2; :func:`memzoo.dynamics.default_eps` of the examples when left out.
        steps: Iterations T.
        max_examples: Most examples to track; 32 when left out, 8 for large maps that are nowhere narrower than their
            input, whose leading eigenvalues come from products with the Jacobian.
        max_starts: Most starts.
        every_n_epochs: Measure at these epochs; when left out the cadence follows ``budget``.
        budget: Share of the training time that measuring may take; turned into a number of steps after each
            measurement. The first and the closing measurement are made in any case, and one at every epoch when
            another callback monitors a key: it would take an old value for a new one.
        seed: Seed of the noise starts.
        verbose: Print a table at the end.
        name: First part of the keys; two callbacks in one Trainer need two names.

    Raises:
        NotASelfMapError: At the start of training, when the module does not map the examples to their own shape.
    """

    def __init__(
        self,
        examples: Tensor | None = None,
        starts: Tensor | None = None,
        *,
        self_map: Adapter | None = None,
        eps: float | None = None,
        steps: int = 200,
        max_examples: int | None = None,
        max_starts: int = 200,
        every_n_epochs: int | None = None,
        budget: float = 0.05,
        seed: int = 0,
        verbose: bool = True,
        name: str = "attractor",
    ) -> None:
        if not 0 < budget <= 1:
            raise ValueError(f"budget is a share of the training time in (0, 1], got {budget}.")
        if every_n_epochs is not None and every_n_epochs < 1:
            raise ValueError(f"every_n_epochs must be at least 1, got {every_n_epochs}.")
        if (max_examples is not None and max_examples < 1) or max_starts < 1:
            raise ValueError(f"max_examples and max_starts must be at least 1, got {max_examples} and {max_starts}.")
        check_steps(steps)
        if eps is not None:
            check_eps(eps)
        self.given_examples, self.given_starts, self.given_eps = examples, starts, eps
        self.adapter, self.steps, self.seed = self_map, steps, seed
        self.max_examples, self.max_starts = max_examples, max_starts
        self.every_n_epochs, self.budget, self.verbose, self.name = every_n_epochs, budget, verbose, name
        self.keys = tuple(f"{name}/{key}" for key in KEYS)
        self._forget()

    def _forget(self) -> None:
        self.history: list[dict[str, float]] = []
        self._next_step = 0
        self._measuring_s = 0.0
        self._loss: Tensor | None = None
        self._training = False

    # What is measured -------------------------------------------------------------------------------------------------

    def measure(self, module: nn.Module) -> dict[str, float]:
        """One measurement of ``module`` on the tracked examples and starts; leaves no trace on it."""
        examples, starts = like_parameters(self.examples, module), like_parameters(self.starts, module)
        with evaluation_mode(module):
            f, examples = find_self_map(module, self.adapter, examples)
            starts = starts.reshape(-1, *examples.shape[1:])
            norm = examples.flatten(1).norm(dim=1).clamp(min=1e-12)
            residual = (f(examples) - examples).flatten(1).norm(dim=1) / norm
            with warnings.catch_warnings():  # while training, fixed points far from their examples are no surprise
                warnings.filterwarnings(
                    "ignore", message="eps = .* the distance of the fixed points", category=UserWarning
                )
                curve = recovery_curve(f, starts, examples, self.steps, eps=self.eps, tol=None)
            certificates = certify(f, examples, eps=self.eps)
            radius = spectrum(f, examples, top=1).radius
        values = (
            certificates.fraction,
            curve.rate[-1],
            curve.arrived[-1],
            radius.median(),
            radius.max(),
            residual.median(),
        )
        return {key: float(value) for key, value in zip(self.keys, values, strict=True)}

    def _measure_or_warn(self, module: nn.Module) -> dict[str, float]:
        try:
            return self.measure(module)
        except NonFiniteError as error:
            rank_zero_warn(f"nothing is recovered from a network that is not finite: {error}")
            return dict.fromkeys(self.keys[:3], 0.0) | dict.fromkeys(self.keys[3:], math.nan)
        except RuntimeError as error:
            if not self.history:
                raise
            rank_zero_warn(f"a measurement failed, training goes on: {error}")  # out of memory, for one
            return dict.fromkeys(self.keys, math.nan)

    # When -------------------------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """A new fit starts a new history; a checkpoint to resume from is read after this."""
        if stage == "fit":
            self._forget()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose examples, starts and eps, and check that the module maps them to their own shape."""
        try:
            data = self.given_examples
            if data is None:
                most = self.max_examples or EXAMPLES
                data = rows(trainer.train_dataloader, most, batches=trainer.num_training_batches)
            with evaluation_mode(pl_module):
                f, adapted = find_self_map(pl_module, self.adapter, like_parameters(data, pl_module))
            chosen = self.given_examples is not None or self.max_examples is not None
            if not chosen and len(data) > WIDE_EXAMPLES and Jacobians(f, adapted, None, 2**30).method == "arnoldi":
                data = data[:: math.ceil(len(data) / WIDE_EXAMPLES)]
                rank_zero_info(
                    f"{type(pl_module).__name__} is nowhere narrower than its {adapted[0].numel()} inputs, so that "
                    f"measuring is slower: {len(data)} examples are tracked; set max_examples to track more."
                )
            self.examples = data.detach().cpu()
            self.starts = self._choose_starts(trainer)
            self.eps = default_eps(self.examples) if self.given_eps is None else self.given_eps
        except TypeError as error:
            raise TypeError(f"AttractorCallback could not read the tracked examples: {error}") from error
        self._monitored = any(
            str(getattr(callback, "monitor", None)).startswith(f"{self.name}/")
            for callback in trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        )
        self._started = time.monotonic()
        self._first_step = trainer.global_step
        self._training, self._logged = True, False

    def _choose_starts(self, trainer: Trainer) -> Tensor:
        if self.given_starts is not None:
            return self.given_starts.detach().cpu()
        if trainer.val_dataloaders:
            return rows(trainer.val_dataloaders, self.max_starts)
        return matching_noise(self.examples, self.max_starts, torch.Generator().manual_seed(self.seed))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember the loss without waiting for it."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        self._loss = loss.detach() if isinstance(loss, Tensor) else None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure here where the run validates, so that monitors of the validation see the value."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._measure_if_due(trainer, pl_module, closing=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, unless the validation of this epoch just did."""
        self._measure_if_due(trainer, pl_module, closing=_ends_here(trainer))

    def _measure_if_due(self, trainer: Trainer, pl_module: LightningModule, *, closing: bool) -> None:
        step = trainer.global_step
        measured = bool(self.history) and self.history[-1]["step"] == step
        if self.every_n_epochs is not None:
            due = not self.history or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        else:
            due = self._monitored or step >= self._next_step
        if (due or closing) and not measured:
            self._record(trainer, pl_module)
        elif self._logged:
            return
        self._logged = True  # a resumed run goes on with the last values, so that monitors find their keys
        for key in self.keys:
            bar = key in self.keys[:2]
            alone = trainer.world_size == 1
            pl_module.log(key, self.history[-1][key], prog_bar=bar, on_epoch=True, sync_dist=not alone, batch_size=1)

    def _record(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, float]:
        """Measure on rank 0, tell all ranks, and settle on rank 0 when the next measurement is due."""
        step, before = trainer.global_step, time.monotonic()
        values = self._measure_or_warn(pl_module) if trainer.is_global_zero else {}
        cost = time.monotonic() - before
        self._measuring_s += cost
        training_s = max(time.monotonic() - self._started - self._measuring_s, 1e-9)
        per_step = training_s / max(step - self._first_step, 1)
        next_step = step + max(1, math.ceil(cost / (self.budget * per_step)))
        values, self._next_step = trainer.strategy.broadcast((values, next_step))
        loss = math.nan if self._loss is None else float(self._loss)
        self.history.append(
            {"step": step, "epoch": trainer.current_epoch, "loss": loss, **values, "seconds": round(cost, 4)}
        )
        return values

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the closing state and print the table."""
        self._training = False
        if not self.history or self.history[-1]["step"] != trainer.global_step:
            values = self._record(trainer, pl_module)
            for logger in trainer.loggers:
                logger.log_metrics(values, step=trainer.global_step)
        if self.verbose:
            rank_zero_info(self.table())

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """An interrupted run is measured too; after any other error nothing is touched."""
        if isinstance(exception, KeyboardInterrupt) and self._training:
            self.on_train_end(trainer, pl_module)

    # What is kept and shown -------------------------------------------------------------------------------------------

    def table(self) -> str:
        """The history as text, thinned to at most a dozen lines."""
        if not self.history:
            return "Attractors: nothing was measured yet."
        about = f"{len(self.examples)} examples, {len(self.starts)} starts, T = {self.steps}, eps = {self.eps:.3g}"
        return closing_table(self.history, self.name, about)

    def plot(self) -> Any:
        """Figure of the history: attractors and recovery above, spectral radius below, against steps."""
        return plot_history(self.history, self.name)

    @property
    def state_key(self) -> str:
        """Two callbacks of different names can stand side by side."""
        return self._generate_state_key(name=self.name)

    def state_dict(self) -> dict[str, Any]:
        """History and cadence, in plain Python."""
        return {"history": self.history, "next_step": self._next_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the checkpoint stood."""
        self.history = list(state_dict["history"])
        self._next_step = state_dict["next_step"]


def _ends_here(trainer: Trainer) -> bool:
    """The run is known to end with this epoch, so its closing state can still be logged and monitored."""
    epochs = trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch + 1
    steps = 0 <= trainer.max_steps <= trainer.global_step
    return epochs or steps or trainer.should_stop


def like_parameters(points: Tensor, module: nn.Module) -> Tensor:
    """Points on the device of the module's parameters, in float64 where they are."""
    parameter = next(module.parameters(), points)
    return points.to(parameter.device, torch.float64 if parameter.dtype == torch.float64 else torch.float32)
