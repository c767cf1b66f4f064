# The names that base re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.models.base.activation.
from . import activation as activation
from . import autoencoder as autoencoder
from . import config as config
from . import denormals as denormals
from . import initialisation as initialisation
from . import loss as loss
from . import optimizer as optimizer
from . import schedule as schedule
from . import stopping as stopping
from . import watch as watch
from .activation import Activation, build_activation
from .autoencoder import Autoencoder
from .config import ArchitectureConfig
from .initialisation import Initialisation, initialise
from .loss import squared_error

__all__ = [
    "Activation",
    "ArchitectureConfig",
    "Autoencoder",
    "Initialisation",
    "build_activation",
    "initialise",
    "squared_error",
]
