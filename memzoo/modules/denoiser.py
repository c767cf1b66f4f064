"""A denoiser at one level of noise as a self-map, from a network of a diffusion model."""

from typing import Any, final

import torch
from torch import Tensor, nn

from memzoo.dynamics.reconstruction import pick_reconstruction
from memzoo.errors import InvalidArgumentError

PREDICTIONS = ("epsilon", "sample", "v_prediction")
"""What a network of a diffusion model may predict, as diffusers names it."""


def denoiser(network: nn.Module, sigma: float, scheduler: Any = None) -> "Denoiser":
    r"""Return the denoiser :math:`x \mapsto D(x; \sigma)` at one level of noise, as a module.

    A denoiser maps an image with Gaussian noise of standard deviation ``sigma`` to its estimate of the clean image, so
    that it is a self-map of images. Its fixed points are what it holds for clean at this level.

    With a scheduler, ``network(x_t, t)`` is a network of a discrete diffusion (Ho, Jain, Abbeel, Denoising diffusion
    probabilistic models, 2020) with :math:`x_t = \sqrt{\bar\alpha_t} x_0 + \sqrt{1 - \bar\alpha_t} \epsilon`. Division
    by :math:`\sqrt{\bar\alpha_t}` gives :math:`x = x_0 + \sigma \epsilon` with
    :math:`\sigma = \sqrt{(1 - \bar\alpha_t) / \bar\alpha_t}`, and the estimate is

    - :math:`x - \sigma \epsilon(x_t, t)` of a network that predicts the noise (``"epsilon"``),
    - :math:`x_0(x_t, t)` of one that predicts the image (``"sample"``),
    - :math:`x / (1 + \sigma^2) - v(x_t, t)\, \sigma / \sqrt{1 + \sigma^2}` of one that predicts the velocity
      (``"v_prediction"``; Salimans, Ho, Progressive distillation, 2022).

    The time t, which need not be whole, is interpolated linearly in :math:`\log \sigma` (Karras et al., Elucidating the
    design space of diffusion-based generative models, 2022).

    Args:
        network: ``network(x, level)`` returns a tensor of the shape of x, or an object with one, such as ``.sample``.
        sigma: Standard deviation of the noise, in the unit of the values of the images.
        scheduler: An object with ``alphas_cumprod`` and ``config.prediction_type``, as those of diffusers have. None
            for a network that takes ``sigma`` itself, one entry a row, and returns the clean image.

    Raises:
        ValueError: ``sigma`` is negative or outside of what the scheduler reaches, or the network predicts something
            else.

    Example:
        >>> class Shrink(nn.Module):
        ...     def forward(self, x, sigma):
        ...         return x / (1 + sigma[:, None] ** 2)
        >>> denoiser(Shrink(), 2.0)(torch.ones(1, 2))
        tensor([[0.2000, 0.2000]])
    """
    if not 0 <= sigma < float("inf"):
        raise InvalidArgumentError(f"sigma is a standard deviation, at least 0 and finite, got {sigma}.")
    if scheduler is None:
        return Denoiser(network, sigma, None, "sample")
    prediction = getattr(getattr(scheduler, "config", None), "prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise InvalidArgumentError(
            f"the network predicts {prediction!r}, which must be one of {', '.join(PREDICTIONS)}; write the denoiser "
            "as a module of your own."
        )
    return Denoiser(network, sigma, _find_time(sigma, scheduler.alphas_cumprod), prediction)


def _find_time(sigma: float, alphas_cumprod: Tensor) -> float:
    """Find the time at which the noise has a standard deviation beside an image of its own size."""
    alphas = torch.as_tensor(alphas_cumprod, dtype=torch.float64).cpu()
    levels = ((1 - alphas) / alphas).sqrt()
    if not levels[0] <= sigma <= levels[-1]:
        raise InvalidArgumentError(
            f"the scheduler has levels of noise from {levels[0]:.3g} to {levels[-1]:.3g}, and sigma is {sigma:.3g}."
        )
    after = int(torch.searchsorted(levels, sigma).clamp(1, len(levels) - 1))
    low, high = levels[after - 1].log(), levels[after].log()
    return after - 1 + float((torch.tensor(sigma, dtype=torch.float64).log() - low) / (high - low))


@final
class Denoiser(nn.Module):
    """Denoise a batch at one level of noise; :func:`memzoo.denoiser` makes one."""

    network: nn.Module

    def __init__(self, network: nn.Module, sigma: float, time: float | None, prediction: str) -> None:
        super().__init__()
        self.network = network
        self.sigma = float(sigma)
        self.time = time
        """Time of the scheduler at which the noise has this level; None for a network that takes the level itself."""
        self.prediction = prediction
        """What the network predicts: ``"epsilon"``, ``"sample"`` or ``"v_prediction"``."""
        self.training = network.training

    def forward(self, x: Tensor) -> Tensor:
        """Return the estimate of the clean images."""
        sigma = self.sigma
        level = torch.full((len(x),), sigma if self.time is None else self.time, dtype=x.dtype, device=x.device)
        scale = 1.0 if self.time is None else (1 + sigma**2) ** -0.5
        predicted = pick_reconstruction(self.network(x * scale, level), x, type(self.network).__name__)
        if self.prediction == "epsilon":
            return x - sigma * predicted
        if self.prediction == "v_prediction":
            return x * scale**2 - sigma * scale * predicted
        return predicted
