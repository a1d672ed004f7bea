"""Training, read from top to bottom: inputs, optimiser, steps, validation, checkpoint, early stopping."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pneumoscope.config import RunConfig, TrainingConfig
from pneumoscope.data.labelled import LabelledImages
from pneumoscope.errors import ConfigError, RunError
from pneumoscope.models.batch_shard import sharded
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.training import distributed
from pneumoscope.training.averaging import WeightAverage
from pneumoscope.training.batches import AugmentedInputs, ImageInputs, Inputs, Step, plain_batches, training_steps
from pneumoscope.training.callbacks import EpochResult, Observer
from pneumoscope.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from pneumoscope.training.frozen_features import ComputedFeatures, FrozenBase, frozen_features
from pneumoscope.training.optimiser import ScheduledOptimiser, make_optimiser
from pneumoscope.training.precision import dtype_of, resolve_precision
from pneumoscope.training.run_folder import RunFolder

# Validation has no gradients to keep, so its batches need not be the training's.
_VALIDATION_BATCH = 64
# Keeps the generators of one seed's epochs apart from those of the next seed.
_EPOCHS_PER_SEED = 100_003


def train(
    model: ImageClassifier,
    training: LabelledImages,
    validation: LabelledImages,
    config: RunConfig,
    run: RunFolder,
    features_folder: Path,
    observer: Observer,
) -> TrainingState:
    """Trains a network, from the start or from the run's checkpoint, and leaves its weights in the run folder.

    The weights after a kill and a resume are those of the uninterrupted run, bit for bit, on a CPU with the same number
    of threads: the order and the flips of an epoch follow from the seed and the epoch's number alone. Several processes
    (`training/team.py`) share every batch, and come to the same as one but for rounding; they may be others after a resume.

    Args:
        model: With its initial weights; holds the trained ones at the end.
        training: Images to learn from.
        validation: Images for early stopping.
        config: All settings.
        run: Started already.
        features_folder: For the features of a frozen base.
        observer: Told of progress.

    Returns:
        The state at the end, with the history.

    Raises:
        RunError: The checkpoint is damaged, or the loss is no longer a number.
    """
    settings = config.training
    precision = resolve_precision(settings.precision)
    fabric = distributed.fabric(precision)
    with _inputs(model, training, validation, config, dtype_of(precision), features_folder, observer) as inputs:
        part = model.head if model.base_is_frozen else model
        part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = make_optimiser(part.parameters(), settings, ceil(len(training) / settings.batch_size))
        state = _restored(run, model, optimiser)
        network, wrapped = fabric.setup(part, optimiser)
        average = WeightAverage(model, settings.average, state.average) if settings.average else None
        if average:
            state.average = average.values
        loss = _training_loss(training, settings).to(fabric.device)
        learner = _Learner(fabric, network, optimiser, wrapped, loss, average)
        while not state.stopped:
            began = time.perf_counter()
            learnt = _learn(learner, inputs[0], settings, state, observer)
            trained = time.perf_counter()
            with average.in_place() if average else nullcontext():
                judged = _validate(fabric, network, inputs[1])
                result = EpochResult(
                    len(state.history) + 1,
                    *learnt,
                    *judged,
                    learning_rate=optimiser.param_groups[0]["lr"],
                    seconds=time.perf_counter() - began,
                    films_per_second=len(training) / (trained - began),
                )
                _after_epoch(result, model, settings, state)
            distributed.first(lambda: _save(run, model, optimiser, state))
            observer.epoch_done(result, settings.epochs, state.waited)
        if state.best_weights or state.average:
            model.load_own_state(state.best_weights or state.average)
    distributed.first(lambda: _finish(run, model, state))
    return state


def _save(run: RunFolder, model: ImageClassifier, optimiser: ScheduledOptimiser, state: TrainingState) -> None:
    save_checkpoint(run.checkpoint, model.own_state(), optimiser.state_dict(), state)
    run.write_metrics(state.history)


def _finish(run: RunFolder, model: ImageClassifier, state: TrainingState) -> None:
    run.write_metrics(state.history)
    run.write_tensorboard(state.history)
    run.save_weights(model.own_state())


@contextmanager
def _inputs(
    model: ImageClassifier,
    training: LabelledImages,
    validation: LabelledImages,
    config: RunConfig,
    dtype: torch.dtype,
    folder: Path,
    observer: Observer,
) -> Iterator[tuple[Inputs, Inputs]]:
    """What the trained part takes: images, or features of the frozen base."""
    settings, augmentation = config.training, config.augmentation
    if not model.base_is_frozen:
        images = ImageInputs(training) if augmentation.is_none else AugmentedInputs(training, augmentation)
        yield images, ImageInputs(validation)
        return
    if not augmentation.is_none:
        raise ConfigError(
            "expected no augmentation for a network with a frozen base, whose features are computed once, found some: "
            "set model.freeze_base = false or leave [augmentation] out"
        )
    base = FrozenBase(model, dtype)
    if not settings.cache_features:
        yield ComputedFeatures(base, training), ComputedFeatures(base, validation)
        return
    with ExitStack() as stack:
        yield (
            stack.enter_context(
                frozen_features(base, training, settings.flip, folder, "features of the training films", observer)
            ),
            stack.enter_context(
                frozen_features(base, validation, False, folder, "features of the validation films", observer)
            ),
        )


def _training_loss(training: LabelledImages, settings: TrainingConfig) -> nn.CrossEntropyLoss:
    weight = None
    if settings.balance:
        count = np.bincount(training.labels)
        weight = torch.from_numpy(len(training) / (len(count) * count)).float()
    return nn.CrossEntropyLoss(weight, label_smoothing=settings.label_smoothing)


def _restored(run: RunFolder, model: ImageClassifier, optimiser: ScheduledOptimiser) -> TrainingState:
    if not run.checkpoint.exists():
        return TrainingState()
    weights, optimiser_state, state = load_checkpoint(run.checkpoint)
    model.load_own_state(weights)
    optimiser.load_state_dict(optimiser_state)
    return state


@dataclass(frozen=True)
class _Learner:
    """What changes the weights."""

    fabric: Fabric
    network: _FabricModule
    optimiser: ScheduledOptimiser
    wrapped: torch.optim.Optimizer
    loss: nn.CrossEntropyLoss
    average: WeightAverage | None


def _learn(
    learner: _Learner, training: Inputs, settings: TrainingConfig, state: TrainingState, observer: Observer
) -> tuple[float, float]:
    """One epoch of steps; mean loss and accuracy while the weights moved."""
    epoch = len(state.history)
    observer.stage(f"epoch {epoch + 1}/{settings.epochs}", len(training))
    learner.network.train()
    # What is random inside the network (dropout) follows from seed and epoch too.
    torch.manual_seed(settings.seed * _EPOCHS_PER_SEED + epoch)
    total_loss = right = 0.0
    for step in training_steps(
        training,
        settings.batch_size,
        settings.flip,
        settings.seed,
        epoch,
        settings.accumulate,
        distributed.rank(),
        distributed.size(),
    ):
        learner.wrapped.zero_grad(set_to_none=True)
        step_loss, step_right = _add_gradients(learner, step)
        learner.optimiser.before_step(state.steps)
        learner.wrapped.step()
        state.steps += 1
        if learner.average:
            learner.average.update(state.steps)
        total_loss += step_loss * len(step.labels)
        right += step_right
        observer.advance(len(step.labels), step_loss)
    return total_loss / len(training), right / len(training)


def _add_gradients(learner: _Learner, step: Step) -> tuple[float, float]:
    """The gradient of the step's mean loss, over all its portions and processes; that loss, and the images answered right."""
    whole = _weight(learner.loss, step.labels)
    loss_sum = right = 0.0
    for place, portion in enumerate(step.portions):
        images, label = learner.fabric.to_device((portion.images, portion.label))
        is_last = place + 1 == len(step.portions)
        with learner.fabric.no_backward_sync(learner.network, enabled=not is_last):
            with sharded(learner.network, portion.shard):
                logits = learner.network(images)
            loss = learner.loss(logits.float(), label)
            part = _weight(learner.loss, portion.label.numpy()) / whole
            # The gradients of all processes are averaged, not added up.
            scale = part * (distributed.size() if portion.shard else 1)
            learner.fabric.backward(loss if scale == 1 else loss * scale)
        if portion.is_told:
            loss_sum += loss.item() * part
            right += _right(logits, label)
    loss_sum, right = distributed.summed(loss_sum, right)
    return loss_sum, right


