r"""A trained classifier of noisy states on its path.

Ours are shown the best linear guess of data of unit variance,

.. math:: c(x) = \frac{\alpha_t}{\alpha_t^2 + \sigma_t^2}\, x, \qquad
    g = \frac{1}{\alpha_t} \nabla_x \log p_t(y \mid x)
      = \frac{1}{\alpha_t^2 + \sigma_t^2} \nabla_c \log p(y \mid c, t),

and not the state itself. Its input has the scale of the data where these are known and vanishes where they are not, and
what guidance takes from it is finite at both ends of every path, whatever its weights. The exact posterior depends on x
through :math:`\alpha_t x / \sigma_t^2` for small alpha, and a network that is shown x has to learn that. Published
classifiers were, and so can one be here: then the gradient of the network itself is divided by alpha.

Source: Dhariwal & Nichol (2021), arXiv 2105.05233, section 4, whose classifier is shown x; the guess is
Wiener's filter.
"""

from typing import Literal

from torch import Tensor

from ..networks import Classifier, NoisyClassifier
from ..networks.precision import of_another_type
from ..paths import Coefficients, Path
from .network_field import Clock, ClockName, as_clock
from .posterior import Posterior


class NetworkPosterior(Posterior):
    """A network that classifies noisy states, and the path whose states they are.

    Args:
        network: Called as ``network(x, t)``, gives logits.
        path: The path that it is trained on.
        shown: What it is shown: the best linear "guess" of the data, or the "state" itself.
        clock: What it is told of the time, as for :class:`.NetworkField`.
    """

    def __init__(
        self,
        network: NoisyClassifier,
        path: Path,
        shown: Literal["guess", "state"] = "guess",
        *,
        clock: Clock | ClockName | None = None,
    ) -> None:
        super().__init__()
        if shown not in ("guess", "state"):
            raise ValueError(f"a classifier is shown the 'guess' or the 'state', not {shown!r}")
        if isinstance(network, Classifier):
            raise ValueError(
                f"{type(network).__name__} classifies clean data and takes no time: it knows nothing of noisy states; "
                f"train one that does, with the objective 'noisy_classifier'"
            )
        if not isinstance(network, NoisyClassifier):
            raise ValueError(
                f"a posterior needs a network that is called as network(x, t) and gives logits, a subclass of "
                f"fg.networks.NoisyClassifier; {type(network).__name__} is none"
            )
        self.network = network
        self.path = path
        self.shown = shown
        self.clock = as_clock(clock, path)
        self.num_classes = network.num_classes

    @property
    def t_min(self) -> float:
        return self.path.t_min if self.shown == "guess" else super().t_min

    def scale(self, coefficients: Coefficients) -> tuple[Tensor | float, Tensor]:
        if self.shown == "state":
            return super().scale(coefficients)
        inverse = 1 / coefficients.spread(1.0) ** 2
        return coefficients.alpha * inverse, inverse

    def log_probs(self, scaled: Tensor, t: Tensor) -> Tensor:
        try:
            return self.network(scaled, t if self.clock is None else self.clock(t)).log_softmax(1)
        except RuntimeError as error:
            if sentence := of_another_type(self.network, error, x=scaled):
                raise ValueError(sentence) from None
            raise
