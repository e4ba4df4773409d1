r"""The files of EDM: denoisers of images with noise of any level.

With :math:`\sigma_{data}` = 0.5, and F the network, which is told :math:`\tfrac14 \log \sigma`,

.. math::
    D(x; \sigma) = \frac{\sigma_{data}^2}{\sigma^2 + \sigma_{data}^2}\, x
        + \frac{\sigma\, \sigma_{data}}{\sqrt{\sigma^2 + \sigma_{data}^2}}\,
        F\!\left( \frac{x}{\sqrt{\sigma^2 + \sigma_{data}^2}};\; \tfrac14 \log \sigma \right).

That is a field that predicts "edm" with the clock "edm", on the path ``edm`` from noise of 80 to 0.002, and what its
authors sample with is the solver ``edm_heun``.

======================================  =========================================================================
file                                    network
======================================  =========================================================================
``edm-imagenet-64x64-cond-adm.pkl``     ``unet``: ADM, with labels
``edm-cifar10-32x32-*-vp.pkl``,         ``ddpmpp``, of CIFAR-10 also with labels
``edm-ffhq-64x64-uncond-vp.pkl``,
``edm-afhqv2-64x64-uncond-vp.pkl``
``edm-*-ve.pkl``                        NCSN++, which there is none of here
``baseline-*.pkl``                      other preconditionings, which are refused; in files of bare tensors nothing
                                        tells them apart
======================================  =========================================================================

A network that was trained without dropping labels has no null condition. What it was told of how its training images
were distorted (``map_augment``) is left: nothing is added for images that are not.

Source: Karras et al. (2022), arXiv 2206.00364, table 1 and appendix F, and the files published with it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import networks
from .base import Imported, formats, take
from .edm_keys import filters, label_table, network_options, places

_AUGMENTATION = "model.map_augment.weight"


@formats.register("edm")
def edm(
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any] | None = None,
    sigma_data: float | None = None,
    null_label: bool | None = None,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
) -> Imported:
    """EDM of Karras et al. 2022: ADM and DDPM++ with its preconditioning (.pkl, of which no code is run).

    Args:
        tensors: Of the file.
        config: What its network was constructed with, which a .pkl tells.
        sigma_data: The standard deviation of the data; null for what the file tells, or 0.5.
        null_label: Whether it was trained with labels dropped, so that no label is a condition too; null for what the
            file tells, or false.
        sigma_min, sigma_max: The noise levels to sample between.
    Raises:
        ValueError: if a tensor is missing, left over or of another shape, or it is of another architecture.
    """
    config = config or {}
    if config.get("class_name", "EDMPrecond") != "EDMPrecond":
        raise ValueError(
            f"its network is a {config['class_name']}, whose output means something else: it has to be an EDMPrecond"
        )
    network, side = network_options(tensors)
    adm = network["name"] == "unet"
    tensors = {name: tensor for name, tensor in tensors.items() if name != _AUGMENTATION}
    if network["num_classes"] is not None:
        dropped = _said(config, "label_dropout", 0.0) > 0
        network["null_label"] = dropped if null_label is None else null_label
        tensors["model.map_label.weight"] = label_table(tensors, adm, network["null_label"])
        if not adm:  # it is in the table
            del tensors["model.map_label.bias"]
    elif null_label is not None:
        raise ValueError(f"null_label={null_label} is for networks with labels, and this one has none")
    with torch.device("meta"):  # for names and shapes alone
        skeleton = networks.registry.build_from(network)
    for name in filters(skeleton, side):
        _check_filter(name, tensors.pop(name, None))
    return Imported(
        network=network,
        path={"name": "edm", "sigma_min": sigma_min, "sigma_max": sigma_max},
        tensors=take(tensors, skeleton, places(skeleton, side)),
        predicts="edm",
        sigma_data=_said(config, "sigma_data", 0.5) if sigma_data is None else sigma_data,
        clock="edm",
        shape=(network["channels"], side, side),
    )


def _said(config: Mapping[str, Any], name: str, default: float) -> float:
    """A number that the network was constructed with."""
    value = config.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"its network was constructed with {name}={value!r:.80}, which is no number")
    return float(value)


def _check_filter(name: str, theirs: Tensor | None) -> None:
    """ValueError unless it is the mean of 2x2 pixels, as here."""
    if theirs is None:
        raise ValueError(f"{name} is missing, 1 x 1 x 2 x 2 numbers of this architecture")
    if theirs.device.type != "meta" and (
        theirs.numel() != 4 or not torch.allclose(theirs.float(), torch.tensor(0.25), atol=1e-3)
    ):
        raise ValueError(
            f"{name} is no mean of 2 x 2 pixels, by which this architecture changes the resolution: NCSN++ has others"
        )
