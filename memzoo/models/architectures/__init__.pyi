# The names that architectures re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.models.architectures.convolutional.
from . import convolutional as convolutional
from . import d1 as d1
from . import d2 as d2
from . import fully_connected as fully_connected
from . import linear as linear
from . import one_layer as one_layer
from . import piecewise_linear as piecewise_linear
from . import single_networks as single_networks
from . import timm_autoencoder as timm_autoencoder
from . import unet as unet
from . import wide_relu as wide_relu
from .convolutional import ConvAutoencoder, ConvolutionChain
from .fully_connected import FullyConnected
from .single_networks import SINGLE_NETWORKS

__all__ = ["SINGLE_NETWORKS", "ConvAutoencoder", "ConvolutionChain", "FullyConnected"]
