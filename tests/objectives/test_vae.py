"""The objective of autoencoders, beside torch's own distributions."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

import flowguide as fg


class Stated(fg.networks.Autoencoder):
    """Latents and images that are stated: the mean is the image halved, and an image is twice its latents."""

    channels, latent_channels, factor, design = 1, 1, 1, {}

    def __init__(self) -> None:
        super().__init__()
        self.std = torch.nn.Parameter(torch.tensor(0.3))

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images / 2, self.std.expand_as(images)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return 2 * latents


@pytest.mark.parametrize("error", ["l1", "l2"])
def test_it_is_error_and_divergence(error: str) -> None:
    data, seeded = torch.rand(5, 1, 4, 4) * 2 - 1, torch.Generator().manual_seed(3)
    objective = fg.objectives.build("vae", kl_weight=0.7, error=error)
    losses = objective.losses(Stated(), data, None, seeded)
    noise = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    # An image is twice its latents, and so is its error twice the noise's.
    errors = (0.6 * noise).abs() ** {"l1": 1, "l2": 2}[error]
    divergence = kl_divergence(Normal(data / 2, 0.3), Normal(0.0, 1.0))
    torch.testing.assert_close(losses, (errors + 0.7 * divergence).flatten(1).mean(1))
    assert objective.report["divergence"].item() == pytest.approx(divergence.flatten(1).sum(1).mean().item(), rel=1e-5)
    assert objective.report["reconstruction"].item() == pytest.approx(errors.mean().item(), rel=1e-5)


def test_labels_are_left_aside_and_other_models_refused() -> None:
    data, objective = torch.zeros(2, 1, 4, 4), fg.objectives.build("vae")
    a, b = (
        objective(Stated(), data=data, cond=cond, generator=torch.Generator().manual_seed(0))
        for cond in (None, torch.tensor([0, 1]))
    )
    assert torch.equal(a, b)
    with pytest.raises(ValueError, match="VAE trains an Autoencoder, not a Linear"):
        objective(torch.nn.Linear(1, 1), data=data)
    with pytest.raises(ValueError, match="kl_weight is at least 0"):
        fg.objectives.build("vae", kl_weight=-1)


def test_training_lowers_it() -> None:
    torch.manual_seed(0)
    autoencoder = fg.networks.build("autoencoder", channels=1, widths=[8, 16], patch=1)
    data = fg.data.build("digits").samples[:64]
    objective, generator = fg.objectives.build("vae", kl_weight=1e-3), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(autoencoder.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = objective(autoencoder, data=data, generator=generator)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize(("objective", "network"), [("vae", "autoencoder"), ("classification", "convnet")])
def test_images_are_of_the_networks_type(objective: str, network: str) -> None:
    named = {"num_classes": 3} if network == "convnet" else {}
    model, train = fg.networks.build(network, channels=1, **named), fg.objectives.build(objective)
    images, labels = torch.rand(2, 1, 16, 16), torch.tensor([0, 1])
    assert train(model, data=images, cond=labels).isfinite()
    with pytest.raises(ValueError, match="parameters are float32, and it was given data of float64"):
        train(model, data=images.double(), cond=labels)
    with pytest.raises(ValueError, match=r"data are floating-point tensors .* of an image's bytes give x / 127.5 - 1"):
        train(model, data=images.byte(), cond=labels)
