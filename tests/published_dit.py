"""Files of DiT and SiT, and folders of diffusers: random ones of any size, and their forward pass by stated_dit.

Names and shapes are those of the published files, written out once more. It shares nothing with flowguide.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stated_dit
import torch
from safetensors.torch import save_file
from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True)
class Facts:
    """A network: square images of ``side`` patches of ``patch`` pixels."""

    width: int = 24
    depth: int = 2
    heads: int = 3
    patch: int = 2
    channels: int = 4
    side: int = 3
    classes: int = 5
    null: bool = True
    variance: bool = True
    ratio: float = 4.0
    time_scale: float = 1.0
    closed_frequencies: bool = False
    feed_epsilon: float = 1e-6

    @property
    def pixels(self) -> int:
        return self.side * self.patch

    @property
    def outputs(self) -> int:
        return self.patch**2 * self.channels * (1 + self.variance)


class _Random:
    """Layers of random numbers; on the device "meta", of names and shapes alone."""

    def __init__(self, seed: int, device: str) -> None:
        self.state: State = {}
        self.device = device
        self.g = torch.Generator().manual_seed(seed)

    def table(self, name: str, *shape: int, std: float = 1.0) -> None:
        meta = self.device == "meta"
        self.state[name] = torch.empty(shape, device="meta") if meta else std * torch.randn(shape, generator=self.g)

    def layer(self, name: str, rows: int, *shape: int) -> None:
        self.table(f"{name}.weight", rows, *shape, std=torch.Size(shape).numel() ** -0.5)
        self.table(f"{name}.bias", rows, std=0.1)


def random_file(facts: Facts, seed: int = 0, device: str = "cpu") -> State:
    """As Peebles and Xie, and Ma et al., published theirs; the positions are real on any device."""
    made, width, hidden = _Random(seed, device), facts.width, round(facts.ratio * facts.width)
    made.state["pos_embed"] = stated_dit.position_table(facts.side, facts.side, width).float()[None]
    made.layer("x_embedder.proj", width, facts.channels, facts.patch, facts.patch)
    made.layer("t_embedder.mlp.0", width, 256)
    made.layer("t_embedder.mlp.2", width, width)
    made.table("y_embedder.embedding_table.weight", facts.classes + facts.null, width)
    for n in range(facts.depth):
        made.layer(f"blocks.{n}.attn.qkv", 3 * width, width)
        made.layer(f"blocks.{n}.attn.proj", width, width)
        made.layer(f"blocks.{n}.mlp.fc1", hidden, width)
        made.layer(f"blocks.{n}.mlp.fc2", width, hidden)
        made.layer(f"blocks.{n}.adaLN_modulation.1", 6 * width, width)
    made.layer("final_layer.adaLN_modulation.1", 2 * width, width)
    made.layer("final_layer.linear", facts.outputs, width)
    return made.state


def random_folder(facts: Facts, seed: int = 0) -> tuple[State, dict[str, Any]]:
    """Tensors and config as of diffusers' DiTTransformer2DModel."""
    made, width = _Random(seed, "cpu"), facts.width
    made.layer("pos_embed.proj", width, facts.channels, facts.patch, facts.patch)
    for n in range(facts.depth):
        block, emb = f"transformer_blocks.{n}", f"transformer_blocks.{n}.norm1.emb"
        made.layer(f"{emb}.timestep_embedder.linear_1", width, 256)
        made.layer(f"{emb}.timestep_embedder.linear_2", width, width)
        made.table(f"{emb}.class_embedder.embedding_table.weight", facts.classes + 1, width)
        made.layer(f"{block}.norm1.linear", 6 * width, width)
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            made.layer(f"{block}.attn1.{name}", width, width)
        made.layer(f"{block}.ff.net.0.proj", 4 * width, width)
        made.layer(f"{block}.ff.net.2", width, 4 * width)
    made.layer("proj_out_1", 2 * width, width)
    made.layer("proj_out_2", facts.outputs, width)
    for name in made.state:
        if ".emb." in name:
            made.state[name] = made.state[re.sub(r"blocks\.\d+", "blocks.0", name)].clone()
    config = {
        "_class_name": "DiTTransformer2DModel",
        "_diffusers_version": "0.30.0",
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "attention_head_dim": width // facts.heads,
        "dropout": 0.0,
        "in_channels": facts.channels,
        "norm_elementwise_affine": False,
        "norm_eps": facts.feed_epsilon,
        "norm_num_groups": 32,
        "norm_type": "ada_norm_zero",
        "num_attention_heads": facts.heads,
        "num_embeds_ada_norm": facts.classes,
        "num_layers": facts.depth,
        "out_channels": facts.channels * (1 + facts.variance),
        "patch_size": facts.patch,
        "sample_size": facts.pixels,
        "upcast_attention": False,
    }
    return made.state, config


def write_folder(folder: Path, state: State, config: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(state, folder / "diffusion_pytorch_model.safetensors")
    return folder


# What stated_dit calls them.
_FILE = (
    (r"x_embedder\.proj", "enter"),
    (r"t_embedder\.mlp\.0", "time.1"),
    (r"t_embedder\.mlp\.2", "time.3"),
    (r"y_embedder\.embedding_table", "condition.label"),
    (r"final_layer\.adaLN_modulation\.1", "leave.modulate"),
    (r"final_layer\.linear", "leave.leave"),
    (r"adaLN_modulation\.1", "modulate"),
    (r"attn\.qkv", "attention.project"),
    (r"attn\.proj", "attention.leave"),
    (r"mlp\.fc1", "feed.enter"),
    (r"mlp\.fc2", "feed.leave"),
)
_FOLDER = (
    (r"pos_embed\.proj", "enter"),
    (r"transformer_blocks\.0\.norm1\.emb\.timestep_embedder\.linear_1", "time.1"),
    (r"transformer_blocks\.0\.norm1\.emb\.timestep_embedder\.linear_2", "time.3"),
    (r"transformer_blocks\.0\.norm1\.emb\.class_embedder\.embedding_table", "condition.label"),
    (r"transformer_blocks", "blocks"),
    (r"norm1\.linear", "modulate"),
    (r"attn1\.to_out\.0", "attention.leave"),
    (r"ff\.net\.0\.proj", "feed.enter"),
    (r"ff\.net\.2", "feed.leave"),
    (r"proj_out_1", "leave.modulate"),
    (r"proj_out_2", "leave.leave"),
)


def forward(state: State, facts: Facts, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    """All outputs, for a file or a folder."""
    w = {}
    for name, tensor in state.items():
        for theirs, ours in _FILE if "t_embedder.mlp.0.weight" in state else _FOLDER:
            name = re.sub(rf"(?<![a-z_]){theirs}(?=\.)", ours, name)
        w[name] = tensor
    for name in [name for name in w if ".attn1.to_q." in name]:
        parts = [w[name.replace("to_q", part)] for part in ("to_q", "to_k", "to_v")]
        w[name.replace("attn1.to_q", "attention.project")] = torch.cat(parts)
    options = {"patch": facts.patch, "heads": facts.heads, "depth": facts.depth, "time_scale": facts.time_scale}
    options |= {"closed_frequencies": facts.closed_frequencies, "feed_epsilon": facts.feed_epsilon}
    return stated_dit.forward(w, x, t, labels, options)
