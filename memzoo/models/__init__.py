"""The LightningModules, one architecture a file, on a common base that trains."""

from memzoo.models.architectures import ARCHITECTURES
from memzoo.models.autoencoder import Autoencoder
from memzoo.models.config import ArchitectureConfig, Config, Training
from memzoo.models.convolutional import ConvAutoencoder, ConvAutoencoderConfig
from memzoo.models.d1 import D1, D1Config
from memzoo.models.d2 import D2, D2Config
from memzoo.models.ensemble import Ensemble, EnsembleConfig
from memzoo.models.fully_connected import FullyConnected, FullyConnectedConfig
from memzoo.models.initialisation import Initialisation, initialise
from memzoo.models.linear import LinearAutoencoder, LinearAutoencoderConfig
from memzoo.models.one_layer import OneLayerAutoencoder, OneLayerAutoencoderConfig
from memzoo.models.piecewise_linear import PiecewiseLinear, PiecewiseLinearConfig
from memzoo.models.single_filter import single_filter_chain
from memzoo.models.timm_autoencoder import TimmAutoencoder, TimmAutoencoderConfig
from memzoo.models.unet import UNet, UNetConfig
from memzoo.models.wide_relu import WideReLU, WideReLUConfig

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
