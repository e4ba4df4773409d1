r"""The split of a vector field in the plane into a gradient and a rest that moves no density.

.. math:: f = \nabla \varphi + g, \qquad \nabla \cdot (p\, g) = 0, \qquad
    \varphi = \arg\min_\varphi \int p\, |f - \nabla \varphi|^2,

by least squares on the edges of a grid. What is fitted are line integrals of f along edges, by Gauss's rule of three
points, to differences of potential between their ends: a gradient is then split exactly, whatever the grid, and its
rest is zero. The weights are densities at the middles of edges; the two parts are orthogonal under them, so that their
energies add up. No flux of p g leaves the box, which should therefore hold all of the density.

Source: the p-weighted split is in Horvat & Pfister (2024), arXiv 2402.03845.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import spsolve
from torch import Tensor
from torch.nn import functional

_TOGETHER = 2**14  # points that are evaluated at once
_LEAST = -30.0  # log of the least weight over the largest: the system stays regular where there is no density


@dataclass(frozen=True)
class Split:
    """A field on the n x n cells of a grid, first index along the first axis, and its two parts.

    Attributes:
        centres: Of the cells, shape (n, n, 2).
        field, gradient, rotational: At the centres, shape (n, n, 2): the first is the sum of the others.
        potential: At the corners, shape (n + 1, n + 1), 0 where the weight is largest.
        curl: Circulation around a cell over its area, shape (n, n).
        weight: p at the centres over its largest value, shape (n, n); 1 if it is not weighted.
        energies: Weighted means of |f|^2, |grad phi|^2 and |g|^2.
    """

    centres: Tensor
    field: Tensor
    gradient: Tensor
    rotational: Tensor
    potential: Tensor
    curl: Tensor
    weight: Tensor
    energies: tuple[float, float, float]

    @property
    def share(self) -> float:
        """The energy of g as a share of that of f; 0 for no field at all."""
        return self.energies[2] / self.energies[0] if self.energies[0] > 0 else 0.0

    def share_at(self, x: Tensor) -> Tensor:
        """|g|^2 / |f|^2 at states of shape (B, 2), by linear interpolation, shape (B,); in places it may exceed 1."""
        first, last = self.centres[0, 0], self.centres[-1, -1]
        at = (2 * (x.double() - first) / (last - first) - 1).flip(1)[None, None]  # grid_sample counts columns first
        squares = torch.stack([self.rotational.square().sum(2), self.field.square().sum(2)])[None]
        g, f = functional.grid_sample(squares, at, padding_mode="border", align_corners=True)[0, :, 0]
        return torch.where(f > 0, g / f.where(f > 0, 1), 0).to(x)


def box_around(x: Tensor, margin: float) -> list[float]:
    """[low, high] along each axis: that of states of shape (B, 2), and a margin, a share of it, on either side."""
    low, high = x.double().amin(0), x.double().amax(0)
    room = margin * (high - low).clamp(min=1e-3)
    return torch.stack([low - room, high + room], 1).flatten().tolist()


def check_box(box: Sequence[float] | None) -> list[float] | None:
    """A box as four numbers; ValueError if it is none."""
    if box is None:
        return None
    box = [float(value) for value in box]
    if len(box) != 4 or not (box[0] < box[1] and box[2] < box[3]) or not np.isfinite(box).all():
        raise ValueError(f"a box is [low, high, low, high], along the first axis and the second, not {box}")
    return box


def split(
    function: Callable[[Tensor], Tensor],
    log_weight: Callable[[Tensor], Tensor] | None,
    box: Sequence[float],
    cells: int,
    like: Tensor,
) -> Split:
    """Split a field, (N, 2) to (N, 2), weighted by the density of which ``log_weight``, (N, 2) to (N,), is the log."""
    low = np.array([box[0], box[2]])
    step = (np.array([box[1], box[3]]) - low) / cells
    nodes, middles = np.arange(cells + 1.0), np.arange(cells) + 0.5

    def points(first: np.ndarray, second: np.ndarray) -> Tensor:
        grid = np.stack(np.meshgrid(first, second, indexing="ij"), -1) * step + low
        return torch.from_numpy(grid).to(like)

    def weights(at: Tensor) -> np.ndarray:
        if log_weight is None:
            return np.zeros(at.shape[:-1])
        return _each(log_weight, at.reshape(-1, 2)).reshape(at.shape[:-1]).double().cpu().numpy()

    values, logs = [], []  # per axis, for the edges along it: f along the edge, its mean; log p in the middle
    gauss, shares = np.polynomial.legendre.leggauss(3)
    for axis in (0, 1):
        ends = [nodes, nodes]
        value = 0.0
        for node, share in zip(gauss / 2, shares / 2, strict=True):
            ends[axis] = middles + node
            at = points(*ends)
            value = (
                value + share * _each(function, at.reshape(-1, 2))[:, axis].reshape(at.shape[:2]).double().cpu().numpy()
            )
        ends[axis] = middles
        values.append(value)
        logs.append(weights(points(*ends)))
    top = max(log.max() for log in logs)
    weight = [np.exp(np.maximum(log - top, _LEAST)) for log in logs]
    potential = _potential(values, weight, step)
    slopes = [np.diff(potential, axis=axis) / step[axis] for axis in (0, 1)]
    rests = [value - slope for value, slope in zip(values, slopes, strict=True)]
    curl = np.diff(values[1], axis=0) / step[0] - np.diff(values[0], axis=1) / step[1]
    centre = points(middles, middles)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(like.device)

    def vectors(edges: Sequence[np.ndarray]) -> Tensor:
        along, across = edges
        return tensor(np.stack([(along[:, 1:] + along[:, :-1]) / 2, (across[1:] + across[:-1]) / 2], -1))

    def energy(edges: Sequence[np.ndarray]) -> float:
        return float(sum((w * e**2).sum() / w.sum() for w, e in zip(weight, edges, strict=True)))

    return Split(
        centre.double(),
        *(vectors(edges) for edges in (values, slopes, rests)),
        tensor(potential),
        tensor(curl),
        tensor(np.exp(weights(centre) - top)),
        (energy(values), energy(slopes), energy(rests)),
    )


def _potential(values: Sequence[np.ndarray], weight: Sequence[np.ndarray], step: np.ndarray) -> np.ndarray:
    """The potential at the nodes whose differences fit the field along edges best: a weighted Poisson equation."""
    count = values[0].shape[1]
    difference = sparse.diags([-1.0, 1.0], [0, 1], shape=(count - 1, count))
    same = sparse.identity(count)
    gradient = sparse.vstack([sparse.kron(difference, same) / step[0], sparse.kron(same, difference) / step[1]]).tocsr()
    # Each axis has the same weight, as in the energies.
    w = np.concatenate([(each / each.sum()).ravel() for each in weight])
    f = np.concatenate([each.ravel() for each in values])
    matrix = (gradient.T @ sparse.diags(w) @ gradient).tocsc()
    right = gradient.T @ (w * f)
    # Only differences of potential are determined: it is set to 0 next to the edge of the largest weight.
    pinned = int(np.ravel_multi_index(np.unravel_index(weight[0].argmax(), weight[0].shape), (count, count)))
    free = np.delete(np.arange(count**2), pinned)
    potential = np.zeros(count**2)
    potential[free] = spsolve(matrix[free][:, free], right[free])
    return potential.reshape(count, count)


def _each(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([function(some) for some in points.split(_TOGETHER)])
