"""Send figures to loggers, to each through the methods that it has, and write figures to folders."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from fsspec.core import url_to_fs
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from memzoo._twins import is_kind

Result = TypeVar("Result")


@dataclass(frozen=True)
class Picture:
    """Hold a figure, its tag, and the numbers in it."""

    tag: str
    figure: Any
    table: str | None = None
    """Numbers as CSV, for loggers that take files."""

    def png(self) -> bytes:
        """Return the figure as a PNG file; the same figure gives the same bytes."""
        buffer = BytesIO()
        self.figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()


class PictureSender:
    """Send pictures to all loggers of a Trainer and to a folder; a failure causes one warning, and training goes on.

    Args:
        name: Name of the callback, for messages.
        folder: Folder that receives files, too; None for no folder.
    """

    def __init__(self, name: str, folder: str | Path | None) -> None:
        self.name: str = name
        self.folder: str | Path | None = folder
        self._reported: set[str] = set()

    def send(self, trainer: Trainer, draw: Callable[[], list[Picture]]) -> None:
        """Draw the pictures of the present step, and send them."""
        step = trainer.global_step
        # Drawing may fail because a font is missing, and sending because of a logger. Neither may end the training.
        pictures = self._try("drawing", draw, "the pictures are left out") or []
        for picture in pictures:
            for logger in trainer.loggers:
                self._try(type(logger).__name__, lambda to=logger, it=picture: self._hand(to, it, step), "it got none")
            if self.folder is not None and not trainer.fast_dev_run:  # pyright: ignore[reportAttributeAccessIssue]
                folder = self.folder
                self._try("folder", lambda to=folder, it=picture: write(to, it, step), "nothing is written")

    def _hand(self, logger: Any, picture: Picture, step: int) -> None:
        """Send a picture to a logger, and print one message if the logger takes no pictures."""
        kind = type(logger).__name__
        if not send(logger, picture, step) and kind not in self._reported:
            self._reported.add(kind)
            rank_zero_info(
                f"{kind} takes no figures (it has neither log_image nor experiment.add_figure): the pictures of "
                f"{self.name} are left out there; folder= writes them as files."
            )

    def _try(self, what: str, work: Callable[[], Result], consequence: str) -> Result | None:
        """Return the result of ``work``; if it fails, return None, and warn the first time."""
        try:
            return work()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a full disk, a lost connection, or anything else that a logger raises
            if what not in self._reported:
                self._reported.add(what)
                rank_zero_warn(
                    f"{self.name}: {what} failed, {consequence}, training goes on: {type(error).__name__}: {error}"
                )
            return None


def send(logger: Any, picture: Picture, step: int) -> bool:
    """Send a picture of the state after ``step`` optimizer steps to a logger; return False if it takes no figures.

    TensorBoard and W&B, and loggers with their methods, put the picture at the step at which Lightning logs the metrics
    of this state: Lightning numbers the first step 0. MLflow and CSV loggers get files named for ``step``.
    """
    if is_kind(logger, CSVLogger):
        write(logger.experiment.log_dir, picture, step)
        return True
    if is_kind(logger, MLFlowLogger):
        logger.experiment.log_figure(logger.run_id, picture.figure, f"{picture.tag}/step-{step}.png")
        return True
    # the step that Lightning has given to the metrics of this state
    lightning_step = max(step - 1, 0)
    log_image = getattr(logger, "log_image", None)
    if callable(log_image):
        from PIL import Image

        log_image(key=picture.tag, images=[Image.open(BytesIO(picture.png()))], step=lightning_step)
        return True
    add_figure = getattr(getattr(logger, "experiment", None), "add_figure", None)
    if callable(add_figure):
        add_figure(picture.tag, picture.figure, global_step=lightning_step, close=False)
        return True
    return False


def write(folder: str | Path, picture: Picture, step: int) -> None:
    """Write ``folder/TAG/step-N.png`` and, if there is a table, ``step-N.csv``.

    The folder may lie on another machine: any address that fsspec understands is taken.
    """
    files, root = url_to_fs(str(folder))
    place = f"{root}/{picture.tag}"
    files.makedirs(place, exist_ok=True)
    with files.open(f"{place}/step-{step}.png", "wb") as file:
        file.write(picture.png())
    if picture.table is not None:
        with files.open(f"{place}/step-{step}.csv", "wb") as file:
            file.write(picture.table.encode())
