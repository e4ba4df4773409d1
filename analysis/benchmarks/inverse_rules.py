"""How near rules that are guided by an observation come to the posterior, where that is known.

    python analysis/benchmarks/inverse_rules.py

Three Gaussians in the plane, of which the first coordinate is seen with a deviation of 0.2: the posterior is a mixture
again. Printed are, by time, the relative error of the guided score (root mean square over states of the posterior,
diffused), and the sliced Wasserstein distance of samples from the posterior, by the steps of DDPM on the linear path;
'exact' is the posterior's own field, and the floor as many samples of the posterior itself.
"""

import math

import torch
from torch import Tensor

import flowguide as fg

RULES = [
    ("no rule", {}),
    ("exact", {}),
    ("pigdm", {}),
    ("pigdm", {"data_std": 0.5}),
    ("dps", {}),
    ("reconstruction", {}),
    ("reconstruction", {"w": 2.0}),
    ("dps", {"step": "normalised", "w": 0.03}),
    ("dps", {"step": "normalised", "w": 0.1}),
    *(("repaint", {"resamples": n}) for n in (1, 2, 5, 10, 20)),
]
TIMES = (0.1, 0.3, 0.5, 0.7, 0.9, 0.97)
NUM, STEPS = 2000, 100


def prior() -> fg.oracle.GaussianMixture:
    """Of which the first coordinate tells little apart."""
    return fg.oracle.GaussianMixture(
        torch.tensor([0.3, 0.3, 0.4]),
        torch.tensor([[-1.2, -0.8], [0.9, 1.1], [1.0, -1.0]]).double(),
        torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.25]], [[0.2, 0], [0, 0.1]]]).double(),
    )


def sliced(a: Tensor, b: Tensor) -> float:
    """Sliced Wasserstein-1 distance of as many points, over 64 directions."""
    angle = torch.arange(64, dtype=torch.float64) * torch.pi / 64
    a, b = ((points @ torch.stack([angle.cos(), angle.sin()])).sort(0).values for points in (a, b))
    return (a - b).abs().mean().item()


def main() -> None:
    """Print both tables, a row per rule, the distances for two observations."""
    path, mixture = fg.paths.build("linear"), prior()
    field, see = fg.MixtureField(mixture, path), fg.observations.build("mask", std=0.2)
    exact, truth, fields = {}, {}, {}
    for y in (0.8, 0.0):
        one = torch.tensor([y], dtype=torch.float64)
        posterior = mixture.condition_on(fg.observations.build("matrix", rows=[[1.0, 0.0]], std=0.2), one)
        exact[y], truth[y] = fg.MixtureField(posterior, path), posterior.sample(NUM, seed=1, dtype=torch.float64)[0]
        observed = torch.tensor([y, math.nan], dtype=torch.float64)
        for name, options in RULES:
            known = {"no rule": field, "exact": exact[y]}.get(name)
            rule = known or fg.guidance.build(name, field, observation=see, observed=observed, **options)
            fields[name, str(options), y] = rule
        floor = sliced(truth[y], posterior.sample(NUM, seed=2, dtype=torch.float64)[0])
        print(f"y = {y}: floor {floor:.3f}")

    print("\nrelative error of the score at t, y = 0.8:", *(f"{t:8}" for t in TIMES))
    for name, options in RULES:
        if name in ("exact", "repaint") or "step" in options:
            continue  # which are exact, or act between steps
        errors = []
        for t in TIMES:
            x = t * truth[0.8] + (1 - t) * fg.paths.build("linear").prior((NUM, 2), seed=9, dtype=torch.float64)
            expected = exact[0.8](x, t).score
            found = fields[name, str(options), 0.8](x, t).score
            errors.append(((found - expected).square().mean() / expected.square().mean()).sqrt().item())
        print(f"{f'{name} {options or str()}':42}", *(f"{error:8.3f}" for error in errors))

    print(f"\ndistance from the posterior, {NUM} samples, {STEPS} steps:  y = 0.8   y = 0.0")
    solver = fg.solvers.build("ddim", eta=1.0, steps=STEPS)
    for name, options in RULES:
        found = []
        for y in (0.8, 0.0):
            rule = fields[name, str(options), y]
            samples = fg.sample(rule, (NUM, 2), None, solver, seed=5, dtype=torch.float64)
            found.append(sliced(samples, truth[y]))
        print(f"{f'{name} {options or str()}':48}", *(f"{distance:9.3f}" for distance in found), flush=True)


if __name__ == "__main__":
    main()
