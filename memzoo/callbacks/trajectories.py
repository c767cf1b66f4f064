"""Pictures of iterates and spectra, sent to the loggers while training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from memzoo.callbacks.loggers import Picture, send, write
from memzoo.callbacks.pictures import draw_iterates, draw_spectrum
from memzoo.callbacks.shards import Part
from memzoo.callbacks.starting import StartingCallback, Starts
from memzoo.dynamics import iterate, nearest, spectrum
from memzoo.dynamics.spectra import Jacobians
from memzoo.errors import InvalidArgumentError
from memzoo.modules import Adapter

LEADING = 8  # eigenvalues of a large map that is nowhere narrower than its input, whose Jacobian is not formed


@dataclass(frozen=True)
class Trajectories:
    """What is drawn, in the shape of the examples."""

    starts: Tensor
    iterates: dict[int, Tensor]
    """``{t: f^t(start)}``; of a diverged orbit the last finite point."""
    diverged: Tensor
    examples: Tensor
    nearest: Tensor
    """Index of the example nearest to the last iterate, one a start."""
    eigenvalues: Tensor
    """Of the Jacobians, one row an example; filled up with zeros where examples have different numbers of them."""


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
        examples: Tracked examples (n, \*shape); else up to ``max_examples`` rows spread over the training set.
        starts: Points (B, \*shape), a function that makes them from the examples, ``"validation"`` or ``"noise"``; when
            left out, up to ``max_starts`` rows of the validation set, else noise.
        self_map: ``self_map(module, x)`` returns the reconstruction, where ``forward`` returns something else.
        times: Iterations after which the iterates are shown.
        max_examples: Most examples to track; 32 when left out, 8 for large maps nowhere narrower than their input.
        max_starts: Most starts, where they are not given.
        top: Eigenvalues kept an example. When left out all that can differ from zero; the leading 8 for large maps
            nowhere narrower than their input.
        folder: Also write the files of a CSV logger here; not in ``fast_dev_run``.
        every_n_epochs: Draw at these epochs.
        every_n_steps: Draw at these optimizer steps.
        budget: Share of the training time that measuring, drawing and sending may take, where neither is given.
        seed: Seed of the noise starts.
        name: First part of the tags; two of these in one Trainer need two names.

    Raises:
        NotASelfMapError: At the start of training, when the module does not map the examples to their own shape.
        TypeError: Likewise, when the training data hold no floating-point tensors.

    Warns:
        UserWarning: There is neither a logger nor a folder; a logger failed.
    """

    NAMES: ClassVar[tuple[str, ...]] = ()
    BAR: ClassVar[tuple[str, ...]] = ()
    NOTHING: ClassVar[dict[str, float]] = {}
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
        self.times, self.top, self.folder = tuple(sorted(set(times))), top, folder
        self.trajectories: Trajectories | None = None
        """Of the last measurement."""
        super().__init__(
            examples,
            starts,
            self_map=self_map,
            max_examples=max_examples,
            rotate=1,
            max_starts=max_starts,
            every_n_epochs=every_n_epochs,
            every_n_steps=every_n_steps,
            budget=budget,
            seed=seed,
            verbose=False,
            name=name,
        )

    def _forget(self) -> None:
        super()._forget()
        self.trajectories = None
        self._complained: set[str] = set()

    # What is measured -------------------------------------------------------------------------------------------------

    def measure_part(self, f: nn.Module, examples: Tensor, part: Part) -> dict[str, Any]:
        """Iterates of its starts, eigenvalues at its examples."""
        mine, starts = examples[part.index :: part.of], self.own_starts(f, examples, part)
        found: dict[str, Any] = {}
        if len(starts):
            orbit = iterate(f, starts, max(self.times), keep=self.times)
            found["iterates"] = {t: points.cpu() for t, points in orbit.kept.items()}
            found["diverged"] = orbit.diverged.cpu()
        if len(mine):
            top = self.top
            if top is None and Jacobians(f, mine, None, 2**30).method == "arnoldi":
                top = LEADING
            found["eigenvalues"] = spectrum(f, mine, top=top).eigenvalues.cpu()
        return found

    def put_together(self, parts: list[Any], examples: Tensor) -> dict[str, float]:
        """What is drawn, from the parts of all processes."""
        assert self.starts is not None
        shape, by_start = examples.shape[1:], _order(len(self.starts), len(parts))
        started = [part for part in parts if "iterates" in part]
        iterates = {
            t: torch.cat([part["iterates"][t] for part in started])[by_start].reshape(-1, *shape) for t in self.times
        }
        values = [part["eigenvalues"] for part in parts if "eigenvalues" in part]
        width = max(value.shape[1] for value in values)
        padded = torch.cat([nn.functional.pad(value, (0, width - value.shape[1])) for value in values])
        last = iterates[self.times[-1]]
        self.trajectories = Trajectories(
            starts=self.starts,
            iterates=iterates,
            diverged=torch.cat([part["diverged"] for part in started])[by_start],
            examples=examples,
            nearest=nearest(last, examples.to(last.dtype)).index,
            eigenvalues=padded[_order(len(examples), len(parts))],
        )
        return {}

    def _measured(self, trainer: Trainer, module: LightningModule, examples: Tensor) -> dict[str, float]:
        self.trajectories = None
        values = super()._measured(trainer, module, examples)
        if self.trajectories is not None and trainer.is_global_zero:
            with isolate_rng():  # loggers may draw names at random
                self._send(trainer)
        return values

    def _log_now(self, trainer: Trainer) -> None:
        """There are no numbers to log."""

    # What is sent -----------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say so where the pictures have nowhere to go."""
        if not trainer.loggers and self.folder is None:
            rank_zero_warn(
                f"{type(self).__name__} has no logger to send pictures to: give the Trainer one, for example "
                "logger=CSVLogger('logs'), or pass folder=; plot() draws the last ones."
            )
        super().on_train_start(trainer, pl_module)

    def _send(self, trainer: Trainer) -> None:
        step = trainer.global_step
        pictures = self._tried("drawing", lambda: self._pictures(f"step {step}"), "the pictures are left out") or []
        for picture in pictures:
            for logger in trainer.loggers:
                self._tried(
                    type(logger).__name__, lambda to=logger, it=picture: self._hand(to, it, step), "it got none"
                )
            if self.folder is not None and not trainer.fast_dev_run:  # pyright: ignore[reportAttributeAccessIssue]
                folder = self.folder
                self._tried("folder", lambda to=folder, it=picture: write(to, it, step), "nothing is written")

    def _hand(self, logger: Any, picture: Picture, step: int) -> None:
        kind = type(logger).__name__
        if not send(logger, picture, step) and kind not in self._complained:
            self._complained.add(kind)
            rank_zero_info(
                f"{kind} takes no figures (it has neither log_image nor experiment.add_figure): the pictures of "
                f"{self.name} are left out there; folder= writes them as files."
            )

    def _tried(self, what: str, work: Callable[[], Any], so: str) -> Any:
        """The result of ``work``; where it fails, a warning the first time, and None: training goes on."""
        try:
            return work()
        except Exception as error:  # a full disk, a lost connection, whatever a logger comes up with
            if what not in self._complained:
                self._complained.add(what)
                rank_zero_warn(f"{self.name}: {what} failed, {so}, training goes on: {type(error).__name__}: {error}")
            return None

    def _pictures(self, title: str) -> list[Picture]:
        found = self.trajectories
        if found is None:
            raise InvalidArgumentError(
                f"{type(self).__name__} has nothing to draw: the last measurement found nothing, or none was made."
            )
        columns = [("start", found.starts), *((f"t = {t}", points) for t, points in found.iterates.items())]
        columns.append(("nearest\nexample", found.examples[found.nearest]))
        lost = int(found.diverged.sum())
        above = f"{title}\n{lost} of {len(found.starts)} diverged (last finite points)" if lost else title
        return [
            Picture(f"{self.name}/iterates", draw_iterates(columns, found.examples, above)),
            Picture(f"{self.name}/spectrum", draw_spectrum(found.eigenvalues, title), _table(found.eigenvalues)),
        ]

    # What is kept and shown -------------------------------------------------------------------------------------------

    def plot(self) -> Any:
        """Both figures of the last measurement, ``(iterates, spectrum)``.

        Raises:
            ValueError: There was none.
        """
        title = f"step {self.history[-1]['step']}" if self.history else "iteration"
        iterates, values = self._pictures(title)
        return iterates.figure, values.figure

    def about(self) -> str:
        """What the pictures show."""
        starts = 0 if self.starts is None else len(self.starts)
        return f"{len(self._tracked())} examples, {starts} starts"


def _order(count: int, parts: int) -> Tensor:
    """Puts rows that were joined part after part back into their order; parts beyond the rows have none."""
    return Part(0, min(parts, count)).order(count)


def _table(eigenvalues: Tensor) -> str:
    """As CSV, a line an eigenvalue, largest modulus first within its example."""
    lines = ["example,real,imag,modulus"]
    for example, row in enumerate(eigenvalues.tolist()):
        lines += [f"{example},{value.real!r},{value.imag!r},{abs(value)!r}" for value in row]
    return "\n".join([*lines, ""])
