"""`memzoo fit`: any architecture trained from a configuration file, watched, and resumed to the last bit."""

from memzoo.fitting.run import fit
from memzoo.fitting.usage import UsageError
from memzoo.fitting.zoo_images import ZooImages

__all__ = ["UsageError", "ZooImages", "fit"]
