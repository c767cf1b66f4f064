"""Evaluate all members of an ensemble on their own images, by one call of PyTorch for a layer of every member."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from memzoo.models.architectures import ConvAutoencoder, ConvolutionChain, FullyConnected
from memzoo.models.base import Autoencoder


def evaluate_members(template: Autoencoder, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    r"""Evaluate all members on ``x`` (B, members, \*shape).

    ``weights`` holds the parameters of all members, (members, \*shape) each, by their names in one member.
    """
    evaluations: dict[type[Autoencoder], Callable[..., Tensor]] = {
        ConvAutoencoder: _convolve_in_groups,
        FullyConnected: _multiply_in_batches,
    }
    evaluate = evaluations.get(type(template), _map_over_members)
    return evaluate(template, weights, x)


def _convolve_in_groups(template: Autoencoder, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Run the convolutions of all members as one grouped convolution a layer."""
    chain = cast(ConvolutionChain, template.net)
    members = x.shape[1]

    def convolve(index: int, h: Tensor) -> Tensor:
        bias = weights.get(f"layers.{index}.bias")
        return nn.functional.conv2d(
            h,
            weights[f"layers.{index}.weight"].flatten(0, 1),
            None if bias is None else bias.flatten(),
            padding=template.config.kernel // 2,
            groups=members,
        )

    return chain.run(x.flatten(1, 2), convolve).view_as(x)


def _multiply_in_batches(template: Autoencoder, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Run the linear layers of all members as one batched product a layer."""
    h = x.flatten(2).transpose(0, 1)
    for name, module in template.net.named_children():
        if isinstance(module, nn.Linear):
            bias = weights.get(f"{name}.bias")
            weight = weights[f"{name}.weight"].mT
            h = h @ weight if bias is None else torch.baddbmm(bias[:, None], h, weight)
        elif not isinstance(module, (nn.Flatten, nn.Unflatten)):
            h = module(h)
    return h.transpose(0, 1).reshape(x.shape)


def _map_over_members(template: Autoencoder, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Evaluate members of any architecture, by PyTorch's vectorised map."""

    def evaluate_one(own_weights: dict[str, Tensor], images: Tensor) -> Tensor:
        return cast(Tensor, functional_call(template.net, own_weights, (images,)))

    return vmap(evaluate_one, in_dims=(0, 1), out_dims=1, randomness="different")(weights, x)
