"""Train any architecture from a configuration file (``memzoo fit``), watch it, and resume it to the last bit."""

from memzoo.fitting.given import read_given
from memzoo.fitting.parser import fit_parser
from memzoo.fitting.run import fit
from memzoo.fitting.setup import FitSetup
from memzoo.fitting.usage import explain
from memzoo.fitting.zoo_images import ZooImages

__all__ = ["FitSetup", "ZooImages", "explain", "fit", "fit_parser", "read_given"]
