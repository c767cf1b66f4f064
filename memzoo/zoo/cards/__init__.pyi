# The names that cards re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.zoo.cards.model_card.
from . import history as history
from . import model_card as model_card
from . import pictures as pictures
from . import point_pictures as point_pictures
from .history import History, history_of, write_history
from .model_card import card, is_ours, settings, trained
from .pictures import ALONG_A_CYCLE, TIMES, draw_pictures

__all__ = [
    "ALONG_A_CYCLE",
    "TIMES",
    "History",
    "card",
    "draw_pictures",
    "history_of",
    "is_ours",
    "settings",
    "trained",
    "write_history",
]
