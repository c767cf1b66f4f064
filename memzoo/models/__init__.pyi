# The names that models re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.models.architectures.
from . import architectures as architectures
from . import base as base
from . import ensembles as ensembles
from . import table as table
from .architectures.convolutional import ConvAutoencoder, ConvAutoencoderConfig
from .architectures.d1 import D1, D1Config
from .architectures.d2 import D2, D2Config
from .architectures.fully_connected import FullyConnected, FullyConnectedConfig
from .architectures.linear import LinearAutoencoder, LinearAutoencoderConfig
from .architectures.one_layer import OneLayerAutoencoder, OneLayerAutoencoderConfig
from .architectures.piecewise_linear import PiecewiseLinear, PiecewiseLinearConfig
from .architectures.timm_autoencoder import TimmAutoencoder, TimmAutoencoderConfig
from .architectures.unet import UNet, UNetConfig
from .architectures.wide_relu import WideReLU, WideReLUConfig
from .base.autoencoder import Autoencoder
from .base.config import ArchitectureConfig, Config, Training
from .base.initialisation import Initialisation, initialise
from .ensembles.ensemble import Ensemble, EnsembleConfig
from .ensembles.single_filter import single_filter_chain
from .table import ARCHITECTURES

__all__ = [
    "ARCHITECTURES",
    "D1",
    "D2",
    "ArchitectureConfig",
    "Autoencoder",
    "Config",
    "ConvAutoencoder",
    "ConvAutoencoderConfig",
    "D1Config",
    "D2Config",
    "Ensemble",
    "EnsembleConfig",
    "FullyConnected",
    "FullyConnectedConfig",
    "Initialisation",
    "LinearAutoencoder",
    "LinearAutoencoderConfig",
    "OneLayerAutoencoder",
    "OneLayerAutoencoderConfig",
    "PiecewiseLinear",
    "PiecewiseLinearConfig",
    "TimmAutoencoder",
    "TimmAutoencoderConfig",
    "Training",
    "UNet",
    "UNetConfig",
    "WideReLU",
    "WideReLUConfig",
    "initialise",
    "single_filter_chain",
]
