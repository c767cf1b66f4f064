# The names that cards re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.zoo.cards.model_card.
from . import history as history
from . import model_card as model_card
from . import pictures as pictures
from . import point_pictures as point_pictures
from . import training_description as training_description
from .history import History, make_history, write_history
from .model_card import is_ours, render_card
from .pictures import ALONG_A_CYCLE, TIMES, draw_pictures
from .training_description import describe_training, list_settings

__all__ = [
    "ALONG_A_CYCLE",
    "TIMES",
    "History",
    "describe_training",
    "draw_pictures",
    "is_ours",
    "list_settings",
    "make_history",
    "render_card",
    "write_history",
]
