r"""Frechet distance between Gaussians fitted to features.

.. math:: |\mu - \mu'|^2 + \mathrm{tr}\left(\Sigma + \Sigma' - 2 (\Sigma \Sigma')^{1/2}\right)

Source: Heusel et al. (2017), arXiv 1706.08500, Eq. 6. Computed by torchmetrics, in float64. With a classifier's
features on its own data set this is not the FID of the literature, which uses those of an Inception network.
"""

import torch

from .base import Metric, Seen, metrics


@metrics.register("frechet_distance")
class FrechetDistance(Metric):
    """Frechet distance to the features of the training data; lower is better."""

    title = "Fréchet distance"
    better = "lower"

    def __call__(self, samples: Seen, reference: Seen) -> float:
        from torchmetrics.image.fid import FrechetInceptionDistance

        class Given(torch.nn.Identity):
            num_features = samples.features.shape[1]

        for seen in (samples, reference):
            if len(seen.features) < 2:
                raise ValueError(f"a Frechet distance needs at least 2 samples on each side, not {len(seen.features)}")
        # Not synchronised: each process has all samples, or has been asked alone.
        distance = FrechetInceptionDistance(feature=Given(), sync_on_compute=False)
        distance = distance.to(samples.features.device).set_dtype(torch.float64)
        distance.update(reference.features.double(), real=True)
        distance.update(samples.features.double(), real=False)
        return float(distance.compute())
