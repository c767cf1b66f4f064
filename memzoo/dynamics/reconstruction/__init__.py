"""The self-map in a forward that returns more than a tensor, takes more than one, or draws at random."""

from memzoo.dynamics.reconstruction.calls import HALVES, mode_of
from memzoo.dynamics.reconstruction.choice import NAMES, OTHER_NAMES, pick_image, pick_reconstruction
from memzoo.dynamics.reconstruction.found_map import describe_map, say_once
from memzoo.dynamics.reconstruction.parts import list_parts
from memzoo.dynamics.reconstruction.search import find_map

__all__ = [
    "HALVES",
    "NAMES",
    "OTHER_NAMES",
    "describe_map",
    "find_map",
    "list_parts",
    "mode_of",
    "pick_image",
    "pick_reconstruction",
    "say_once",
]
