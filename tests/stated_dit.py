r"""The forward pass of a diffusion transformer, from the papers and in plain functional torch, to check ours against.

It takes the weights under our names and shares no code with flowguide. Peebles & Xie (2022), arXiv 2212.09748, and what
the options cite.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def forward(w: Mapping[str, Tensor], x: Tensor, t: Tensor, cond: Tensor | None, o: Mapping) -> Tensor:
    """All output channels; ``w`` a state dict, ``o`` options: heads, patch, depth and what differs from the paper."""
    B, C, H, W = x.shape
    p, heads = o["patch"], o["heads"]
    rows, cols, width = H // p, W // p, w["enter.weight"].shape[0]
    # The patch embedding is a convolution whose stride is its kernel.
    kernel = w["enter.weight"].reshape(width, C, p, p)
    h = F.conv2d(x, kernel, w["enter.bias"], stride=p).flatten(2).transpose(1, 2)
    if o.get("positions", "sincos") != "rope":
        h = h + position_table(rows, cols, width).to(x.dtype)
    registers = o.get("registers", 0)
    if registers:
        h = torch.cat([w["registers"].expand(B, -1, -1), h], 1)

    c = time_embedding(w, t.expand(B), o)
    keys = present = None
    if cond is not None and cond.ndim == 1:
        c = c + w["condition.label.weight"][cond]
    elif cond is not None and cond.ndim == 2:
        c = c + linear(w, "condition.project.2", F.silu(linear(w, "condition.project.0", cond)))
    elif cond is not None:
        present = ~cond.isnan().any(-1)
        hidden = F.gelu(linear(w, "condition.project.0", cond.nan_to_num()), approximate="tanh")
        keys = linear(w, "condition.project.2", hidden)
    c = F.silu(c)

    for i in range(o["depth"]):
        name = f"blocks.{i}"
        m = linear(w, f"{name}.modulate", c).reshape(B, 6, 1, width)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (m[:, j] for j in range(6))
        a = normed(h, o) * (1 + scale_a) + shift_a
        q, k, v = (split(each, heads) for each in linear(w, f"{name}.attention.project", a).split(width, 2))
        mixed = attend(w, f"{name}.attention", q, k, v, o, rows, cols, registers, None)
        h = h + gate_a * mixed
        if keys is not None:
            q = split(linear(w, f"{name}.cross.query", normed(h, o)), heads)
            k, v = (split(each, heads) for each in linear(w, f"{name}.cross.project", keys).split(width, 2))
            h = h + attend(w, f"{name}.cross", q, k, v, o, None, None, 0, present)
        a = normed(h, o, o.get("feed_epsilon", 1e-6)) * (1 + scale_m) + shift_m
        a = linear(w, f"{name}.feed.enter", a)
        if o.get("activation") == "swiglu":
            half = a.shape[-1] // 2
            a = F.silu(a[..., :half]) * a[..., half:]
        else:
            a = 0.5 * a * (1 + torch.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)))
        h = h + gate_m * linear(w, f"{name}.feed.leave", a)

    shift, scale = linear(w, "leave.modulate", c).reshape(B, 2, 1, width).unbind(1)
    out = linear(w, "leave.leave", normed(h[:, registers:], o) * (1 + scale) + shift)
    channels = out.shape[-1] // p**2
    image = torch.empty(B, channels, H, W, dtype=x.dtype)
    for r in range(rows):
        for s in range(cols):
            block = out[:, r * cols + s].reshape(B, p, p, channels)
            image[:, :, r * p : (r + 1) * p, s * p : (s + 1) * p] = block.permute(0, 3, 1, 2)
    return image


def linear(w: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def time_embedding(w: Mapping[str, Tensor], t: Tensor, o: Mapping) -> Tensor:
    # As published, these are rounded to float32, whatever follows.
    last = 127 if o.get("closed_frequencies") else 128
    frequencies = torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float32) / last).to(t.dtype)
    angles = o.get("time_scale", 1000.0) * t[:, None] * frequencies
    return linear(w, "time.3", F.silu(linear(w, "time.1", torch.cat([angles.cos(), angles.sin()], 1))))


def position_table(rows: int, cols: int, width: int) -> Tensor:
    """Entry by entry: sines then cosines of the column, then the same of the row."""
    quarter = width // 4
    table = torch.zeros(rows * cols, width, dtype=torch.float64)
    for r in range(rows):
        for c in range(cols):
            for i in range(quarter):
                omega = 1 / 10000 ** (i / quarter)
                values = (math.sin(c * omega), math.cos(c * omega), math.sin(r * omega), math.cos(r * omega))
                for part, value in enumerate(values):
                    table[r * cols + c, part * quarter + i] = value
    return table


def rotated(x: Tensor, rows: int, cols: int, registers: int) -> Tensor:
    """Every pair of channels times a complex number of modulus one; the registers as they are."""
    quarter = x.shape[-1] // 4
    omega = torch.tensor([1 / 10000 ** (i / quarter) for i in range(quarter)], dtype=torch.float64)
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(cols)).double()
    angles = torch.cat([places[:, :1] * omega, places[:, 1:] * omega], 1)
    turn = torch.polar(torch.ones_like(angles), angles)
    turned = torch.view_as_complex(x[:, :, registers:].double().unflatten(-1, (-1, 2)).contiguous()) * turn
    return torch.cat([x[:, :, :registers], torch.view_as_real(turned).flatten(-2).to(x.dtype)], 2)


def split(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def normed(x: Tensor, o: Mapping, epsilon: float = 1e-6) -> Tensor:
    if o.get("norm") == "rms":
        return x / (x.square().mean(-1, keepdim=True) + epsilon).sqrt()
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()


def attend(w, name: str, q: Tensor, k: Tensor, v: Tensor, o: Mapping, rows, cols, registers: int, present) -> Tensor:
    if o.get("qk_norm"):
        q, k = (
            normed(each, o) * w[f"{name}.{which}_norm.weight"] + w.get(f"{name}.{which}_norm.bias", 0)
            for each, which in ((q, "query"), (k, "key"))
        )
    if rows is not None and o.get("positions") in ("rope", "both"):
        q, k = rotated(q, rows, cols, registers), rotated(k, rows, cols, registers)
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    if present is not None:
        scores = scores.masked_fill(~present[:, None, None], -math.inf)
    return linear(w, f"{name}.leave", (scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
