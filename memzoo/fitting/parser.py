"""Build the parser of ``memzoo fit``: what its command line and its configuration files may hold."""

import lightning
import torch
from jsonargparse import ArgumentParser, register_unresolvable_import_paths
from lightning.pytorch import LightningDataModule, Trainer

# A class goes by its short name once it is imported: the parser looks among the subclasses of what is asked for.
import memzoo.callbacks
import memzoo.data  # noqa: F401
from memzoo.fitting.models import Model
from memzoo.fitting.zoo_images import ZooImages  # noqa: F401

DESCRIPTION = "Train an architecture on a few images from a configuration file, and watch what it memorizes."
SEEDING = "seed of all generators; true: one that is drawn; false: none"
TYPES = {"seed_everything": bool | int, "out": str | None, "ckpt_path": str | None, "save_every_n_steps": int | None}
"""Types of the settings that take more than one."""

register_unresolvable_import_paths(torch)  # such as torch.relu, the default of an argument in a class of the user's


def fit_parser() -> ArgumentParser:
    """Build the parser: the Trainer's arguments, a model, a data module, and what concerns the run's folder.

    Its configuration files are those of Lightning's own command line.
    """
    parser = ArgumentParser(
        prog="memzoo fit",
        description=DESCRIPTION,
        exit_on_error=False,
        allow_abbrev=False,
        dump_header=[f"lightning.pytorch=={lightning.__version__}"],  # first line of a configuration that is written
    )
    parser.add_argument("-c", "--config", action="config", help="a configuration file; what follows changes it")
    parser.add_argument("--seed_everything", type=TYPES["seed_everything"], default=0, help=SEEDING)
    parser.add_class_arguments(Trainer, "trainer", fail_untyped=False, instantiate=False, sub_configs=True)
    parser.add_subclass_arguments(Model, "model", required=True, fail_untyped=False)
    parser.add_subclass_arguments(LightningDataModule, "data", required=True, fail_untyped=False)
    parser.add_argument(
        "--out", type=TYPES["out"], default=None, help="folder of the run (default: runs/, named after the config)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from last.ckpt in the folder, if it is there")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier run")
    parser.add_argument("--ckpt_path", type=TYPES["ckpt_path"], default=None, help="go on from this checkpoint instead")
    parser.add_argument("--save_every_n_epochs", type=int, default=1, help="write last.ckpt at these epochs")
    parser.add_argument(
        "--save_every_n_steps", type=TYPES["save_every_n_steps"], default=None, help="and at these steps"
    )
    return parser
