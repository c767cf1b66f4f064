# The names that models re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.models.config.
from . import activation as activation
from . import architectures as architectures
from . import autoencoder as autoencoder
from . import config as config
from . import convolutional as convolutional
from . import d1 as d1
from . import d2 as d2
from . import denormals as denormals
from . import ensemble as ensemble
from . import fully_connected as fully_connected
from . import initialisation as initialisation
from . import linear as linear
from . import one_layer as one_layer
from . import optimizer as optimizer
from . import piecewise_linear as piecewise_linear
from . import schedule as schedule
from . import single_filter as single_filter
from . import squared_error as squared_error
from . import stopping as stopping
from . import timm_autoencoder as timm_autoencoder
from . import unet as unet
from . import watch as watch
from . import wide_relu as wide_relu
from .architectures import ARCHITECTURES
from .autoencoder import Autoencoder
from .config import ArchitectureConfig, Config, Training
from .convolutional import ConvAutoencoder, ConvAutoencoderConfig
from .d1 import D1, D1Config
from .d2 import D2, D2Config
from .ensemble import Ensemble, EnsembleConfig
from .fully_connected import FullyConnected, FullyConnectedConfig
from .initialisation import Initialisation, initialise
from .linear import LinearAutoencoder, LinearAutoencoderConfig
from .one_layer import OneLayerAutoencoder, OneLayerAutoencoderConfig
from .piecewise_linear import PiecewiseLinear, PiecewiseLinearConfig
from .single_filter import single_filter_chain
from .timm_autoencoder import TimmAutoencoder, TimmAutoencoderConfig
from .unet import UNet, UNetConfig
from .wide_relu import WideReLU, WideReLUConfig

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
