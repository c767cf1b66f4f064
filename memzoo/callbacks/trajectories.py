"""Send pictures of iterates and spectra to the loggers while training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from memzoo._generators import keep_generators_unchanged
from memzoo.callbacks.loggers import Picture, PictureSender
from memzoo.callbacks.options import StartingOptions, Starts
from memzoo.callbacks.quantities import Quantity
from memzoo.callbacks.reporting import Row
from memzoo.callbacks.shards import Part
from memzoo.callbacks.starting import StartingCallback
from memzoo.callbacks.tracked_examples import LARGEST_JACOBIAN_BYTES
from memzoo.dynamics import iterate, nearest, spectrum
from memzoo.dynamics.spectra import Jacobians
from memzoo.errors import InvalidArgumentError
from memzoo.modules import Adapter
from memzoo.plotting import draw_iterates, draw_spectrum

LEADING = 8
"""Eigenvalues of a large map that is nowhere narrower than its input, whose Jacobian is not formed."""


@dataclass(frozen=True)
class Trajectories:
    """Hold what is drawn, in the shape of the examples."""

    starts: Tensor
    iterates: dict[int, Tensor]
    """``{t: f^t(start)}``; of a diverged orbit the last finite point."""
    diverged: Tensor
    examples: Tensor
    nearest: Tensor
    """Index of the example nearest to the last iterate, one for each start."""
    eigenvalues: Tensor
    """Eigenvalues of the Jacobians, one row for each example; rows are padded with zeros to one length."""


@final
class TrajectoryLogger(StartingCallback):
    r"""Send pictures to the loggers while training: where iteration leads, and the spectrum at the training examples.

    ``trajectories/iterates``
        One row a start: the start, its iterates at ``times``, and the tracked example nearest to the last of them.
        Images of 1 or 3 channels are shown as they are, of others their mean over channels, vectors as strips. Values
        are clipped to [0, 1]; where the examples lie outside, the title says which range is shown instead.
    ``trajectories/spectrum``
        The eigenvalues of the Jacobian at the tracked examples, with the unit circle. All inside says something about
        attraction only where the examples are fixed points: see :class:`memzoo.callbacks.AttractorCallback`.

    TensorBoard and W&B show them over the steps. MLflow keeps files ``trajectories/iterates/step-N.png`` among the
    artifacts of its run, a CSV logger in its folder, with the eigenvalues beside them as ``step-N.csv``. Other loggers
    are tried by the methods of these, ``experiment.add_figure`` or ``log_image``; those without are left out. A logger
    that fails is warned of once, and training goes on. Nothing is added to ``trainer.callback_metrics``.

    Examples, starts, moments, processes, averaged weights and precision are as in
    :class:`memzoo.callbacks.AttractorCallback`; training is left bit-identical.

    Args:
        examples: Tracked examples (n, \*shape); else up to ``max_examples`` rows that are trained on.
        starts: Points (B, \*shape), a function that makes them from the examples, ``"validation"`` or ``"noise"``; when
            left out, up to ``max_starts`` rows of the validation, else noise.
        self_map: ``self_map(module, x)`` returns the reconstruction, if ``forward`` does not.
        times: Iterations after which the iterates are shown.
        max_examples: Most examples to track; 32 when left out, 8 for large maps nowhere narrower than their input.
        max_starts: Most starts, if they are not given.
        top: Eigenvalues kept an example. When left out all that can differ from zero; the leading 8 for large maps
            nowhere narrower than their input.
        folder: Also write the files of a CSV logger here; not in ``fast_dev_run``.
        every_n_epochs: Draw at these epochs.
        every_n_steps: Draw at these optimizer steps.
        budget: Share of the training time that measuring, drawing and sending may take, if neither is given.
        seed: Seed of the noise starts.
        name: First part of the tags; two of these in one Trainer need two names.

    Raises:
        NotASelfMapError: Before the first step, when the module does not map the examples to their own shape.
        TypeError: Before the first step, when the training batches hold no floating-point tensors.

    Warns:
        UserWarning: There is neither a logger nor a folder; a logger failed.
    """

    KIND: ClassVar[str] = "trajectories"
    QUANTITIES: ClassVar[tuple[Quantity, ...]] = ()
    TITLE: ClassVar[str] = "Trajectories"
    times: tuple[int, ...]
    top: int | None
    folder: str | Path | None

    def __init__(
        self,
        examples: Tensor | None = None,
        starts: Starts | None = None,
        *,
        self_map: Adapter | None = None,
        times: Sequence[int] = (1, 10, 100),
        max_examples: int | None = None,
        max_starts: int = 4,
        top: int | None = None,
        folder: str | Path | None = None,
        every_n_epochs: int | None = None,
        every_n_steps: int | None = None,
        budget: float = 0.05,
        seed: int = 0,
        name: str = "trajectories",
    ) -> None:
        if not times or min(times) < 1:
            raise InvalidArgumentError(
                f"times must be numbers of iterations, at least one and each at least 1, got {times}."
            )
        if top is not None and top < 1:
            raise InvalidArgumentError(f"top must be at least 1, got {top}.")
        self.times = tuple(sorted(set(times)))
        self.top = top
        self.folder = folder
        self.trajectories: Trajectories | None = None
        """What was drawn last."""
        options = StartingOptions(
            examples=examples,
            starts=starts,
            self_map=self_map,
            max_examples=max_examples,
            max_starts=max_starts,
            every_n_epochs=every_n_epochs,
            every_n_steps=every_n_steps,
            budget=budget,
            seed=seed,
            verbose=False,
            name=name,
        )
        super().__init__(options)

    def _forget(self) -> None:
        super()._forget()
        self.trajectories = None
        self._sender = PictureSender(self.name, self.folder)

    # What is measured -------------------------------------------------------------------------------------------------

    def measure_part(self, f: nn.Module, examples: Tensor, part: Part) -> dict[str, Any]:
        """Iterate from the starts of this process, and compute eigenvalues at its examples."""
        found: dict[str, Any] = {}
        starts = self.own_starts(f, examples, part)
        if len(starts):
            orbit = iterate(f, starts, max(self.times), keep=self.times)
            # A diverged orbit is drawn at its last finite point.
            iterates = {t: torch.where(points.isnan(), orbit.points, points) for t, points in orbit.kept.items()}
            found["iterates"] = {t: points.cpu() for t, points in iterates.items()}
            found["diverged"] = orbit.diverged.cpu()
        own = part.select(examples)
        if len(own):
            top = self.top
            if top is None and Jacobians(f, own, None, LARGEST_JACOBIAN_BYTES).method == "arnoldi":
                top = LEADING
            found["eigenvalues"] = spectrum(f, own, top=top).eigenvalues.cpu()
        return found

    def combine_parts(self, parts: list[Any], examples: Tensor) -> dict[str, float]:
        """Keep what is drawn, from the parts of all processes; there are no quantities to log."""
        assert self.starts is not None
        whole = Part(0, len(parts))
        by_start = whole.restore_order(len(self.starts))
        by_example = whole.restore_order(len(examples))
        started = [part for part in parts if "iterates" in part]
        iterates: dict[int, Tensor] = {}
        for t in self.times:
            points = torch.cat([part["iterates"][t] for part in started])
            iterates[t] = points[by_start].reshape(-1, *examples.shape[1:])
        last = iterates[self.times[-1]]  # times are sorted
        self.trajectories = Trajectories(
            starts=self.starts,
            iterates=iterates,
            diverged=torch.cat([part["diverged"] for part in started])[by_start],
            examples=examples,
            nearest=nearest(last, examples.to(last.dtype)).index,
            eigenvalues=_pad_and_join([part["eigenvalues"] for part in parts if "eigenvalues" in part])[by_example],
        )
        return {}

    def _measure_in_all_processes(self, run: Any, module: nn.Module, examples: Tensor) -> Row:
        self.trajectories = None
        values = super()._measure_in_all_processes(run, module, examples)
        if self.trajectories is not None and run.is_global_zero:
            with keep_generators_unchanged():  # loggers may draw names at random
                self._sender.send(run, lambda: self._draw(f"step {run.global_step}"))
        return values

    # What is drawn ----------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the examples, and warn if neither a logger nor a folder takes the pictures."""
        if not trainer.loggers and self.folder is None:
            rank_zero_warn(
                f"{type(self).__name__} has no logger to send pictures to: give the Trainer one, for example "
                "logger=CSVLogger('logs'), or pass folder=; plot() draws the last ones."
            )
        super().on_train_start(trainer, pl_module)

    def _draw(self, title: str) -> list[Picture]:
        """Draw the iterates and the spectrum of the last measurement."""
        found = self.trajectories
        if found is None:
            raise InvalidArgumentError(
                f"{type(self).__name__} has nothing to draw: the last measurement found nothing, or none was made."
            )
        columns = [("start", found.starts)]
        columns += [(f"t = {t}", points) for t, points in found.iterates.items()]
        columns.append(("nearest\nexample", found.examples[found.nearest]))
        title_of_iterates = title
        diverged = int(found.diverged.sum())
        if diverged:
            title_of_iterates += f"\n{diverged} of {len(found.starts)} diverged (last finite points)"
        iterates = draw_iterates(columns, found.examples, title_of_iterates)
        values = draw_spectrum(found.eigenvalues, title)
        return [
            Picture(f"{self.name}/iterates", iterates),
            Picture(f"{self.name}/spectrum", values, _format_csv(found.eigenvalues)),
        ]

    def plot(self) -> Any:
        """Draw both figures of the last measurement, ``(iterates, spectrum)``.

        Raises:
            ValueError: No measurement was made, or the last one found nothing.
        """
        title = f"step {self.history[-1]['step']}" if self.history else "iteration"
        iterates, values = self._draw(title)
        return iterates.figure, values.figure


def _pad_and_join(eigenvalues: list[Tensor]) -> Tensor:
    """Join rows of eigenvalues one part after another, padded with zeros to the longest."""
    width = max(values.shape[1] for values in eigenvalues)
    return torch.cat([nn.functional.pad(values, (0, width - values.shape[1])) for values in eigenvalues])


def _format_csv(eigenvalues: Tensor) -> str:
    """Format a line of CSV for each eigenvalue, largest modulus first within its example."""
    lines = ["example,real,imag,modulus"]
    for example, row in enumerate(eigenvalues.tolist()):
        lines += [f"{example},{value.real!r},{value.imag!r},{abs(value)!r}" for value in row]
    return "\n".join([*lines, ""])
