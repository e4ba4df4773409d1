"""Layers that several networks share."""

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint


def check_positive(owner: str, sizes: Mapping[str, int]) -> None:
    """ValueError unless every size is at least 1."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{owner} needs {name} >= 1, not {value}")


def recomputed(module: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    """What the module makes of its inputs; of the way there nothing is kept, but computed again for gradients."""
    if not torch.is_grad_enabled():
        return module(*inputs)
    options = {"context_fn": lambda: (nullcontext(), PlainAttention())} if _attends_plainly() else {}
    return checkpoint(module, *inputs, use_reentrant=False, **options)


class PlainAttention:
    """While it is entered, attention is computed by torch's plain kernel, the only one to be differentiated twice."""

    def __enter__(self) -> None:
        self._kernel = sdpa_kernel(SDPBackend.MATH)
        self._kernel.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._kernel.__exit__(*error)


def _attends_plainly() -> bool:
    """Whether another kernel would be taken if it were computed again later; nothing that compiles asks for one."""
    cuda = torch.backends.cuda
    return not (
        torch.compiler.is_compiling()
        or cuda.flash_sdp_enabled()
        or cuda.mem_efficient_sdp_enabled()
        or cuda.cudnn_sdp_enabled()
    )


class GroupNorm(nn.GroupNorm):
    """Group normalisation in float32 at least, whatever autocast or the weights say; the result is as x is."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype not in (torch.float16, torch.bfloat16):
            return super().forward(x)
        weight, bias = self.weight.float(), self.bias.float()
        return functional.group_norm(x.float(), self.num_groups, weight, bias, self.eps).to(x.dtype)


def group_norm(channels: int, groups: int | None = None, epsilon: float = 1e-5) -> GroupNorm:
    """Group normalisation with 32 groups, fewer where that would leave less than 4 channels in one, or with ``groups``.

    ``epsilon`` is what the variance is at least taken for.

    Source: Karras et al. (2022), arXiv 2206.00364 (the rule for few channels); always 32, Dhariwal & Nichol (2021),
        arXiv 2105.05233.
    """
    return GroupNorm(groups or max(math.gcd(min(32, channels // 4), channels), 1), channels, epsilon)


class Dropout(nn.Dropout):
    """Dropout of images, of the same pixels however they lie in memory: torch draws for numbers as they lie."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.p:
            x = x.contiguous(memory_format=torch.channels_last)
        return super().forward(x)


class SiLU(nn.SiLU):
    """SiLU of what nothing else needs: without gradients, in place."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(x, inplace=not torch.is_grad_enabled())


def zero(module: nn.Module) -> nn.Module:
    """The module with its parameters set to zero: a residual branch that starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
