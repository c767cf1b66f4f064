"""The table of the architectures of a single network, by the names that configurations use."""

from typing import Any

from memzoo.models.architectures.convolutional import ConvAutoencoder
from memzoo.models.architectures.d1 import D1
from memzoo.models.architectures.d2 import D2
from memzoo.models.architectures.fully_connected import FullyConnected
from memzoo.models.architectures.linear import LinearAutoencoder
from memzoo.models.architectures.one_layer import OneLayerAutoencoder
from memzoo.models.architectures.piecewise_linear import PiecewiseLinear
from memzoo.models.architectures.timm_autoencoder import TimmAutoencoder
from memzoo.models.architectures.unet import UNet
from memzoo.models.architectures.wide_relu import WideReLU
from memzoo.models.base import Autoencoder

SINGLE_NETWORKS: dict[str, type[Autoencoder[Any]]] = {
    "ConvAutoencoder": ConvAutoencoder,
    "D1": D1,
    "D2": D2,
    "FullyConnected": FullyConnected,
    "LinearAutoencoder": LinearAutoencoder,
    "OneLayerAutoencoder": OneLayerAutoencoder,
    "PiecewiseLinear": PiecewiseLinear,
    "TimmAutoencoder": TimmAutoencoder,
    "UNet": UNet,
    "WideReLU": WideReLU,
}
