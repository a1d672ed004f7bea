"""Training, read from top to bottom: inputs, optimiser, steps, validation, checkpoint, early stopping."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from pneumoscope.config import RunConfig, TrainingConfig
from pneumoscope.errors import RunError
from pneumoscope.models.classifier import FilmClassifier
from pneumoscope.training.batches import FilmInputs, Inputs, LabelledFilms, plain_batches, training_batches
from pneumoscope.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from pneumoscope.training.frozen_features import ComputedFeatures, FrozenBase, frozen_features
from pneumoscope.training.observer import EpochResult, Observer
from pneumoscope.training.optimiser import KerasAdam
from pneumoscope.training.precision import dtype_of, fabric_name, resolve_precision
from pneumoscope.training.run import RunFolder

# Fabric announces its precision at every start; the run folder holds it.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
logging.getLogger("lightning.fabric").setLevel(logging.WARNING)

# Validation has no gradients to keep, so its batches need not be the training's.
_VALIDATION_BATCH = 64


def train(
    model: FilmClassifier,
    training: LabelledFilms,
    validation: LabelledFilms,
    config: RunConfig,
    run: RunFolder,
    features_folder: Path,
    observer: Observer,
) -> TrainingState:
    """Trains a network, from the start or from the run's checkpoint, and leaves its weights in the run folder.

    The weights after a kill and a resume are those of the uninterrupted run, bit for bit, on a CPU with the same number
    of threads: the order and the flips of an epoch follow from the seed and the epoch's number alone.

    Args:
        model: With its initial weights; holds the trained ones at the end.
        training: Films to learn from.
        validation: Films for early stopping.
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
    fabric = Fabric(accelerator="auto", devices=1, precision=fabric_name(precision))
    with _inputs(model, training, validation, settings, dtype_of(precision), features_folder, observer) as inputs:
        part = model.head if model.base_is_frozen else model
        part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = KerasAdam([p for p in part.parameters() if p.requires_grad], settings.learning_rate, settings.decay)
        state = _restored(run, model, optimiser)
        network, wrapped = fabric.setup(part, optimiser)
        while not state.stopped:
            result = _epoch(fabric, network, wrapped, optimiser, *inputs, settings, state, observer)
            _after_epoch(result, model, settings, state)
            save_checkpoint(run.checkpoint, model.own_state(), optimiser.state_dict(), state)
            run.write_metrics(state.history)
            observer.epoch_done(result, settings.epochs, state.waited)
        if state.best_weights:
            model.load_own_state(state.best_weights)
    run.write_metrics(state.history)
    run.write_tensorboard(state.history)
    run.save_weights(model.own_state())
    return state


@contextmanager
def _inputs(
    model: FilmClassifier,
    training: LabelledFilms,
    validation: LabelledFilms,
    settings: TrainingConfig,
    dtype: torch.dtype,
    folder: Path,
    observer: Observer,
) -> Iterator[tuple[Inputs, Inputs]]:
    """What the trained part takes: films, or features of the frozen base."""
    if not model.base_is_frozen:
        yield FilmInputs(training), FilmInputs(validation)
        return
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


def _restored(run: RunFolder, model: FilmClassifier, optimiser: KerasAdam) -> TrainingState:
    if not run.checkpoint.exists():
        return TrainingState()
    weights, optimiser_state, state = load_checkpoint(run.checkpoint)
    model.load_own_state(weights)
    optimiser.load_state_dict(optimiser_state)
    return state


def _epoch(
    fabric: Fabric,
    network: nn.Module,
    wrapped: torch.optim.Optimizer,
    optimiser: KerasAdam,
    training: Inputs,
    validation: Inputs,
    settings: TrainingConfig,
    state: TrainingState,
    observer: Observer,
) -> EpochResult:
    epoch = len(state.history)
    began = time.perf_counter()
    observer.stage(f"epoch {epoch + 1}/{settings.epochs}", len(training))
    network.train()
    total_loss = right = 0.0
    for films, label in training_batches(training, settings.batch_size, settings.flip, settings.seed, epoch):
        films, label = fabric.to_device((films, label))
        logits = network(films)
        loss = functional.cross_entropy(logits.float(), label)
        wrapped.zero_grad(set_to_none=True)
        fabric.backward(loss)
        optimiser.before_step(state.steps)
        wrapped.step()
        state.steps += 1
        batch_loss = loss.item()
        total_loss += batch_loss * len(label)
        right += _right(logits, label)
        observer.advance(len(label), batch_loss)
    trained = time.perf_counter()
    val_loss, val_accuracy = _validate(fabric, network, validation)
    return EpochResult(
        epoch=epoch + 1,
        loss=total_loss / len(training),
        accuracy=right / len(training),
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        learning_rate=optimiser.param_groups[0]["lr"],
        seconds=time.perf_counter() - began,
        films_per_second=len(training) / (trained - began),
    )


def _right(logits: Tensor, label: Tensor) -> int:
    return int((logits.argmax(dim=1) == label).sum().item())


@torch.no_grad()
def _validate(fabric: Fabric, network: nn.Module, validation: Inputs) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of the validation films."""
    network.eval()
    total_loss = right = 0.0
    for films, label in plain_batches(validation, _VALIDATION_BATCH):
        films, label = fabric.to_device((films, label))
        logits = network(films).float()
        total_loss += functional.cross_entropy(logits, label, reduction="sum").item()
        right += _right(logits, label)
    return total_loss / len(validation), right / len(validation)


def _after_epoch(result: EpochResult, model: FilmClassifier, settings: TrainingConfig, state: TrainingState) -> None:
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
