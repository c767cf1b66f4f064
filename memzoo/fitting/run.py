"""Train as a configuration says, and leave a folder that can be resumed and audited."""

import inspect
import math
import traceback
import warnings
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from safetensors.torch import save_file

from memzoo.data import ImageData
from memzoo.errors import AlreadyExistsError, MemzooError
from memzoo.fitting.course import LossCourse
from memzoo.fitting.setup import FitSetup
from memzoo.runs import BEFORE, LAST, read_stopping_reason
from memzoo.zoo.cards import make_history, write_history

HISTORY = "history.json"
IMAGES = "images.safetensors"
KEPT = 2**24
"""Images are written beside the weights up to this many numbers."""
QUIET = ("no `validation_step`", "does not have many workers", "smaller than the logging interval")


def fit(setup: FitSetup) -> str:
    """Train, and return what came out and where the files are.

    Args:
        setup: Model, data and Trainer of a configuration.

    Returns:
        The closing table and the files; nothing in the other processes of a distributed run.

    Raises:
        AlreadyExistsError: An earlier run is in the folder.
        MemzooError: The training failed.
    """
    if (over := _explain_if_over(setup)) is not None:
        return over
    # One process alone writes; Lightning takes its rank from the environment.
    if getattr(rank_zero_only, "rank", 0) == 0:
        _make_room(setup)
        setup.write_config()
    _train(setup)
    return _report(setup) if setup.trainer.is_global_zero else ""


def _explain_if_over(setup: FitSetup) -> str | None:
    """Say that the run to resume has ended by itself; None if there is something to train."""
    # Who names a checkpoint wants to go on from it, even if its run is over.
    resumed = setup.checkpoint if setup.config.ckpt_path is None else None
    stopped = None if resumed is None else read_stopping_reason(resumed)
    if stopped is None:
        return None
    return (
        f"the run in {setup.folder} is over, and nothing was trained: {stopped}\n"
        f"--ckpt_path {resumed} goes on from it all the same."
    )


def _train(setup: FitSetup) -> None:
    """Run the Trainer; an error that is not of the user's own module becomes one of memzoo, in one line."""
    with warnings.catch_warnings():
        for text in QUIET:
            warnings.filterwarnings("ignore", f".*{text}")
        try:
            setup.trainer.fit(setup.model, datamodule=setup.datamodule, ckpt_path=setup.checkpoint, weights_only=True)
        except MemzooError:
            raise
        except (KeyboardInterrupt, SystemExit) as end:
            _keep_what_was_measured(setup, end)
            raise
        except (ValueError, IndexError, MisconfigurationException) as error:
            if _is_theirs(setup.model, error):
                raise
            raise MemzooError(str(error)) from error


def _keep_what_was_measured(setup: FitSetup, end: BaseException) -> None:
    """Write the history of a run that Ctrl-C has ended, and add to the interruption how to go on."""
    interruption = end if isinstance(end, KeyboardInterrupt) else end.__context__
    if isinstance(interruption, KeyboardInterrupt) and setup.trainer.is_global_zero:
        _write_history(setup)
        if (setup.folder / LAST).is_file():
            interruption.args = (f"--resume goes on from {setup.folder / LAST}",)


def _is_theirs(model: Any, error: BaseException) -> bool:
    """Tell whether the error came through the user's own module: the user then needs the traceback."""
    if type(model).__module__.startswith("memzoo."):
        return False
    return inspect.getfile(type(model)) in {frame.filename for frame in traceback.extract_tb(error.__traceback__)}


def _make_room(setup: FitSetup) -> None:
    """Remove the files of an earlier run if the configuration allows it, else raise ``AlreadyExistsError``."""
    going_on = setup.config.resume or setup.config.ckpt_path is not None
    if (setup.folder / LAST).exists() and not going_on:
        if not setup.config.overwrite:
            raise AlreadyExistsError(
                f"{setup.folder} holds a run; --resume goes on with it, --overwrite replaces it, --out names another."
            )
        for name in (LAST, BEFORE, HISTORY, IMAGES):
            (setup.folder / name).unlink(missing_ok=True)


def _report(setup: FitSetup) -> str:
    """Write history and images; return the table and the next commands."""
    watch = setup.watch
    folder = setup.folder
    _write_history(setup)
    lines = [watch.table(), ""] if watch is not None and not watch.verbose else []
    kept = (folder / LAST).is_file()
    lines += [f"weights: {folder / LAST}"] if kept else []
    lines += [f"history: {folder / HISTORY}"]
    # The class as a user imports it, not the file in which memzoo defines it.
    name = type(setup.model).__name__
    module = type(setup.model).__module__
    kind = f"memzoo.models.{name}" if module.startswith("memzoo.") else module
    kind = kind if kind.endswith(name) else f"{kind}.{name}"
    if kept:
        images = f" --data {folder / IMAGES}" if _write_images(setup) else ""
        lines += [
            f"measure: memzoo audit --checkpoint {folder / LAST} --model {kind}{images} --out {folder / 'audit'}",
            f"load:    {kind}.load_from_checkpoint({str(folder / LAST)!r})",
        ]
    return "\n".join(lines)


def _write_history(setup: FitSetup) -> None:
    """Write the course of the loss and the measurements."""
    callbacks: list[Any] = setup.trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    course = next((callback.course for callback in callbacks if isinstance(callback, LossCourse)), [])
    finite = [(step, loss) for step, loss in course if math.isfinite(loss)]
    write_history(make_history(finite, setup.watch.history if setup.watch else []), setup.folder / HISTORY)


def _write_images(setup: FitSetup) -> bool:
    """Write the training images, and held-out images as starts and controls; tell whether they were written.

    They are not where the images are no tensor of the data module, or are too many.
    """
    data = setup.datamodule
    if not isinstance(data, ImageData) or data.examples is None:
        return False
    arrays = {"members": data.examples}
    if data.probes is not None and len(data.probes) > 1:
        # No held-out image is both: the last are controls, at most as many as members.
        controls = min(len(data.examples), len(data.probes) // 2)
        arrays |= {"starts": data.probes[:-controls], "controls": data.probes[-controls:]}
    if sum(array.numel() for array in arrays.values()) > KEPT:
        return False
    part = setup.folder / f"{IMAGES}.part"
    save_file({name: array.contiguous() for name, array in arrays.items()}, part)
    part.replace(setup.folder / IMAGES)
    return True
