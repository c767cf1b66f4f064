"""Figures to loggers, each in the way it takes them, and to folders."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger


@dataclass(frozen=True)
class Picture:
    """A figure, where it belongs, and the numbers in it."""

    tag: str
    figure: Any
    table: str | None = None
    """As CSV, for those who take files."""

    def png(self) -> bytes:
        """As a file; the same figure gives the same bytes."""
        buffer = BytesIO()
        self.figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()


def send(logger: Any, picture: Picture, step: int) -> bool:
    """Hand the state after ``step`` optimizer steps to a logger; False where it takes no figures.

    TensorBoard and W&B, and loggers with their methods, put it at the step at which Lightning logs the metrics of this
    state: it numbers the first one 0. MLflow and CSV loggers get files named for ``step``.
    """
    if isinstance(logger, CSVLogger):
        write(logger.experiment.log_dir, picture, step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_figure(logger.run_id, picture.figure, f"{picture.tag}/step-{step}.png")
    elif callable(log_image := getattr(logger, "log_image", None)):
        from PIL import Image

        log_image(key=picture.tag, images=[Image.open(BytesIO(picture.png()))], step=max(step - 1, 0))
    elif callable(add_figure := getattr(getattr(logger, "experiment", None), "add_figure", None)):
        add_figure(picture.tag, picture.figure, global_step=max(step - 1, 0), close=False)
    else:
        return False
    return True


def write(folder: str | Path, picture: Picture, step: int) -> None:
    """``folder/TAG/step-N.png`` and, where there is a table, ``step-N.csv``; the folder may lie on another machine."""
    files, root = url_to_fs(str(folder))
    place = f"{root}/{picture.tag}"
    files.makedirs(place, exist_ok=True)
    with files.open(f"{place}/step-{step}.png", "wb") as file:
        file.write(picture.png())
    if picture.table is not None:
        with files.open(f"{place}/step-{step}.csv", "wb") as file:
            file.write(picture.table.encode())
