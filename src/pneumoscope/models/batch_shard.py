"""Layers for a batch that several ranks share: what depends on other images or on chance is computed for the whole batch.

Without this a network trained by several processes would differ from one trained by one: normalisation would see a shard of
the batch, and each rank would draw its own random numbers. A layer learns of its shard by `sharded`, for one forward pass.
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
        total: Number of images in the batch.
        start: Position of the first image of this rank.
        stop: Position behind its last image.
    """

    total: int
    start: int
    stop: int


class ShardAware:
    """Mixin of layers whose result depends on other images of the batch, or on chance.

    Attributes:
        shard: Shard of the batch in this forward pass; None where this rank holds all of it.
    """

    shard: BatchShard | None = None

    def drawn(self, images: int, draw: Callable[[int], Tensor]) -> Tensor:
        """Random rows for the images of this rank.

        Args:
            images: Number of images of this rank.
            draw: Draws rows for so many images. All ranks draw the same, for they draw for the whole batch.
        """
        return draw(images) if self.shard is None else draw(self.shard.total)[self.shard.start : self.shard.stop]

    def gathered(self, rows: Tensor) -> Tensor:
        """Rows of all images of the batch, (total, ...), from those of this rank; without gradients."""
        if self.shard is None:
            return rows
        batch = torch.zeros(self.shard.total, *rows.shape[1:], dtype=rows.dtype, device=rows.device)
        batch[self.shard.start : self.shard.stop] = rows
        distributed.all_reduce(batch)
        return batch


@contextmanager
def sharded(network: nn.Module, shard: BatchShard | None) -> Iterator[None]:
    """Tells the layers of a network, for the time of a forward pass, which shard of the batch it is given; None for all."""
    layers = [layer for layer in network.modules() if isinstance(layer, ShardAware)] if shard else []
    for layer in layers:
        layer.shard = shard
    try:
        yield
    finally:
        for layer in layers:
            layer.shard = None


class Dropout(ShardAware, nn.Dropout):
    """Dropout that leaves out the same features however many ranks share the batch."""

    def forward(self, features: Tensor) -> Tensor:
        """Same shape, (n, features)."""
        if self.shard is None or not self.training or self.p == 0:
            return super().forward(features)
        # Drawn as PyTorch itself draws for a whole batch.
        kept = self.drawn(
            len(features),
            lambda images: torch.empty(
                images, *features.shape[1:], dtype=torch.bool, device=features.device
            ).bernoulli_(1 - self.p),
        )
        return features * kept / (1 - self.p)


class BatchNorm2d(ShardAware, nn.BatchNorm2d):
    """Batch normalisation by mean and variance of the whole batch; PyTorch's own synchronised one needs GPUs."""

    def forward(self, maps: Tensor) -> Tensor:
        """Same shape, (n, channels, height, width)."""
        if self.shard is None or not self.training:
            return super().forward(maps)
        moments = _SynchronisedNorm.apply(maps, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        normalised, mean, variance, count = moments
        with torch.no_grad():
            momentum = float(self.momentum or 0.0)
            self.running_mean.lerp_(mean, momentum)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * (count / (count - 1)), momentum)  # type: ignore[union-attr]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        result: Tensor = normalised
        return result


class _SynchronisedNorm(torch.autograd.Function):
    """Batch normalisation over the images of all ranks.

    Source: Ioffe and Szegedy, ICML 2015, arXiv 1502.03167; variances of parts combined as by Chan, Golub and LeVeque 1983.
    """

    @staticmethod
    def forward(ctx, maps, weight, bias, epsilon):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN205
        wide = maps.float()
        own_variance, own_mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
        count = torch.full_like(own_mean[:1], float(maps.numel() // maps.shape[1]))
        moments = torch.cat([own_mean, own_variance, count])
        every_rank = [torch.empty_like(moments) for _ in range(distributed.get_world_size())]
        distributed.all_gather(every_rank, moments)
        parts = torch.stack(every_rank)
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
