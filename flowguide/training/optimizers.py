r"""How weights move: AdamW in one fused kernel, or Muon for the matrices of blocks and AdamW for all else.

The learning rate rises linearly over a warm-up of W steps and then stays, falls along a cosine, or falls as the root
of time, beginning at step D:

.. math:: \eta_n = \eta \min\left(1, \frac{n + 1}{W + 1}\right) \times \left\{ 1,\quad
    \tfrac12 \left(1 + \cos \tfrac{\pi n}{N}\right),\quad \sqrt{D / \max(n, D)} \right\}.

A step whose loss or gradient is not finite moves nothing: the kernel is told so on the device, and no one has to wait.

On a CPU torch's kernel copies each gradient whose dimensions lie in another order in memory, as those of a convolution
in channels-last do, which takes two thirds as long again. It is therefore given views of them in the order of memory.

Source: Loshchilov & Hutter (2017), arXiv 1711.05101 (AdamW); Jordan et al. (2024), "Muon: an optimizer for the hidden
layers of neural networks"; Karras et al. (2023), arXiv 2312.02696, section 2.2 (the root of time).
"""

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .options import TrainingOptions
from .sharded import filled, is_share

# What each remembers of a parameter.
_OF_ADAMW, _OF_MUON = {"step", "exp_avg", "exp_avg_sq"}, {"momentum_buffer"}


class Optimizers:
    """The optimizers of a model as one.

    Args:
        model: What is trained.
        options: Which optimizers, with which settings.
    Raises:
        ValueError: if this torch has no such optimizer.

    Attributes:
        parameters: Everything that moves, by name.
    """

    def __init__(self, model: nn.Module, options: TrainingOptions) -> None:
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._rate_at = options.learning_rate_at
        # Not those that are frozen, nor the second name of one that has two.
        muon = matrices_of_blocks(model) & self.parameters.keys() if options.optimizer == "muon" else set()
        self._orders = {name: order for name, p in self.parameters.items() if (order := _order_in_memory(p))}
        # What the optimizers move: the parameters, or views of them.
        self._moved = self.parameters | {
            name: nn.Parameter(self.parameters[name].detach().permute(order)) for name, order in self._orders.items()
        }
        others = [p for name, p in self._moved.items() if name not in muon]
        common = {"lr": options.learning_rate, "weight_decay": options.weight_decay}
        self._adamw = torch.optim.AdamW(others, betas=tuple(options.betas), fused=True, **common)
        self._muon = None
        if muon and not hasattr(torch.optim, "Muon"):
            raise ValueError(f"training.optimizer=muon needs a newer torch than {torch.__version__}, or take adamw")
        if muon:
            # Scaled as AdamW's steps are, so that one learning rate and one decay serve both.
            matrices = [self._moved[name] for name in sorted(muon)]
            self._muon = torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw", **common)
        self._of = {name: self._muon if name in muon else self._adamw for name in self.parameters}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in (*self.parameters.values(), *self._moved.values()):
            parameter.grad = None

    def step(self, step: int, finite: Tensor) -> float:
        """Move by the gradients if all is ``finite``, shape (); returns the learning rate of this step."""
        rate = self._rate_at(step)
        for optimizer in filter(None, (self._adamw, self._muon)):
            for group in optimizer.param_groups:
                group["lr"] = rate
        for name, order in self._orders.items():
            parameter, gradient = self.parameters[name], self.parameters[name].grad
            if gradient is not None and gradient.stride() != parameter.stride():  # which the kernel would mistake
                gradient = torch.empty_like(parameter).copy_(gradient)
            self._moved[name].grad = None if gradient is None else gradient.permute(order)
        self._adamw.found_inf = (~finite).float()
        self._adamw.step()
        if self._muon is not None and finite:
            self._muon.step()
        return rate

    def moments(self) -> dict[str, Tensor]:
        """What the optimizers remember, by ``parameter.moment``."""
        states = {name: self._of[name].state[parameter] for name, parameter in self._moved.items()}
        backs = {name: tuple(map(order.index, range(len(order)))) for name, order in self._orders.items()}
        return {
            f"{name}.{moment}": _viewed(value, backs.get(name))
            for name, state in states.items()
            for moment, value in state.items()
        }

    @torch.no_grad()
    def put_back(self, moments: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`moments` gave; of a parameter that had another optimizer or shape, nothing.

        A moment of its parameter's shape lies in memory, and on the ranks, as the parameter does.
        """
        known = defaultdict(set)
        for key in moments:
            name, _, moment = key.rpartition(".")
            known[name].add(moment)
        for name, parameter in self.parameters.items():
            if known[name] != (_OF_MUON if self._of[name] is self._muon else _OF_ADAMW):
                continue
            values = {moment: moments[f"{name}.{moment}"] for moment in known[name]}
            if any(value.shape not in (parameter.shape, torch.Size()) for value in values.values()):
                continue
            for moment, value in values.items():
                ours = torch.zeros_like(parameter) if value.ndim else torch.zeros((), device=parameter.device)
                placed = _viewed(filled(ours.detach(), value), self._orders.get(name))
                self._of[name].state[self._moved[name]][moment] = placed


def _order_in_memory(parameter: Tensor) -> tuple[int, ...] | None:
    """The dimensions of a parameter as they lie in memory, where the kernel would copy; None where it would not."""
    if parameter.device.type != "cpu" or parameter.is_contiguous() or is_share(parameter):
        return None
    return tuple(sorted(range(parameter.ndim), key=parameter.stride, reverse=True))


def _viewed(moment: Tensor, order: tuple[int, ...] | None) -> Tensor:
    """A moment with its dimensions in another order, if there is one; a count of steps has none."""
    return moment.permute(order) if order and moment.ndim else moment


def matrices_of_blocks(model: nn.Module) -> set[str]:
    """Names of the matrices within repeated blocks: the hidden layers, for which Muon is meant."""
    stacks = [f"{name}." for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    return {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and any(name.startswith(stack) for stack in stacks)
    }
