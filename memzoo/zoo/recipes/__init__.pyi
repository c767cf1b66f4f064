# The names that recipes re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.zoo.recipes.saving.
from . import deviations as deviations
from . import folder as folder
from . import part_training as part_training
from . import saving as saving
from . import training as training
from . import unfinished_run as unfinished_run
from .training import Trained, train_recipe

__all__ = ["Trained", "train_recipe"]
