"""Many networks of one small architecture trained at once, each on images of its own and with its own end."""

import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, cast, final

import torch
from jaxtyping import Complex, Float
from lightning.pytorch.utilities import rank_zero_warn
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn
from torch.func import functional_call, vmap

from memzoo.errors import InvalidArgumentError, InvalidTypeError, NonFiniteError
from memzoo.models.architectures import SINGLE_NETWORKS, ConvAutoencoder, ConvolutionChain, FullyConnected
from memzoo.models.base import ArchitectureConfig, Autoencoder, squared_error
from memzoo.models.ensembles.single_filter import single_filter_chain

SMALL = 128  # pixels up to which a single-filter layer is cheapest as a matrix
RUNNING, DIVERGED = -1, -2


class EnsembleConfig(ArchitectureConfig):
    """Configuration of :class:`Ensemble`."""

    architecture: str = "ConvAutoencoder"
    member: dict[str, Any] = {}
    """Configuration of each member."""
    members: PositiveInt = 5
    shape: tuple[PositiveInt, ...] = ()
    """Members, then the shape of one member's image; found from the configuration when left out."""

    @model_validator(mode="before")
    @classmethod
    def _shape_of_the_member(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        name, members = data.get("architecture", "ConvAutoencoder"), data.get("members", 5)
        if name not in SINGLE_NETWORKS:
            raise InvalidArgumentError(f"members of an ensemble are of one architecture of the table, got {name!r}")
        member = SINGLE_NETWORKS[name].config_class.model_validate(data.get("member", {}))
        shape = (members, *member.shape)
        if tuple(data.get("shape") or shape) != shape:
            raise InvalidArgumentError(f"{members} members of shape {member.shape} make {shape}, got {data['shape']}")
        return {**data, "member": member.model_dump(mode="json"), "shape": shape}


class Stacks(nn.Module):
    r"""Parameters of all members: those of one shape in one tensor (parameters, members, \*shape).

    So the optimizer has a handful of tensors to step, however many layers there are.
    """

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        if any(True for _ in members[0].buffers()):
            raise InvalidTypeError("members of an ensemble hold parameters only, and this architecture has buffers.")
        alike: dict[tuple[bool, tuple[int, ...]], list[str]] = {}  # fixed parameters stay fixed
        for name, parameter in members[0].named_parameters():
            alike.setdefault((parameter.requires_grad, tuple(parameter.shape)), []).append(name)
        self.names: list[list[str]] = list(alike.values())
        by_name = [dict(member.named_parameters()) for member in members]
        self.stacks: nn.ParameterList = nn.ParameterList(
            torch.stack([torch.stack([member[name].detach() for member in by_name]) for name in names])
            for names in self.names
        )
        for (trained, _), stack in zip(alike, self.stacks, strict=True):
            stack.requires_grad_(trained)

    def named(self) -> dict[str, Tensor]:
        r"""Each parameter by its name in a member, (members, \*shape)."""
        return {
            name: tensor
            for names, stack in zip(self.names, self.stacks, strict=True)
            for name, tensor in zip(names, stack.unbind(0), strict=True)
        }


@final
class Ensemble(Autoencoder[EnsembleConfig]):
    r"""Many networks of one architecture as one map, trained together: E seeds at little more than the price of one.

    An image of the ensemble is a tuple of images, one a member: batches are (B, members, \*shape), and member e sees
    only its own. Convolutions run as one grouped convolution, fully connected layers as batched products, other
    architectures through ``vmap``; linear networks of a single filter are trained through the matrices of their layers
    (:func:`memzoo.models.single_filter_chain`). A member whose loss is below ``stop_loss`` stops there
    for good, and one that diverges keeps its last finite weights; the others go on.

    Example:
        >>> ensemble = Ensemble(member={"shape": (1, 3, 3), "layers": 9}, members=64)
        >>> ensemble(torch.rand(2, 64, 1, 3, 3)).shape
        torch.Size([2, 64, 1, 3, 3])
        >>> ensemble.member(7)(torch.rand(2, 1, 3, 3)).shape
        torch.Size([2, 1, 3, 3])
    """

    config_class: ClassVar[type[ArchitectureConfig]] = EnsembleConfig
    stopped_at: Tensor
    """Optimizer steps of each member (members,): -1 while it runs, -2 where it diverged."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False  # members are put back after each step
        self.register_buffer("stopped_at", torch.full((self.config.members,), RUNNING))
        self._ends: dict[str, Tensor] = {}

    def build(self, config: EnsembleConfig) -> nn.Module:
        """Members drawn one after another."""
        kind = self._kind
        members = [kind(config.member) for _ in range(config.members)]
        with torch.device("meta"):
            self._template = (kind(config.member).eval(),)  # in a tuple: not a submodule
        return Stacks([member.net for member in members])

    @property
    def _kind(self) -> type[Autoencoder]:
        return SINGLE_NETWORKS[self.config.architecture]

    @property
    def template(self) -> Autoencoder:
        """A member without weights."""
        return self._template[0]

    def forward(self, x: Tensor) -> Tensor:
        """Each member's reconstruction of its own image."""
        if x.shape[1:] != torch.Size(self.shape):
            return super().forward(x)  # the error that says so
        return evaluate(self.template, cast(Stacks, self.net).named(), x)

    def __len__(self) -> int:
        """Members."""
        return self.config.members

    def __iter__(self) -> Iterator[Autoencoder]:
        """The members one by one."""
        return (self.member(index) for index in range(len(self)))

    def member(self, index: int) -> Autoencoder:
        """One member as a network of its own, with a copy of its weights, in eval mode."""
        member = self._kind(self.config.member)
        weights = {name: tensor[index].detach().clone() for name, tensor in cast(Stacks, self.net).named().items()}
        member.net.load_state_dict(weights)
        if self.examples is not None:
            member.examples = self.examples[:, index]
        if self.probes is not None:
            member.probes = self.probes[:, index]
        return member.eval()

    @torch.no_grad()
    def operators(self) -> Float[Tensor, "members d d"]:
        """The matrix of each member, of a linear architecture without biases, in float64.

        Cost: one evaluation of d points, d the pixels of an image.
        """
        shape = self.shape[1:]
        d = math.prod(shape)
        weights = {name: tensor.double() for name, tensor in cast(Stacks, self.net).named().items()}
        identity = torch.eye(d, dtype=torch.float64, device=self.device).view(d, 1, *shape)
        rows = evaluate(self.template, weights, identity.expand(d, *self.shape))
        matrices = rows.flatten(2).permute(1, 2, 0)  # (members, d out, d in)
        if not matrices.isfinite().all():
            raise NonFiniteError("a member of the ensemble holds NaN or infinity, so it has no matrix.")
        point = torch.randn(d, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(matrices)
        image = evaluate(self.template, weights, point.view(1, 1, *shape).expand(1, *self.shape)).flatten(2)[0]
        if not torch.allclose(image, matrices @ point, rtol=1e-6, atol=1e-9):
            raise InvalidArgumentError(
                f"{self.config.architecture} with {self.config.member} is not linear: it has no operator."
            )
        return matrices

    def eigenvalues(self) -> Complex[Tensor, "members d"]:
        """Eigenvalues of each member's operator, largest modulus first.

        Raises:
            NonFiniteError: NaN or infinity in the weights.
            ValueError: The architecture is not linear.
        """
        values = torch.linalg.eigvals(self.operators())
        return values.gather(-1, values.abs().argsort(-1, descending=True))

    # Training ---------------------------------------------------------------------------------------------------------

    def objective(self, x: Tensor, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Largest loss of a running member, and the sum of theirs, whose gradient is each one's own."""
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
        running = self.stopped_at == RUNNING
        return torch.where(running, self._losses, 0).max(), torch.where(running, losses, 0).sum()

    def _train_forward(self, x: Tensor) -> Tensor:
        net = self.template.net
        mixed = torch.is_autocast_enabled(x.device.type)
        small = math.prod(self.shape[1:]) <= SMALL
        if isinstance(net, ConvolutionChain) and net.single_filter and small and not mixed:
            filters = next(iter(cast(Stacks, self.net).stacks))[:, :, 0, 0]
            return single_filter_chain(filters, x[:, :, 0].transpose(0, 1), net.skips).transpose(0, 1)[:, :, None]
        return self(x)

    def _look(self, loss: Tensor) -> bool:
        """End the members that are done or lost; true when none is left."""
        step, stop = self.global_step, self.training_config.stop_loss or 0.0
        running = self.stopped_at == RUNNING
        done, lost = running & (self._losses < stop), running & ~self._losses.isfinite()
        if bool(lost.any()):
            self._give_up(lost, "its loss is not finite")
        if bool(done.any()):
            self.stopped_at[done] = step
            self._ends = {}
        running = self.stopped_at == RUNNING
        if not bool(running.any()):
            self.trainer.should_stop = True
            return True
        if self._watch is not None:
            self._watch.loss(step, torch.where(running, self._losses, 0).max().item())
        if not bool(running.all()) and not self._ends:
            self._ends = {name: parameter.detach().clone() for name, parameter in self.named_parameters()}
        return False

    def _give_up(self, lost: Tensor, why: str) -> None:
        """End these members with the last weights that were kept, and say so."""
        assert self._watch is not None
        kept = self._watch.kept
        back = f"the weights of step {self._watch.kept_step}" if kept else "zeros"
        for index in lost.nonzero().flatten().tolist():
            rank_zero_warn(
                f"member {index} diverged: {why} (loss {self._losses[index].item():.4g}) at optimizer step "
                f"{self.global_step}; it stops with {back}. Lower lr, or the scale of the images."
            )
        self.stopped_at[lost] = DIVERGED
        for name, parameter in self.named_parameters():
            parameter.data[:, lost] = kept[name][:, lost] if kept else 0.0
        self._ends = {}

    def on_fit_start(self) -> None:
        """Members that ended in an earlier run stay ended."""
        super().on_fit_start()
        self._ends = {}
        if not bool((self.stopped_at == RUNNING).any()):
            rank_zero_warn("every member has ended in an earlier fit; to train on, stopped_at.fill_(-1) first.")

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Members that have ended have no gradient; the one of a member that just diverged would not be finite."""
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        if self._watch is not None and self._watch.step == self._watch.kept_step:
            over = torch.stack([~g.transpose(0, 1).flatten(1).isfinite().all(1) for g in gradients]).any(0)
            over &= self.stopped_at == RUNNING
            if bool(over.any()):
                self._give_up(over, "its gradient overflows")
                self._ends = {name: parameter.detach().clone() for name, parameter in self.named_parameters()}
        ended = self.stopped_at != RUNNING
        if bool(ended.any()):
            for gradient in gradients:
                gradient[:, ended] = 0.0
        super().on_before_optimizer_step(optimizer)

    def after_step(self) -> None:
        """Members that have ended are put back, whatever momentum did to them."""
        if self._ends:
            ended = self.stopped_at != RUNNING
            for name, parameter in self.named_parameters():
                wide = ended.view(1, -1, *[1] * (parameter.dim() - 2))
                parameter.data.copy_(torch.where(wide, self._ends[name], parameter.data))


def evaluate(template: Autoencoder, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    r"""All members on ``x`` (B, members, \*shape), ``weights`` by their names in a member, (members, \*shape) each."""
    run: Callable[..., Tensor] = {ConvAutoencoder: _grouped, FullyConnected: _batched}.get(type(template), _mapped)
    return run(template, weights, x)


def _grouped(template: Autoencoder, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Convolutions of all members as one grouped convolution."""
    chain = cast(ConvolutionChain, template.net)
    members = x.shape[1]

    def layer(index: int, h: Tensor) -> Tensor:
        bias = weights.get(f"layers.{index}.bias")
        return nn.functional.conv2d(
            h,
            weights[f"layers.{index}.weight"].flatten(0, 1),
            None if bias is None else bias.flatten(),
            padding=template.config.kernel // 2,
            groups=members,
        )

    return chain.run(x.flatten(1, 2), layer).view_as(x)


def _batched(template: Autoencoder, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Linear layers of all members as batched products."""
    h = x.flatten(2).transpose(0, 1)
    for name, module in template.net.named_children():
        if isinstance(module, nn.Linear):
            bias = weights.get(f"{name}.bias")
            weight = weights[f"{name}.weight"].mT
            h = h @ weight if bias is None else torch.baddbmm(bias[:, None], h, weight)
        elif not isinstance(module, (nn.Flatten, nn.Unflatten)):
            h = module(h)
    return h.transpose(0, 1).reshape(x.shape)


def _mapped(template: Autoencoder, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Any architecture, by vectorised map over the members."""

    def one(own: dict[str, Tensor], images: Tensor) -> Tensor:
        return cast(Tensor, functional_call(template.net, own, (images,)))

    return vmap(one, in_dims=(0, 1), out_dims=1, randomness="different")(weights, x)