def _weight(loss: nn.CrossEntropyLoss, labels: NDArray[np.int64]) -> float:
    """What the mean over these images is divided by."""
    return float(len(labels) if loss.weight is None else loss.weight.double().cpu().numpy()[labels].sum())


def _right(logits: Tensor, label: Tensor) -> int:
    return int((logits.argmax(dim=1) == label).sum().item())


@torch.no_grad()
def _validate(fabric: Fabric, network: nn.Module, validation: Inputs) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of the validation images."""
    network.eval()
    total_loss = right = 0.0
    for images, label in plain_batches(validation, _VALIDATION_BATCH, distributed.rank(), distributed.size()):
        images, label = fabric.to_device((images, label))
        logits = network(images).float()
        total_loss += functional.cross_entropy(logits, label, reduction="sum").item()
        right += _right(logits, label)
    total_loss, right = distributed.summed(total_loss, right)
    return total_loss / len(validation), right / len(validation)


def _after_epoch(result: EpochResult, model: ImageClassifier, settings: TrainingConfig, state: TrainingState) -> None:
    """Early stopping as in Keras: training ends when the validation loss has not fallen for `patience` epochs."""
    if not (result.loss == result.loss and result.val_loss == result.val_loss):
        raise RunError(f"expected a finite loss, found {result.loss} in epoch {result.epoch}: lower the learning rate")
    state.history.append(result)
    if result.val_loss < state.best_loss:
        state.best_loss, state.waited = result.val_loss, 0
        if settings.restore_best:
            state.best_weights = {name: tensor.clone() for name, tensor in model.own_state().items()}
    else:
        state.waited += 1
    state.stopped = state.waited >= settings.patience or len(state.history) >= settings.epochs
