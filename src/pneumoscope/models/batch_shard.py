"""Layers for batches that are divided among ranks: batch statistics and random numbers are those of the whole batch.

With PyTorch's own layers a network trained by several processes would differ from one trained by one process: each rank
would normalise by the statistics of its shard and draw its own random numbers. Here normalisation sums over all ranks, and
every rank draws the random numbers of the whole batch and takes its rows. `sharded` sets the shard for one forward pass.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional


@dataclass(frozen=True)
class BatchShard:
    """Images of a batch that this rank holds.

    Attributes:
        total: Number of images in the whole batch.
        start: Position of the first image of this rank.
        stop: Position behind its last image.
    """

    total: int
    start: int
    stop: int


class ShardAware:
    """Mixin of layers whose output depends on other images of the batch, or on random numbers.

    Attributes:
        shard: Shard of the batch in the current forward pass; None where this rank holds the whole batch.
    """

    shard: BatchShard | None = None

    def draw_rows(self, images: int, draw: Callable[[int], Tensor]) -> Tensor:
        """Draw random rows for the images of this rank.

        Args:
            images: Number of images of this rank.
            draw: Function from a number of images to as many random rows; called for the whole batch, so that all ranks draw
                the same numbers.
        """
        return draw(images) if self.shard is None else draw(self.shard.total)[self.shard.start : self.shard.stop]

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Gather the rows of all images of the batch, (total, ...), from those of each rank; without gradients."""
        if self.shard is None:
            return rows
        batch = torch.zeros(self.shard.total, *rows.shape[1:], dtype=rows.dtype, device=rows.device)
        batch[self.shard.start : self.shard.stop] = rows
        distributed.all_reduce(batch)
        return batch


@contextmanager
def sharded(network: nn.Module, shard: BatchShard | None) -> Iterator[None]:
    """Set the batch shard of a network's layers for one forward pass; None for the whole batch."""
    layers = [layer for layer in network.modules() if isinstance(layer, ShardAware)] if shard else []
    for layer in layers:
        layer.shard = shard
    try:
        yield
    finally:
        for layer in layers:
            layer.shard = None


class Dropout(ShardAware, nn.Dropout):
    """Dropout that zeroes the same features for any number of ranks."""

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, features) with some set to zero and the others scaled, same shape."""
        if self.shard is None or not self.training or self.p == 0:
            return super().forward(features)
        # PyTorch draws the mask of a whole batch in this way.
        kept = self.draw_rows(
            len(features),
            lambda images: torch.empty(
                images, *features.shape[1:], dtype=torch.bool, device=features.device
            ).bernoulli_(1 - self.p),
        )
        return features * kept / (1 - self.p)


class BatchNorm2d(ShardAware, nn.BatchNorm2d):
    """Batch normalisation by mean and variance of the whole batch; PyTorch's SyncBatchNorm needs GPUs."""

    def forward(self, maps: Tensor) -> Tensor:
        """Normalised maps (n, channels, height, width), same shape."""
        if self.shard is None or not self.training:
            return super().forward(maps)
        outputs = _SynchronisedNorm.apply(maps, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        normalised, mean, variance, count = outputs
        with torch.no_grad():
            momentum = float(self.momentum or 0.0)
            self.running_mean.lerp_(mean, momentum)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * (count / (count - 1)), momentum)  # type: ignore[union-attr]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        result: Tensor = normalised
        return result


class _SynchronisedNorm(torch.autograd.Function):
    """Batch normalisation over the images of all ranks.

    Forward: each rank computes mean, variance and count of its images; with n = sum n_i, the mean is sum n_i m_i / n and the
    variance sum n_i (v_i + (m_i - mean)^2) / n. Backward: with standardised maps s and gradient g, summed over all ranks,
    dx = (g - sum(g) / n - s * sum(g * s) / n) * weight / deviation.

    Source: Ioffe and Szegedy, ICML 2015, arXiv 1502.03167; variances of parts combined as by Chan, Golub and LeVeque 1983.
    """

    @staticmethod
    def forward(ctx, maps, weight, bias, epsilon):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN205
        wide = maps.float()
        own_variance, own_mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
        count = torch.full_like(own_mean[:1], float(maps.numel() // maps.shape[1]))
        moments = torch.cat([own_mean, own_variance, count])
        gathered = [torch.empty_like(moments) for _ in range(distributed.get_world_size())]
        distributed.all_gather(gathered, moments)
        parts = torch.stack(gathered)
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
        bias_gradient, weight_gradient = wide.sum(dim=(0, 2, 3)), (wide * standard).sum(dim=(0, 2, 3))
        sums = torch.cat([bias_gradient, weight_gradient])
        distributed.all_reduce(sums)
        mean_gradient, mean_product = (part.view(shape) for part in (sums / total).chunk(2))
        maps_gradient = (wide - mean_gradient - standard * mean_product) * (weight * scale).view(shape)
        return maps_gradient.to(maps.dtype), weight_gradient, bias_gradient, None
