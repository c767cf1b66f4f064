"""The small training sets, in which dataset, index and hash identify each image."""

from memzoo.data.batches import Pair, ResumableLoader, full_batches, mini_batches
from memzoo.data.cifar10 import cifar10, read_binary_batch
from memzoo.data.demo import mnist20
from memzoo.data.drawn import DISTRIBUTIONS, drawn
from memzoo.data.mnist import mnist
from memzoo.data.modules import CIFAR10, MNIST, MNIST20, Drawn, ImageData, Images
from memzoo.data.points import FORMULAS, points
from memzoo.data.selection import Selection, image_sha256, pixels, select
from memzoo.data.starts import gaussian_noise, white_squares

__all__ = [
    "CIFAR10",
    "DISTRIBUTIONS",
    "FORMULAS",
    "MNIST",
    "MNIST20",
    "Drawn",
    "ImageData",
    "Images",
    "Pair",
    "ResumableLoader",
    "Selection",
    "cifar10",
    "drawn",
    "full_batches",
    "gaussian_noise",
    "image_sha256",
    "mini_batches",
    "mnist",
    "mnist20",
    "pixels",
    "points",
    "read_binary_batch",
    "select",
    "white_squares",
]
