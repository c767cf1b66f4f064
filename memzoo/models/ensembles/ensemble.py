"""Train many networks of one small architecture at once, each on images of its own and with a stop of its own.

The parameters of all members are stacked, so that one call of PyTorch computes a layer of every member.
"""

import math
from collections.abc import Iterator
from typing import Any, ClassVar, cast, final

import torch
from jaxtyping import Complex, Float
from lightning.pytorch.utilities import rank_zero_warn
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from memzoo.errors import InvalidArgumentError, InvalidTypeError, NonFiniteError
from memzoo.models.architectures import SINGLE_NETWORKS, ConvolutionChain
from memzoo.models.base import ArchitectureConfig, Autoencoder, squared_error
from memzoo.models.ensembles.evaluation import evaluate_members
from memzoo.models.ensembles.single_filter import single_filter_chain

MATRIX_PIXELS = 128
"""Pixels up to which a layer of a single filter is cheapest as a matrix."""
RUNNING = -1
"""Value of ``stopped_at`` for a member that is still in training."""
DIVERGED = -2
"""Value of ``stopped_at`` for a member that has diverged."""


class EnsembleConfig(ArchitectureConfig):
    """Configuration of :class:`Ensemble`."""

    architecture: str = "ConvAutoencoder"
    member: dict[str, Any] = {}
    """Configuration of each member."""
    members: PositiveInt = 5
    shape: tuple[PositiveInt, ...] = ()
    """Members, then the shape of one member's image; derived from the configuration when left out."""

    @model_validator(mode="before")
    @classmethod
    def _derive_shape(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        name = data.get("architecture", "ConvAutoencoder")
        if not isinstance(name, str) or name not in SINGLE_NETWORKS:
            raise InvalidArgumentError(f"members of an ensemble are of one architecture of the table, got {name!r}")
        member = SINGLE_NETWORKS[name].config_class.model_validate(data.get("member", {}))
        members = data.get("members", 5)
        shape = (members, *member.shape)
        if tuple(data.get("shape") or shape) != shape:
            raise InvalidArgumentError(f"{members} members of shape {member.shape} make {shape}, got {data['shape']}")
        return {**data, "member": member.model_dump(mode="json"), "shape": shape}


class ParameterStacks(nn.Module):
    r"""Hold the parameters of all members: those of one shape in one tensor (parameters, members, \*shape).

    The optimizer then has a handful of tensors to step, however many layers there are.
    """

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        if any(True for _ in members[0].buffers()):
            raise InvalidTypeError("members of an ensemble hold parameters only, and this architecture has buffers.")
        # Parameters that are not trained get stacks of their own.
        alike: dict[tuple[bool, tuple[int, ...]], list[str]] = {}
        for name, parameter in members[0].named_parameters():
            alike.setdefault((parameter.requires_grad, tuple(parameter.shape)), []).append(name)
        self.names: list[list[str]] = list(alike.values())
        self.stacks: nn.ParameterList = nn.ParameterList()
        by_name = [dict(member.named_parameters()) for member in members]
        for (trained, _), names in alike.items():
            stack = torch.stack([torch.stack([member[name].detach() for member in by_name]) for name in names])
            self.stacks.append(nn.Parameter(stack, requires_grad=trained))

    def unstack(self) -> dict[str, Tensor]:
        r"""Return the parameters of all members, (members, \*shape) each, by their names in one member."""
        return {
            name: tensor
            for names, stack in zip(self.names, self.stacks, strict=True)
            for name, tensor in zip(names, stack.unbind(0), strict=True)
        }


@final
class Ensemble(Autoencoder[EnsembleConfig]):
    r"""Many networks of one architecture as one map, trained together: E seeds at little more than the price of one.

    An image of the ensemble is a tuple of images, one a member: batches are (B, members, \*shape), and member e sees
    only its own images. Convolutions run as one grouped convolution, fully connected layers as batched products, other
    architectures through ``vmap``; linear networks of a single filter are trained through the matrices of their layers
    (:func:`memzoo.models.single_filter_chain`). A member whose loss is below ``stop_loss`` stops there for good, and
    one that diverges keeps its last finite weights; the others train on.

    Example:
        >>> ensemble = Ensemble(member={"shape": (1, 3, 3), "layers": 9}, members=64)
        >>> ensemble(torch.rand(2, 64, 1, 3, 3)).shape
        torch.Size([2, 64, 1, 3, 3])
        >>> ensemble.member(7)(torch.rand(2, 1, 3, 3)).shape
        torch.Size([2, 1, 3, 3])
    """

    config_class: ClassVar[type[ArchitectureConfig]] = EnsembleConfig
    stopped_at: Tensor
    """Optimizer steps of each member (members,): -1 while the member trains, -2 where it diverged."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Members that have stopped are restored after each step, which automatic optimization has no place for.
        self.automatic_optimization = False
        self.register_buffer("stopped_at", torch.full((self.config.members,), RUNNING))
        self._stopped_weights: dict[str, Tensor] = {}

    def build(self, config: EnsembleConfig) -> nn.Module:
        """Build the members one after another, and stack their parameters."""
        architecture = SINGLE_NETWORKS[config.architecture]
        members = [architecture(config.member) for _ in range(config.members)]
        with torch.device("meta"):
            template = architecture(config.member).eval()
        # As an attribute of its own the template would be a submodule, and its weights would be saved.
        self._template = (template,)
        return ParameterStacks([member.net for member in members])

    @property
    def template(self) -> Autoencoder:
        """Return a member without weights."""
        return self._template[0]

    @property
    def _stacks(self) -> ParameterStacks:
        """Return the stacked parameters of all members."""
        return cast(ParameterStacks, self.net)

    def forward(self, x: Tensor) -> Tensor:
        """Compute each member's reconstruction of its own image."""
        self.check_shape(x)
        return evaluate_members(self.template, self._stacks.unstack(), x)

    def __len__(self) -> int:
        """Return the number of members."""
        return self.config.members

    def __iter__(self) -> Iterator[Autoencoder]:
        """Yield the members one by one."""
        return (self.member(index) for index in range(len(self)))

    def member(self, index: int) -> Autoencoder:
        """Build one member as a network of its own, with a copy of its weights, in eval mode."""
        member = SINGLE_NETWORKS[self.config.architecture](self.config.member)
        weights = {name: tensor[index].detach().clone() for name, tensor in self._stacks.unstack().items()}
        member.net.load_state_dict(weights)
        if self.examples is not None:
            member.examples = self.examples[:, index]
        if self.probes is not None:
            member.probes = self.probes[:, index]
        return member.eval()

    @torch.no_grad()
    def operators(self) -> Float[Tensor, "members d d"]:
        """Compute the matrix of each member, of a linear architecture without biases, in float64.

        Cost: one evaluation of d points, d the pixels of an image.
        """
        shape = self.shape[1:]
        d = math.prod(shape)
        identity = torch.eye(d, dtype=torch.float64, device=self.device)
        # Column i of each matrix is the image of unit vector i, and members come first.
        matrices = self._apply_to_each(identity).permute(1, 2, 0)
        if not matrices.isfinite().all():
            raise NonFiniteError("a member of the ensemble holds NaN or infinity, so it has no matrix.")
        point = torch.randn(d, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(matrices)
        image = self._apply_to_each(point[None])[0]
        if not torch.allclose(image, matrices @ point, rtol=1e-6, atol=1e-9):
            raise InvalidArgumentError(
                f"{self.config.architecture} with {self.config.member} is not linear: it has no operator."
            )
        return matrices

    def _apply_to_each(self, points: Float[Tensor, "batch d"]) -> Float[Tensor, "batch members d"]:
        """Apply every member to the same points, in float64."""
        weights = {name: tensor.double() for name, tensor in self._stacks.unstack().items()}
        images = points.view(-1, 1, *self.shape[1:]).expand(-1, *self.shape)
        return evaluate_members(self.template, weights, images).flatten(2)

    def eigenvalues(self) -> Complex[Tensor, "members d"]:
        """Compute the eigenvalues of each member's operator, largest modulus first.

        Raises:
            NonFiniteError: NaN or infinity in the weights.
            ValueError: The architecture is not linear.
        """
        values = torch.linalg.eigvals(self.operators())
        return values.gather(-1, values.abs().argsort(-1, descending=True))

    # Training ---------------------------------------------------------------------------------------------------------

    @property
    def _running(self) -> Tensor:
        """Mark the members that are still in training."""
        return self.stopped_at == RUNNING

    def objective(self, x: Tensor, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the largest loss of a running member, and the sum of their losses.

        The gradient of the sum in the weights of a member is that of the member's own loss.
        """
        if self.training_config.optimizer == "adaptive":
            raise InvalidArgumentError(
                "the adaptive step of Theorem 1 is not for ensembles; train OneLayerAutoencoders alone."
            )
        if self.training_config.optimizer == "muon":
            raise InvalidArgumentError(
                "muon would orthogonalise across the members of an ensemble; use adam, or train each alone."
            )
        wanted = x if target is None else target
        losses = squared_error(self._train_forward(x), wanted, self.training_config.loss, each=1)
        self._losses = losses.detach()
        running = self._running
        return torch.where(running, self._losses, 0).max(), torch.where(running, losses, 0).sum()

    def _train_forward(self, x: Tensor) -> Tensor:
        """Evaluate the members in the way that is cheapest in training."""
        net = self.template.net
        mixed = torch.is_autocast_enabled(x.device.type)
        small = math.prod(self.shape[1:]) <= MATRIX_PIXELS
        if not (isinstance(net, ConvolutionChain) and net.single_filter and small and not mixed):
            return self(x)
        (stack,) = self._stacks.stacks
        filters = stack[:, :, 0, 0]
        points = x[:, :, 0].transpose(0, 1)
        return single_filter_chain(filters, points, net.skips).transpose(0, 1)[:, :, None]

    def _check_loss(self, loss: Tensor) -> bool:
        """Stop the members that are done or lost; return True when none is left."""
        running = self._running
        done = running & (self._losses < (self.training_config.stop_loss or 0.0))
        lost = running & ~self._losses.isfinite()
        if bool(lost.any()):
            self._give_up(lost, "its loss is not finite")
        # Each change of the stopped members calls for a new copy of their weights.
        if bool(done.any()):
            self.stopped_at[done] = self.global_step
            self._stopped_weights = {}
        running = self._running
        if not bool(running.any()):
            self.trainer.should_stop = True
            return True
        if self._watch is not None:
            self._watch.check_loss(self.global_step, torch.where(running, self._losses, 0).max().item())
        if not bool(running.all()) and not self._stopped_weights:
            self._keep_stopped_weights()
        return False

    def _keep_stopped_weights(self) -> None:
        """Copy the weights, to which the members that have stopped are restored after each step."""
        self._stopped_weights = {name: parameter.detach().clone() for name, parameter in self.named_parameters()}

    def _give_up(self, lost: Tensor, why: str) -> None:
        """Stop these members with the last weights that were kept, and warn of each."""
        assert self._watch is not None
        kept = self._watch.kept
        outcome = f"the weights of step {self._watch.kept_step}" if kept else "zeros"
        for index in lost.nonzero().flatten().tolist():
            rank_zero_warn(
                f"member {index} diverged: {why} (loss {self._losses[index].item():.4g}) at optimizer step "
                f"{self.global_step}; it stops with {outcome}. Lower lr, or the scale of the images."
            )
        self.stopped_at[lost] = DIVERGED
        for name, parameter in self.named_parameters():
            parameter.data[:, lost] = kept[name][:, lost] if kept else 0.0
        self._stopped_weights = {}

    def on_fit_start(self) -> None:
        """Start the run; members that stopped in an earlier run stay stopped."""
        super().on_fit_start()
        self._stopped_weights = {}
        if not bool(self._running.any()):
            rank_zero_warn("every member has ended in an earlier fit; to train on, stopped_at.fill_(-1) first.")

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Give up members whose gradient overflows, and set the gradients of all stopped members to zero."""
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        if self._watch is not None and self._watch.step == self._watch.kept_step:
            overflows = [~gradient.transpose(0, 1).flatten(1).isfinite().all(1) for gradient in gradients]
            lost = torch.stack(overflows).any(0) & self._running
            if bool(lost.any()):
                self._give_up(lost, "its gradient overflows")
                self._keep_stopped_weights()
        stopped = ~self._running
        # Assignment also clears the gradient of a member that has just diverged, which is not finite.
        if bool(stopped.any()):
            for gradient in gradients:
                gradient[:, stopped] = 0.0
        super().on_before_optimizer_step(optimizer)

    def after_step(self) -> None:
        """Restore the members that have stopped, which momentum or weight decay may have moved."""
        if not self._stopped_weights:
            return
        running = self._running
        for name, parameter in self.named_parameters():
            broadcast = running.view(1, -1, *[1] * (parameter.dim() - 2))
            parameter.data.copy_(torch.where(broadcast, parameter.data, self._stopped_weights[name]))
