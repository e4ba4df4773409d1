r"""log p(x) under the flow of any field.

Along the probability flow :math:`\dot x = u(x, t)` the density obeys the instantaneous change of variables,

.. math::
    \frac{d}{dt} \log p_t(x_t) = -\nabla \cdot u(x_t, t), \qquad
    \log p_1(x_1) = \log p_0(x_0) - \int_0^1 \nabla \cdot u(x_t, t)\, dt,

with :math:`p_0 = N(0, \sigma_0^2 I)` and :math:`x_0` where the flow, run backwards, takes :math:`x_1`. In few
dimensions the divergence is computed exactly; in many it is estimated without bias by :math:`v^\top \nabla u\, v`
(Hutchinson) with a random vector v of signs, drawn once per sample, so that the integrand stays smooth. For guided
fields this is the density of what the ODE sampler draws, which is not the tilted density.

Sources: Chen et al. (2018), arXiv 1806.07366, theorem 1; Grathwohl et al. (2018), arXiv 1810.01367.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..fields import Field
from ..fields.arguments import check_states
from ..fields.inference import outside_inference_mode
from .divergence import probing_vectors, value_and_divergence
from .prior import gaussian


@outside_inference_mode
def log_likelihood(
    field: Field,
    x: Tensor,
    cond: Tensor | None = None,
    *,
    prior: Callable[[Tensor], Tensor] | None = None,
    exact: bool | None = None,
    probes: int = 1,
    seed: int = 0,
    first: int = 0,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Tensor:
    """Log-density of data under the probability flow of a field.

    The flow runs over the field's interval, [t_min, t_max], from N(0, sigma^2 I), which is what a solver starts from.
    Where a path begins with a little signal (vp, subvp, ve, edm, ddpm) that is only nearly the law of the states there,
    and the result is off from the density of the data by hundredths of a nat: see :func:`.matched_prior`.

    Args:
        field: Any field, guided or not, but none that acts between the steps of a solver or draws random numbers. Its
            prediction for a sample must not depend on the other samples.
        x: Data, shape (B, *), in the dtype to compute in: float64 for tight tolerances.
        cond: Conditions, one per sample, or None.
        prior: Log-density of the states at t_min, (B, *) to (B,), where it is known better than as N(0, sigma^2 I).
        exact: Compute the divergence exactly, by one backward pass per dimension; None: in up to 16 dimensions.
        probes: Random vectors per sample, if it is not exact.
        seed: Of the random vectors.
        first: Index of the sample in row 0: sample ``first + i`` has the same vectors in every batch.
        rtol, atol: Tolerances of the adaptive solver (Dormand-Prince, through torchdiffeq).
    Returns:
        log p(x | cond), nats, shape (B,).
    Raises:
        ValueError: if arguments do not fit, the field has no likelihood, or the tolerances cannot be reached.
    """
    from torchdiffeq import odeint

    check_states(x, "data")
    if not x.numel():
        raise ValueError(f"there must be data to take the likelihood of, not a tensor of shape {tuple(x.shape)}")
    if any(parameter.is_inference() for parameter in field.parameters()):
        raise ValueError(
            "a likelihood takes derivatives of the field, and its weights were made in torch.inference_mode, where "
            "nothing can be differentiated: make or load the model outside of it"
        )
    if not (rtol > 0 and atol > 0):
        raise ValueError(f"tolerances must be positive, not rtol={rtol}, atol={atol}")
    if field.between_steps or field.draws:
        does = "acts between the steps of a solver" if field.between_steps else "draws random numbers"
        raise ValueError(
            f"{getattr(field, 'name', type(field).__name__)} {does}, so that what it samples is no flow of its "
            f"predictions and has no likelihood here: give the field that it guides, or a rule such as cfg"
        )
    field.check_condition(cond, len(x))
    vectors = probing_vectors(x, exact, probes, seed, first)
    start, end = field.t_min, field.t_max

    def backwards(elapsed: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        t = (end - elapsed).to(x)
        velocity, divergence = value_and_divergence(lambda x: field(x, t, cond).velocity, state[0], vectors)
        return -velocity, divergence

    times = torch.tensor([0.0, end - start], dtype=torch.float64, device=x.device)
    options = {"dtype": torch.float64, "step_t": times}  # never past the last time
    try:
        (_, noise), (_, change) = odeint(
            backwards, (x.detach(), x.new_zeros(len(x))), times, rtol=rtol, atol=atol, method="dopri5", options=options
        )
    except AssertionError as error:
        raise ValueError(
            f"the flow could not be integrated to rtol={rtol:g}, atol={atol:g} ({error}): loosen them, or use float64"
        ) from None
    if prior is not None:
        return prior(noise) - change
    return gaussian(noise, field.path.sigma(torch.tensor(start, dtype=torch.float64)).item()) - change
