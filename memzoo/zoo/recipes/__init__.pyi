# The names that recipes re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.zoo.recipes.saving.
from . import saving as saving
from . import training as training
from . import unfinished as unfinished
from .training import Trained, train_recipe

__all__ = ["Trained", "train_recipe"]
