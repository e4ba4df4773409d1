"""Solvers of other libraries on the problems of the accuracy benchmark, as many of them as are installed.

    pip install 'flowguide[bench]'

Each entry takes a problem and a number of steps and gives the state at sigma = 0, having called ``problem.predict``
once for each evaluation of the field. [t] is uniform in the library's own time; [u] runs the VP problem in
straight coordinates, which none of them does by itself: x is rescaled so that the path is rectified flow.
"""

import importlib.util
import math
from collections.abc import Callable

import numpy as np
import torch
from oracles import DOUBLE, Problem
from torch import Tensor
from torch.nn import Module

import flowguide as fg

Run = Callable[[Problem, int], Tensor]

_LINEAR = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def noisiest(path: str) -> float:
    """u = sigma / (alpha + sigma) at the first time."""
    p = fg.paths.build({"vp": "ddpm", "flow": "linear"}[path])
    return float(torch.sigmoid(-p.half_log_snr(torch.tensor(p.t_min, dtype=DOUBLE))))


def straight_start(problem: Problem) -> Tensor:
    """The noise as a state of the straight path at its first time."""
    u = noisiest(problem.path)
    return problem.noise * (1.0 if u == 1 else math.hypot(u, 1 - u))


def straight_velocity(problem: Problem) -> Callable[[Tensor, Tensor], Tensor]:
    """dx/du at (x, u)."""

    def velocity(x: Tensor, u: Tensor) -> Tensor:
        data, noise = problem.predict(x, 1 - u, u)
        return noise - data

    return velocity


def from_flow_matching(path: str) -> dict[str, Run]:
    """flow_matching's ODESolver, which is torchdiffeq's methods with fixed steps."""
    from flow_matching.solver import ODESolver

    def solver(method: str) -> Run:
        def run(problem: Problem, steps: int) -> Tensor:
            velocity = straight_velocity(problem)
            grid = torch.linspace(noisiest(path), 0.0, steps + 1, dtype=DOUBLE)
            ode = ODESolver(velocity_model=lambda x, t: velocity(x, t))
            start = straight_start(problem)
            return ode.sample(x_init=start, step_size=None, method=method, time_grid=grid)

        return run

    tag = "u" if path == "vp" else "t"
    return {f"flow_matching {m} [{tag}]": solver(m) for m in ("euler", "midpoint", "heun3", "rk4")}


def from_azula(path: str) -> dict[str, Run]:
    """azula's samplers on its rectified schedule."""
    from azula import noise, sample
    from azula.denoise import Denoiser, DiracPosterior

    u = noisiest(path)
    schedule = noise.RectifiedSchedule(alpha_min=1e-3 if u == 1 else (1 - u) / u, sigma_min=1e-3)

    class Exact(Denoiser):
        def __init__(self, problem: Problem) -> None:
            super().__init__()
            self.schedule, self.problem = schedule, problem

        def forward(self, x_t: Tensor, t: Tensor, **_: object) -> DiracPosterior:
            return DiracPosterior(mean=self.problem.predict(x_t, *schedule(t))[0])

    def solver(cls: type, **options: int) -> Run:
        def run(problem: Problem, steps: int) -> Tensor:
            start = problem.noise if u == 1 else problem.noise * math.hypot(1, (1 - u) / u)
            return cls(Exact(problem), steps=steps, silent=True, dtype=DOUBLE, **options)(start)

        return run

    tag = "u" if path == "vp" else "t"
    runs = {f"azula {n} [{tag}]": solver(getattr(sample, n + "Sampler")) for n in ("Euler", "Heun")}
    for name in ("zAB", "vAB", "zEAB", "REAB"):
        for order in (2, 3):
            runs[f"azula {name}{order} [{tag}]"] = solver(getattr(sample, name + "Sampler"), order=order)
    return runs


def from_diffusers(path: str) -> dict[str, Run]:
    """diffusers' multistep schedulers on their own VP schedule and grids, and as flow schedulers."""
    import diffusers as d

    def on_vp(make: Callable[[], Module]) -> Run:
        def run(problem: Problem, steps: int) -> Tensor:
            scheduler, x = make(), problem.noise
            scheduler.set_timesteps(steps)
            if hasattr(scheduler, "set_begin_index"):
                scheduler.set_begin_index(0)
            for i, t in enumerate(scheduler.timesteps):
                if hasattr(scheduler, "sigmas"):
                    rho = scheduler.sigmas[i].double()
                    alpha = 1 / torch.sqrt(1 + rho**2)
                    sigma = rho * alpha
                else:
                    kept = scheduler.alphas_cumprod[int(t)].double()
                    alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
                x = scheduler.step(problem.predict(x, alpha, sigma)[1], t, x, return_dict=False)[0]
            return x

        return run

    def on_flow(make: Callable[[], Module]) -> Run:
        def run(problem: Problem, steps: int) -> Tensor:
            scheduler, x, velocity = make(), straight_start(problem), straight_velocity(problem)
            if path == "vp":
                u = noisiest(path)
                scheduler.set_timesteps(sigmas=np.linspace(u, u / steps, steps))
            else:
                scheduler.set_timesteps(steps)
            scheduler.set_begin_index(0)
            for i, t in enumerate(scheduler.timesteps):
                x = scheduler.step(velocity(x, scheduler.sigmas[i].double()), t, x, return_dict=False)[0]
            return x

        return run

    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
    tag = "u" if path == "vp" else "flow"
    runs = {
        f"diffusers UniPC{order} [{tag}]": on_flow(lambda o=order: d.UniPCMultistepScheduler(solver_order=o, **flow))
        for order in (2, 3)
    }
    if path == "flow":
        runs["diffusers FlowMatchEuler [flow]"] = on_flow(d.FlowMatchEulerDiscreteScheduler)
        runs["diffusers DPM++2S [flow]"] = on_flow(lambda: d.DPMSolverSinglestepScheduler(solver_order=2, **flow))
        for order in (2, 3):
            runs[f"diffusers DPM++{order}M [flow]"] = on_flow(
                lambda o=order: d.DPMSolverMultistepScheduler(solver_order=o, **flow)
            )
        return runs
    runs["diffusers DDIM [trailing]"] = on_vp(
        lambda: d.DDIMScheduler(clip_sample=False, timestep_spacing="trailing", **_LINEAR)
    )
    runs["diffusers DDIM [leading]"] = on_vp(lambda: d.DDIMScheduler(clip_sample=False, **_LINEAR))
    grids = {"linspace": {}, "karras": {"use_karras_sigmas": True}, "exponential": {"use_exponential_sigmas": True}}
    for grid, options in grids.items():
        chosen = {**_LINEAR, **options}
        runs[f"diffusers DPM++2M [{grid}]"] = on_vp(lambda o=chosen: d.DPMSolverMultistepScheduler(**o))
        runs[f"diffusers DEIS3 [{grid}]"] = on_vp(lambda o=chosen: d.DEISMultistepScheduler(solver_order=3, **o))
        for order in (2, 3):
            runs[f"diffusers UniPC{order} [{grid}]"] = on_vp(
                lambda o=chosen, k=order: d.UniPCMultistepScheduler(solver_order=k, **o)
            )
    return runs


LIBRARIES = {"flow_matching": from_flow_matching, "azula": from_azula, "diffusers": from_diffusers}


def installed(path: str) -> dict[str, Run]:
    """Every solver of every library that is installed."""
    runs: dict[str, Run] = {}
    for library, make in LIBRARIES.items():
        if importlib.util.find_spec(library):
            runs |= make(path)
    return runs
