"""A batch that several processes hold together: what its films have in common, and what is drawn for each, is the whole batch's.

Without this a network trained by several would differ from one trained by one process: normalisation would see a part of the
batch, and each process would draw its own numbers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional


@dataclass(frozen=True)
class BatchShare:
    """Which films of a batch this process holds.

    Attributes:
        total: Films of the batch.
        start: First of them here.
        stop: Behind the last.
    """

    total: int
    start: int
    stop: int


# Of the batch that is on its way through the network; None where this process holds all of it.
_share: BatchShare | None = None


@contextmanager
def sharing(share: BatchShare | None) -> Iterator[None]:
    """Says for the time of a forward pass which part of the batch the network is given; None for all of it."""
    global _share
    _share = share
    try:
        yield
    finally:
        _share = None


def drawn(films: int, draw: Callable[[int], Tensor]) -> Tensor:
    """What is drawn at random for each film, a row each: the rows of the films that are here.

    Args:
        films: That are here.
        draw: Draws for so many films. All processes draw the same, for they draw for all films of the batch.
    """
    return draw(films) if _share is None else draw(_share.total)[_share.start : _share.stop]


def gathered(rows: Tensor) -> Tensor:
    """The rows of all films of the batch, (total, ...), of those that are here; without gradients."""
    if _share is None:
        return rows
    everywhere = torch.zeros(_share.total, *rows.shape[1:], dtype=rows.dtype, device=rows.device)
    everywhere[_share.start : _share.stop] = rows
    distributed.all_reduce(everywhere)
    return everywhere


class Dropout(nn.Dropout):
    """Leaves out features at random, the same ones however many processes share the batch."""

    def forward(self, features: Tensor) -> Tensor:
        """Same shape, (n, features)."""
        if _share is None or not self.training or self.p == 0:
            return super().forward(features)
        # Drawn as PyTorch itself draws for a whole batch.
        kept = drawn(
            len(features),
            lambda films: torch.empty(films, *features.shape[1:], dtype=torch.bool, device=features.device).bernoulli_(
                1 - self.p
            ),
        )
        return features * kept / (1 - self.p)


class BatchNorm2d(nn.BatchNorm2d):
    """Normalises by mean and variance of the whole batch, however many processes share it; PyTorch's own does so on GPUs alone."""

    def forward(self, maps: Tensor) -> Tensor:
        """Same shape, (n, channels, height, width)."""
        if _share is None or not self.training:
            return super().forward(maps)
        told = _NormaliseTogether.apply(maps, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        normalised, mean, variance, count = told
        with torch.no_grad():
            momentum = float(self.momentum or 0.0)
            self.running_mean.lerp_(mean, momentum)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * (count / (count - 1)), momentum)  # type: ignore[union-attr]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        result: Tensor = normalised
        return result


class _NormaliseTogether(torch.autograd.Function):
    """Batch normalisation over the films of all processes.

    Source: Ioffe and Szegedy, ICML 2015, arXiv 1502.03167; variances of parts combined as by Chan, Golub and LeVeque 1983.
    """

    @staticmethod
    def forward(ctx, maps, weight, bias, epsilon):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN205
        wide = maps.float()
        own_variance, own_mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
        count = torch.full_like(own_mean[:1], float(maps.numel() // maps.shape[1]))
        told = torch.cat([own_mean, own_variance, count])
        everyone = [torch.empty_like(told) for _ in range(distributed.get_world_size())]
        distributed.all_gather(everyone, told)
        parts = torch.stack(everyone)
        channels = maps.shape[1]
        means, variances, counts = parts[:, :channels], parts[:, channels:-1], parts[:, -1:]
        total = counts.sum()
        mean = (means * counts).sum(dim=0) / total
        variance = ((variances + (means - mean) ** 2) * counts).sum(dim=0) / total
        ctx.save_for_backward(maps, weight, mean, torch.rsqrt(variance + epsilon), total)
        normalised = functional.batch_norm(maps, mean, variance, weight, bias, training=False, eps=epsilon)
        ctx.mark_non_differentiable(mean, variance, total)
        return normalised, mean, variance, total

    @staticmethod
    def backward(ctx, gradient, *_):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN205
        maps, weight, mean, scale, total = ctx.saved_tensors
        shape = (1, -1, 1, 1)
        wide = gradient.float()
        standard = (maps.float() - mean.view(shape)) * scale.view(shape)
        of_bias, of_weight = wide.sum(dim=(0, 2, 3)), (wide * standard).sum(dim=(0, 2, 3))
        sums = torch.cat([of_bias, of_weight])
        distributed.all_reduce(sums)
        common, along = (part.view(shape) for part in (sums / total).chunk(2))
        of_maps = (wide - common - standard * along) * (weight * scale).view(shape)
        return of_maps.to(maps.dtype), of_weight, of_bias, None
