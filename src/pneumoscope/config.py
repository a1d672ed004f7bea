"""TOML becomes a frozen configuration; an unknown key is an error that names the nearest known one."""

import difflib
import json
import tomllib
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pneumoscope.errors import ConfigError
from pneumoscope.files import sha256_of_lines

Settings = TypeVar("Settings")


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
        input_side: Pixels to which the network itself brings the images first; 0 for the images' own size. The detector's
            networks only.
        dropout: Share of features left out before the last layer in training; the detector's networks only.
        stochastic_depth: Share of images for which training leaves out the last block, falling to 0 at the first; the
            detector's networks only.
        standardise: Whether each image gets the same mean and deviation of its grey levels first; the detector's networks only.
        mirrored: Whether the answer is the mean of those for the image and its mirror image; the detector's networks only.
        style_mixing: Share of the batches in which training mixes the styles of images in the early maps (MixStyle); the
            detector's networks only.
    """

    architecture: str = "cnn"
    classes: int = 3
    freeze_base: bool = True
    input_side: int = 0
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    standardise: bool = False
    mirrored: bool = False
    style_mixing: float = 0.0

    def __post_init__(self) -> None:
        _in_range("model.classes", self.classes, 2, 3)
        _in_range("model.input_side", self.input_side, 0, 4096)
        _in_range("model.dropout", self.dropout, 0, 0.95)
        _in_range("model.stochastic_depth", self.stochastic_depth, 0, 0.95)
        _in_range("model.style_mixing", self.style_mixing, 0, 1)


@dataclass(frozen=True)
class Preprocessing:
    """How an image is brought to the network's size. The defaults are the study's.

    Attributes:
        height: Of the result, pixels.
        width: Of the result, pixels.
        fit: `squash` stretches both sides to the result's; `pad` keeps the aspect and adds black borders;
            `crop` keeps the aspect and cuts what juts out, centred; `chest` stretches and shifts the image until the chest
            lies as in the atlas (`data/alignment.py`).
        resampling: Filter; all of them widen with the reduction (antialiasing).
    """

    height: int = 224
    width: int = 224
    fit: Literal["squash", "pad", "crop", "chest"] = "squash"
    resampling: Literal["bilinear", "bicubic", "lanczos"] = "bilinear"

    def __post_init__(self) -> None:
        _in_range("preprocessing.height", self.height, 8, 4096)
        _in_range("preprocessing.width", self.width, 8, 4096)


@dataclass(frozen=True)
class AugmentationConfig:
    """How training images are changed at random, besides the flip. By default not at all, as in the study.

    The file gives the class away in the public training images: their normals are stored larger, less compressed and less
    wide. Stretch, resolution and compression at random take that away; see `data/augmentation.py`.

    Attributes:
        rotation_degrees: At most, to either side.
        stretch: Largest factor by which width and height are stretched, each on its own, or shrunk; 1 for not at all.
        shift: At most, to any side, as a share of the image's side.
        tone: Largest change of gamma, contrast and brightness, as a share; 0 for none.
        smallest_resolution: Images are reduced to a random side from this on and enlarged again; 0 for never.
        jpeg_quality: Lowest quality at which images are compressed anew, up to 95; 0 for never.
        letters: Share of images that get letters and numbers burnt in at the margins, as image rooms do.
        noise: Largest standard deviation of added noise, grey levels of 255.
        margins: Widest black margin on each side, as a share of the image's side, as collimators leave it.
    """

    rotation_degrees: float = 0.0
    stretch: float = 1.0
    shift: float = 0.0
    tone: float = 0.0
    smallest_resolution: int = 0
    jpeg_quality: int = 0
    letters: float = 0.0
    noise: float = 0.0
    margins: float = 0.0

    def __post_init__(self) -> None:
        _in_range("augmentation.rotation_degrees", self.rotation_degrees, 0, 180)
        _in_range("augmentation.stretch", self.stretch, 1, 4)
        _in_range("augmentation.shift", self.shift, 0, 0.5)
        _in_range("augmentation.tone", self.tone, 0, 0.9)
        _in_range("augmentation.smallest_resolution", self.smallest_resolution, 0, 4096)
        _in_range("augmentation.jpeg_quality", self.jpeg_quality, 0, 95)
        _in_range("augmentation.letters", self.letters, 0, 1)
        _in_range("augmentation.noise", self.noise, 0, 255)
        _in_range("augmentation.margins", self.margins, 0, 0.4)

    @property
    def is_none(self) -> bool:
        """Whether images stay as they are."""
        return self == AugmentationConfig()


@dataclass(frozen=True)
class SplitConfig:
    """How the validation set is drawn: fold `fold` of `folds`, grouped by patient.

    Attributes:
        seed: Of the draw.
        folds: Parts of the training images.
        fold: The part that becomes the validation set.
        by: `patient` spreads the classes evenly over the folds. `style` also holds out whole image styles of normals that
            training then knows as pneumonia alone; see `data.split.draw_cluster_validation`.
    """

    seed: int = 0
    folds: int = 10
    fold: int = 0
    by: Literal["patient", "style"] = "patient"

    def __post_init__(self) -> None:
        _in_range("split.folds", self.folds, 2, 100)
        _in_range("split.fold", self.fold, 0, self.folds - 1)


@dataclass(frozen=True)
class TrainingConfig:
    """How the network learns. The defaults are the study's.

    Attributes:
        epochs: At most this many.
        batch_size: Images per step, of all processes together.
        accumulate: Parts that a step's images are cut into, whose gradients are added up: the memory of a part. Layers that
            look at a batch (normalisation, MixStyle) see a part.
        optimiser: `keras_adam`, the study's, or `adamw` with a rate that rises and falls once over all epochs.
        learning_rate: Of keras_adam at step 0; of adamw at its height.
        decay: Of keras_adam: the rate at step t is learning_rate / (1 + decay * t).
        weight_decay: Of adamw: share of a weight taken off per step, times the rate; not of biases and normalisations.
        label_smoothing: Share of the target spread evenly over the classes.
        balance: Weigh the classes so that each counts alike.
        odd_repeats: How often an epoch shows each normal of an image style in which normals are in the minority.
        average: Validate and keep a running mean of the weights with this decay per step; 0 for the weights themselves.
        patience: Epochs without a better validation loss before training stops.
        restore_best: Go back to the weights of the best validation loss at the end.
        flip: Mirror a random half of the images left to right.
        seed: Of the weights, the order of the images and the flips.
        precision: `fp32`, `bf16` (mixed), or `auto`: bf16 where the processor computes with it.
        cache_features: Run a frozen base once per image and flip rather than once per epoch.
    """

    epochs: int = 30
    batch_size: int = 32
    accumulate: int = 1
    optimiser: Literal["keras_adam", "adamw"] = "keras_adam"
    learning_rate: float = 1e-4
    decay: float = 1e-5
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    balance: bool = False
    odd_repeats: int = 1
    average: float = 0.0
    patience: int = 3
    restore_best: bool = False
    flip: bool = True
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    cache_features: bool = True

    def __post_init__(self) -> None:
        _in_range("training.epochs", self.epochs, 1, 100_000)
        _in_range("training.batch_size", self.batch_size, 1, 100_000)
        _in_range("training.accumulate", self.accumulate, 1, self.batch_size)
        _in_range("training.learning_rate", self.learning_rate, 1e-12, 100)
        _in_range("training.decay", self.decay, 0, 100)
        _in_range("training.weight_decay", self.weight_decay, 0, 10)
        _in_range("training.label_smoothing", self.label_smoothing, 0, 0.9)
        _in_range("training.odd_repeats", self.odd_repeats, 1, 1000)
        _in_range("training.average", self.average, 0, 0.99999)
        _in_range("training.patience", self.patience, 1, 100_000)
        _in_range("training.seed", self.seed, 0, 2**32 - 1)


@dataclass(frozen=True)
class DetectorConfig:
    """How a training becomes a bundle; see `study/detector.py`.

    Attributes:
        name: Of the bundle; empty where a training is to give no bundle.
        version: Of the bundle's weights.
        folds: Style folds, whose held-out answers give calibration and operating points.
        members: Networks trained on each fold and for the bundle, from as many seeds; the mean of their weights answers.
        sensitivity: Of the operating point `sensitive`, on the hard validation.
        specificity: Of the operating point `specific`, likewise.
        refer_share: Share of the hard validation that the band around the balanced threshold leaves to a person.
    """

    name: str = ""
    version: str = "1"
    folds: int = 3
    members: int = 1
    sensitivity: float = 0.98
    specificity: float = 0.98
    refer_share: float = 0.05

    def __post_init__(self) -> None:
        _in_range("detector.folds", self.folds, 2, 20)
        _in_range("detector.members", self.members, 1, 100)
        _in_range("detector.sensitivity", self.sensitivity, 0, 1)
        _in_range("detector.specificity", self.specificity, 0, 1)
        _in_range("detector.refer_share", self.refer_share, 0, 0.9)


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what one training run gives."""

    name: str = "run"
    model: ModelConfig = field(default_factory=ModelConfig)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    split: SplitConfig = field(default_factory=SplitConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)

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
    return from_table(RunConfig, table, origin)


def from_table(kind: type[Settings], table: dict[str, Any], origin: str) -> Settings:
    """A frozen configuration of any kind out of nested tables; `origin` names them in errors.

    Raises:
        ConfigError: A key or value that is not allowed.
    """
    settings: Settings = _build(kind, table, origin, "")
    return settings


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
