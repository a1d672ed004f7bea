"""Training loop: inputs, optimiser, steps, validation, checkpoint, early stopping.

An epoch is training steps (mean cross-entropy, gradients summed over micro-batches and averaged over ranks), then validation
with the running mean of the weights where one is kept, then a checkpoint. Training stops after `patience` epochs without a
lower validation loss.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
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
from pneumoscope.training.batches import AugmentedInputs, ImageInputs, Inputs, Step, sequential_batches, training_steps
from pneumoscope.training.callbacks import EpochResult, Observer
from pneumoscope.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from pneumoscope.training.frozen_features import ComputedFeatures, FrozenBase, frozen_features
from pneumoscope.training.optimiser import ScheduledOptimiser, make_optimiser
from pneumoscope.training.precision import dtype_of, resolve_precision
from pneumoscope.training.run_folder import RunFolder

# Validation keeps no gradients, so its batches may differ from those of the training.
_VALIDATION_BATCH = 64
# Keeps the random generators of one seed's epochs apart from those of the next seed.
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
    """Train a network, from the start or from the run's checkpoint, and write its weights into the run folder.

    The weights after a kill and a resume are those of the uninterrupted run, bit for bit, on a CPU with the same number
    of threads: the order and the flips of an epoch follow from the seed and the epoch's number alone. Several ranks
    (`training/distributed.py`) give the weights of one process but for rounding; their number may change at a resume.

    Args:
        model: Network with its initial weights; holds the trained weights at the end.
        training: Images to train on.
        validation: Images for early stopping.
        config: Configuration of the run.
        run: Run folder with its configuration written already.
        features_folder: Folder for the features of a frozen base.
        observer: Receiver of the progress.

    Returns:
        State at the end, with the result of each epoch.

    Raises:
        RunError: The checkpoint is damaged, or the loss is not finite.
    """
    settings = config.training
    precision = resolve_precision(settings.precision)
    fabric = distributed.fabric(precision)
    with _inputs(model, training, validation, config, dtype_of(precision), features_folder, observer) as inputs:
        trainer, state = _set_up(fabric, model, training, settings, run)
        while not state.stopped:
            result = _run_epoch(trainer, inputs, model, settings, state, observer)
            distributed.on_first_rank(lambda: _save(run, model, trainer.optimiser, state))
            observer.epoch_done(result, settings.epochs, state.waited)
        if state.best_weights or state.average:
            model.load_own_state(state.best_weights or state.average)
    distributed.on_first_rank(lambda: _finish(run, model, state))
    return state


@dataclass(frozen=True)
class _Trainer:
    """Everything that an update of the weights needs.

    Attributes:
        fabric: Device, precision and communication.
        network: Trained part of the model, wrapped by Fabric.
        optimiser: Optimiser with its learning-rate schedule.
        wrapped_optimiser: Optimiser as wrapped by Fabric, which steps.
        loss: Mean cross-entropy with class weights and label smoothing.
        average: Running mean of the weights; None without weight averaging.
    """

    fabric: Fabric
    network: nn.Module
    optimiser: ScheduledOptimiser
    wrapped_optimiser: torch.optim.Optimizer
    loss: nn.CrossEntropyLoss
    average: WeightAverage | None


def _set_up(
    fabric: Fabric, model: ImageClassifier, training: LabelledImages, settings: TrainingConfig, run: RunFolder
) -> tuple[_Trainer, TrainingState]:
    """Trainer and state, from the start or from the run's checkpoint."""
    trained_part = model.head if model.base_is_frozen else model
    trained_part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = make_optimiser(trained_part.parameters(), settings, ceil(len(training) / settings.batch_size))
    state = _restored_state(run, model, optimiser)
    network, wrapped_optimiser = fabric.setup(trained_part, optimiser)
    average = WeightAverage(model, settings.average, state.average) if settings.average else None
    if average:
        state.average = average.values
    loss = _training_loss(training, settings).to(fabric.device)
    return _Trainer(fabric, network, optimiser, wrapped_optimiser, loss, average), state


def _restored_state(run: RunFolder, model: ImageClassifier, optimiser: ScheduledOptimiser) -> TrainingState:
    if not run.checkpoint.exists():
        return TrainingState()
    weights, optimiser_state, state = load_checkpoint(run.checkpoint)
    model.load_own_state(weights)
    optimiser.load_state_dict(optimiser_state)
    return state


def _training_loss(training: LabelledImages, settings: TrainingConfig) -> nn.CrossEntropyLoss:
    """Cross-entropy; balanced, class c of n_c out of n images has the weight n / (classes * n_c)."""
    weight = None
    if settings.balance:
        count = np.bincount(training.labels)
        weight = torch.from_numpy(len(training) / (len(count) * count)).float()
    return nn.CrossEntropyLoss(weight, label_smoothing=settings.label_smoothing)


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
    """Inputs of the trained part, for training and validation: images, or features of the frozen base."""
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


