"""The LightningModules, one architecture a file, on a common base that trains."""

from memzoo.models.architectures import ARCHITECTURES
from memzoo.models.autoencoder import Autoencoder
from memzoo.models.config import ArchitectureConfig, Config, Training
from memzoo.models.d1 import D1, D1Config
from memzoo.models.fully_connected import FullyConnected, FullyConnectedConfig
from memzoo.models.initialisation import Initialisation, initialise

__all__ = [
    "ARCHITECTURES",
    "D1",
    "ArchitectureConfig",
    "Autoencoder",
    "Config",
    "D1Config",
    "FullyConnected",
    "FullyConnectedConfig",
    "Initialisation",
    "Training",
    "initialise",
]
