"""TOML becomes a frozen configuration; an unknown key is an error that names the nearest known one."""

import difflib
import json
import tomllib
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pneumoscope.errors import ConfigError
from pneumoscope.files import sha256_of_lines


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"expected {name} in {low:g}-{high:g}, found {value:g}: change it")


@dataclass(frozen=True)
class ModelConfig:
    """Which network.

    Attributes:
        architecture: A name that `pneumoscope models` lists.
        classes: 2 (normal / pneumonia) or 3 (normal / bacterial / viral).
        freeze_base: Whether a network's pre-trained part stays as it is.
    """

    architecture: str = "cnn"
    classes: int = 3
    freeze_base: bool = True

    def __post_init__(self) -> None:
        _in_range("model.classes", self.classes, 2, 3)


@dataclass(frozen=True)
class Preprocessing:
    """How a film is brought to the network's size. The defaults are the study's.

    Attributes:
        height: Of the result, pixels.
        width: Of the result, pixels.
        fit: `squash` stretches both sides to the result's; `pad` keeps the aspect and adds black borders;
            `crop` keeps the aspect and cuts what juts out, centred.
        resampling: Filter; all of them widen with the reduction (antialiasing).
    """

    height: int = 224
    width: int = 224
    fit: Literal["squash", "pad", "crop"] = "squash"
    resampling: Literal["bilinear", "bicubic", "lanczos"] = "bilinear"

    def __post_init__(self) -> None:
        _in_range("preprocessing.height", self.height, 8, 4096)
        _in_range("preprocessing.width", self.width, 8, 4096)


@dataclass(frozen=True)
class SplitConfig:
    """How the validation set is drawn: fold `fold` of `folds`, grouped by patient, stratified by class."""

    seed: int = 0
    folds: int = 10
    fold: int = 0

    def __post_init__(self) -> None:
        _in_range("split.folds", self.folds, 2, 100)
        _in_range("split.fold", self.fold, 0, self.folds - 1)


@dataclass(frozen=True)
class TrainingConfig:
    """How the network learns. The defaults are the study's.

    Attributes:
        epochs: At most this many.
        batch_size: Films per step.
        learning_rate: Of Adam at step 0.
        decay: Keras' `decay`: the rate at step t is learning_rate / (1 + decay * t).
        patience: Epochs without a better validation loss before training stops.
        restore_best: Go back to the weights of the best validation loss at the end.
        flip: Mirror a random half of the films left to right.
        seed: Of the weights, the order of the films and the flips.
        precision: `fp32`, `bf16` (mixed), or `auto`: bf16 where the processor computes with it.
        cache_features: Run a frozen base once per film and flip rather than once per epoch.
    """

    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-4
    decay: float = 1e-5
    patience: int = 3
    restore_best: bool = False
    flip: bool = True
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    cache_features: bool = True

    def __post_init__(self) -> None:
        _in_range("training.epochs", self.epochs, 1, 100_000)
        _in_range("training.batch_size", self.batch_size, 1, 100_000)
        _in_range("training.learning_rate", self.learning_rate, 1e-12, 100)
        _in_range("training.decay", self.decay, 0, 100)
        _in_range("training.patience", self.patience, 1, 100_000)
        _in_range("training.seed", self.seed, 0, 2**32 - 1)


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what one training run gives."""

    name: str = "run"
    model: ModelConfig = field(default_factory=ModelConfig)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    split: SplitConfig = field(default_factory=SplitConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def as_json(self) -> dict[str, Any]:
        """Nested plain data."""
        return asdict(self)

    @property
    def hash(self) -> str:
        """SHA-256 of the settings, 64 hex digits."""
        return sha256_of_lines([json.dumps(self.as_json(), sort_keys=True)])

    def with_training(self, **changes: Any) -> "RunConfig":
        """The same with some training settings changed."""
        return replace(self, training=replace(self.training, **changes))


def load_config(path: Path) -> RunConfig:
    """Reads a TOML file.

    Raises:
        ConfigError: Missing, not TOML, or a key or value that is not allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"expected a TOML configuration at {path}, found: {reason}: check the path") from error
    return parse_config(text, str(path))


def parse_config(text: str, origin: str) -> RunConfig:
    """Reads TOML text; `origin` names it in errors.

    Raises:
        ConfigError: Not TOML, or a key or value that is not allowed.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"expected TOML in {origin}, found: {error}: correct it") from error
    return config_from_table(table, origin)


def config_from_table(table: dict[str, Any], origin: str) -> RunConfig:
    """A configuration out of nested tables, as in TOML or a run folder's JSON.

    Raises:
        ConfigError: A key or value that is not allowed.
    """
    config: RunConfig = _build(RunConfig, table, origin, "")
    return config


def _build(kind: type, table: Any, origin: str, prefix: str) -> Any:
    if not isinstance(table, dict):
        raise ConfigError(f"expected a table [{prefix.rstrip('.')}] in {origin}, found {table!r}: correct it")
    types = get_type_hints(kind)
    known = [entry.name for entry in fields(kind)]
    values = {}
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known keys are {', '.join(known)}"
            raise ConfigError(f"expected known keys in {origin}, found {prefix}{key}: {hint}")
        if is_dataclass(types[key]):
            values[key] = _build(types[key], value, origin, f"{prefix}{key}.")
        else:
            values[key] = _checked(value, types[key], f"{prefix}{key}", origin)
    return kind(**values)


def _checked(value: Any, kind: Any, key: str, origin: str) -> Any:
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            allowed = ", ".join(map(str, get_args(kind)))
            raise ConfigError(f"expected {key} out of {allowed} in {origin}, found {value!r}: change it")
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"expected {key} to be {kind.__name__} in {origin}, found {value!r}: change it")
    return value
