r"""Inception-style score of a classifier.

.. math:: \exp\, E_x\, \mathrm{KL}\left( p(y \mid x) \,\|\, E_{x'}\, p(y \mid x') \right),

between 1 and the number of classes: high if every sample is recognised with confidence and all classes occur.

Source: Salimans et al. (2016), arXiv 1606.03498, section 4. Computed by torchmetrics.
"""

import warnings

import torch

from .base import Metric, Seen, metrics


@metrics.register("inception_score")
class InceptionScore(Metric):
    """Inception-style score, from 1 to the number of classes; higher is better."""

    title = "Inception-style score"
    better = "higher"
    needs = ("logits",)

    def __call__(self, samples: Seen, reference: Seen) -> float:
        self.check(samples, reference)
        from torchmetrics.image.inception import InceptionScore as Score

        # One split, whose standard deviation torchmetrics computes all the same, with a warning. It shuffles by the
        # global generator, which is put back.
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            # Not synchronised: each process has all samples, or has been asked alone.
            score = Score(feature=torch.nn.Identity(), splits=1, sync_on_compute=False)
            score.update(samples.logits.double().cpu())
            return float(score.compute()[0])
