r"""Energy networks: any network made the gradient of a scalar.

.. math:: E(x, t, y) = \langle x, f(x, t, y) \rangle, \qquad
    \text{output} = \nabla_x E = f + \left( \frac{\partial f}{\partial x} \right)^{\!\top} x.

The Jacobian of the output is the Hessian of E, and symmetric, at every time and for every condition. All kinds of
prediction at one time are :math:`a\, x + b\, p` of one another with numbers a and b, and EDM's output is so of a scaled
state: if any of score, noise, data, velocity, v or that is a gradient, then so are all. The network may predict
whichever, and mixes with weights that do not depend on x, as those of classifier-free guidance, remain gradients.

Why this energy: every differentiable E is one, up to a constant, for

.. math:: E(x) - E(0) = \Big\langle x, \int_0^1 \nabla E(s x)\, ds \Big\rangle.

What f has to be is thus the wanted output averaged along the ray from 0, as large and as smooth as the output itself,
and it can be trained from f = 0, where our U-Net starts. Other energies in use, :math:`\pm\frac{1}{2} \|f\|^2` and
:math:`-\frac{1}{2} \|x - f\|^2`, are bounded on one side, as the potential of a velocity need not be; and at f = 0 the
gradient of the former is 0 whichever way the weights move. On moons, with the mlp, ours did best or as well.

With Gaussian noise that is independent of the data nothing is lost: the exact predictions are gradients. With another
coupling or source they need not be, and an energy network then learns the gradient closest to them.

An output costs f and one backward pass; a step of training differentiates that once more.

Source: Salimans & Ho (2021), "Should EBMs model the energy or the score?", EBM workshop at ICLR 2021: energies of the
structure of a free network train as well as it does.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .base import Classifier, Network, NoisyClassifier, networks
from .encoded import Encoded


@networks.register("energy")
class Energy(Network):
    """The gradient in x of <x, f(x, t, cond)>, f any other network: its Jacobian is symmetric.

    Args:
        network: f: a name, or a name and options, ``{"name": ..., ...}``; what follows from the data may be left out.
        shape: Of one sample, without the batch; null if ``network`` leaves nothing out.
        num_classes: Number of labels, or null for what ``network`` says.
    Raises:
        ValueError: if f is a classifier, or the gradient of an energy already.
    """

    def __init__(
        self,
        network: str | Mapping[str, Any] = "mlp",
        shape: Sequence[int] | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.network = _inner(network, shape, num_classes)
        self.num_classes = self.network.num_classes
        self.needs_condition = self.network.needs_condition

    @classmethod
    def options_for(cls, shape: Sequence[int], num_classes: int | None) -> dict[str, Any]:
        return {"shape": list(shape), "num_classes": num_classes}

    def null(self, batch: int) -> Tensor | None:
        return self.network.null(batch)

    def null_of(self, cond: Tensor) -> Tensor | None:
        return self.network.null_of(cond)

    def encode(self, cond: Tensor | Encoded) -> Tensor | Encoded:
        return self.network.encode(cond)

    def energy(self, x: Tensor, t: Tensor, cond: Tensor | Encoded | None = None) -> Tensor:
        """E, shape (B,), up to a function of t and cond: for a network that predicts the score, log p_t(x | cond)."""
        return (x * self.network(x, t, cond)).flatten(1).sum(1)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | Encoded | None = None) -> Tensor:
        # A gradient rounded to autocast's bfloat16 on the way would be none: the precision is that of the weights.
        dtype = torch.promote_types(x.dtype, next(self.parameters()).dtype)
        state, t = x.to(dtype), t.to(dtype)
        # Of the kernels of attention only the plain one can be differentiated twice, as training and Jacobians do.
        with torch.autocast(x.device.type, enabled=False), sdpa_kernel(SDPBackend.MATH):
            # Unlike torch.autograd.grad, vjp works without recorded gradients, and inside jvp, vjp and vmap.
            output, pull = torch.func.vjp(lambda state: self.network(state, t, cond), state)
            (pulled,) = pull(state)
        return (output + pulled).to(x.dtype)


def _inner(node: str | Mapping[str, Any], shape: Sequence[int] | None, num_classes: int | None) -> Network:
    """The network of an energy, with what follows from the data filled in where its node leaves it out."""
    options: Mapping[str, Any] = {"name": node} if isinstance(node, str) else node
    if "name" not in options:
        raise ValueError(f"the network of an energy needs a name, one of {', '.join(networks.names())}, not {node}")
    component = networks.get(options["name"])
    if _is(component, Energy):
        raise ValueError("the network of an energy is one whose gradient is still to be taken, not an energy again")
    if _is(component, (Classifier, NoisyClassifier)):
        raise ValueError(
            f"the network of an energy is called as network(x, t, cond), as mlp and unet are; {options['name']!r} is a "
            f"classifier"
        )
    if options.get("checkpointing"):
        raise ValueError(
            "the network of an energy cannot compute activations again, since its gradient is taken within each "
            "evaluation: leave out checkpointing"
        )
    if shape is not None:
        follow = getattr(component, "options_for", Network.options_for)(shape, num_classes)
        options = {**options, **{key: value for key, value in follow.items() if options.get(key) is None}}
    elif num_classes is not None and options.get("num_classes") is None:
        options = {**options, "num_classes": num_classes}
    network: nn.Module = networks.build_from(options)
    if not isinstance(network, Network):
        raise ValueError(f"the network of an energy is a subclass of fg.networks.Network; {options['name']!r} is none")
    return network


def _is(component: object, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(component, type) and issubclass(component, kinds)
