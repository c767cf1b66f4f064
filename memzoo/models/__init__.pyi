# The names that models re-exports; lazy_loader imports each on first use.

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