def _run_epoch(
    trainer: _Trainer,
    inputs: tuple[Inputs, Inputs],
    model: ImageClassifier,
    settings: TrainingConfig,
    state: TrainingState,
    observer: Observer,
) -> EpochResult:
    """Train and validate for one epoch, with the mean of the weights validated where one is kept."""
    training, validation = inputs
    began = time.perf_counter()
    loss, accuracy = _train_epoch(trainer, training, settings, state, observer)
    trained = time.perf_counter()
    with trainer.average.in_place() if trainer.average else nullcontext():
        val_loss, val_accuracy = _validate(trainer.fabric, trainer.network, validation)
        result = EpochResult(
            len(state.history) + 1,
            loss,
            accuracy,
            val_loss,
            val_accuracy,
            learning_rate=trainer.optimiser.param_groups[0]["lr"],
            seconds=time.perf_counter() - began,
            films_per_second=len(training) / (trained - began),
        )
        _after_epoch(result, model, settings, state)
    return result


def _train_epoch(
    trainer: _Trainer, training: Inputs, settings: TrainingConfig, state: TrainingState, observer: Observer
) -> tuple[float, float]:
    """Take the steps of one epoch; mean loss and accuracy while the weights change."""
    epoch = len(state.history)
    observer.stage(f"epoch {epoch + 1}/{settings.epochs}", len(training))
    trainer.network.train()
    # Random numbers inside the network (dropout) follow from seed and epoch too.
    torch.manual_seed(settings.seed * _EPOCHS_PER_SEED + epoch)
    total_loss = correct = 0.0
    for step in training_steps(
        training,
        settings.batch_size,
        settings.flip,
        settings.seed,
        epoch,
        settings.accumulate,
        distributed.rank(),
        distributed.world_size(),
    ):
        trainer.wrapped_optimiser.zero_grad(set_to_none=True)
        step_loss, step_correct = _accumulate_gradients(trainer, step)
        trainer.optimiser.before_step(state.steps)
        trainer.wrapped_optimiser.step()
        state.steps += 1
        if trainer.average:
            trainer.average.update(state.steps)
        total_loss += step_loss * len(step.labels)
        correct += step_correct
        observer.advance(len(step.labels), step_loss)
    return total_loss / len(training), correct / len(training)


def _accumulate_gradients(trainer: _Trainer, step: Step) -> tuple[float, float]:
    """Compute the gradient of the step's mean loss over all micro-batches and ranks.

    Returns:
        Mean loss, and number of images classified correctly.
    """
    total_weight = _total_weight(trainer.loss, step.labels)
    loss_sum = correct = 0.0
    for index, micro_batch in enumerate(step.micro_batches):
        images, label = trainer.fabric.to_device((micro_batch.images, micro_batch.label))
        is_last = index + 1 == len(step.micro_batches)
        # Fabric takes the module that its `setup` returned; the class of that module is private.
        with trainer.fabric.no_backward_sync(trainer.network, enabled=not is_last):  # type: ignore[arg-type]
            with sharded(trainer.network, micro_batch.shard):
                logits = trainer.network(images)
            loss = trainer.loss(logits.float(), label)
            fraction = _total_weight(trainer.loss, micro_batch.label.numpy()) / total_weight
            # The gradients of the ranks are averaged, not summed.
            scale = fraction * (distributed.world_size() if micro_batch.shard else 1)
            trainer.fabric.backward(loss if scale == 1 else loss * scale)
        if micro_batch.counts_loss:
            loss_sum += loss.item() * fraction
            correct += _count_correct(logits, label)
    loss_sum, correct = distributed.all_sum(loss_sum, correct)
    return loss_sum, correct


def _total_weight(loss: nn.CrossEntropyLoss, labels: NDArray[np.int64]) -> float:
    """Sum of the class weights of images, by which the mean loss divides; their number without class weights."""
    return float(len(labels) if loss.weight is None else loss.weight.double().cpu().numpy()[labels].sum())


def _count_correct(logits: Tensor, label: Tensor) -> int:
    return int((logits.argmax(dim=1) == label).sum().item())


@torch.no_grad()
def _validate(fabric: Fabric, network: nn.Module, validation: Inputs) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of the validation images."""
    network.eval()
    total_loss = correct = 0.0
    for images, label in sequential_batches(
        validation, _VALIDATION_BATCH, distributed.rank(), distributed.world_size()
    ):
        images, label = fabric.to_device((images, label))
        logits = network(images).float()
        total_loss += functional.cross_entropy(logits, label, reduction="sum").item()
        correct += _count_correct(logits, label)
    total_loss, correct = distributed.all_sum(total_loss, correct)
    return total_loss / len(validation), correct / len(validation)


def _after_epoch(result: EpochResult, model: ImageClassifier, settings: TrainingConfig, state: TrainingState) -> None:
    """Record an epoch and stop early as Keras does: after `patience` epochs without a lower validation loss."""
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
