"""Configuration of a training run: frozen dataclasses, and their checked construction from TOML.

An unknown key, a value of another type or a value out of range is a `ConfigError`; that of an unknown key names the nearest
known one.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Container
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pneumoscope.errors import ConfigError
from pneumoscope.files import sha256_of_lines

Settings = TypeVar("Settings")
_AGES = re.compile(r"(\d{1,3})-(\d{1,3})")


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"expected {name} in {low:g}-{high:g}, found {value:g}: change it")


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of the network.

    Settings from `input_side` on apply to the detector's networks only.

    Attributes:
        architecture: Name that `pneumoscope models` lists.
        classes: Number of classes: 2 (normal / pneumonia) or 3 (normal / bacterial / viral).
        freeze_base: Whether the pre-trained part of a network is not trained.
        input_side: Side in pixels to which the network resizes its input first; 0 for no resizing.
        dropout: Fraction of features dropped before the last layer in training, in [0, 0.95].
        stochastic_depth: Fraction of images for which training skips the last block, in [0, 0.95]; it falls linearly to 0 at
            the first block.
        standardise: Whether the grey levels of each image are standardised to the same mean and standard deviation.
        mirrored: Whether the logits are the mean over the image and its mirror image.
        lung_fields: Whether the network sees the lung fields alone, the part of the chest frame that holds the lungs; with
            `preprocessing.fit` `chest` only.
        style_mixing: Fraction of the batches in which training mixes the statistics of early feature maps between images
            (MixStyle), in [0, 1].
    """

    architecture: str = "cnn"
    classes: int = 3
    freeze_base: bool = True
    input_side: int = 0
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    standardise: bool = False
    mirrored: bool = False
    lung_fields: bool = False
    style_mixing: float = 0.0

    def __post_init__(self) -> None:
        _in_range("model.classes", self.classes, 2, 3)
        _in_range("model.input_side", self.input_side, 0, 4096)
        _in_range("model.dropout", self.dropout, 0, 0.95)
        _in_range("model.stochastic_depth", self.stochastic_depth, 0, 0.95)
        _in_range("model.style_mixing", self.style_mixing, 0, 1)


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of an image to the network's input. The defaults are the study's.

    Attributes:
        height: Height of the result, pixels.
        width: Width of the result, pixels.
        fit: Method of fitting: `squash` stretches width and height independently; `pad` keeps the aspect ratio and adds black
            borders; `crop` keeps the aspect ratio and cuts the longer dimension, centred; `chest` aligns the chest with the
            atlas (`data/alignment.py`).
        resampling: Filter; all widen with the reduction (antialiasing).
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
    """Random augmentation of training images besides the flip. The default is none, as in the study.

    Files of the public training images correlate with the class: normals are stored larger, less compressed and less wide.
    Random stretch, resolution and compression remove that shortcut; see `data/augmentation.py`.

    Attributes:
        rotation_degrees: Largest rotation in either direction, degrees.
        stretch: Largest factor by which width and height are independently stretched or shrunk; 1 for none.
        shift: Largest shift in any direction, as a fraction of the image's side.
        tone: Largest relative change of gamma, contrast and brightness; 0 for none.
        smallest_resolution: Smallest random side in pixels to which images are reduced before they are enlarged again; 0 for
            none.
        jpeg_quality: Lowest random JPEG quality at which images are compressed again, up to 95; 0 for none.
        letters: Fraction of images that get letters and numbers burnt in at the margins, as radiographic markers are.
        noise: Largest standard deviation of added noise, grey levels out of 255.
        margins: Widest black margin on each side, as of a collimator, as a fraction of the image's side.
        surroundings: Fraction of images whose surroundings, all that lies outside a random rectangle around the centre, are
            replaced by those of another image, by one grey level or by noise.
        crop: Smallest fraction of the image's area that a random crop keeps, before it is enlarged again; 1 for no crop.
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
    surroundings: float = 0.0
    crop: float = 1.0

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
        _in_range("augmentation.surroundings", self.surroundings, 0, 1)
        _in_range("augmentation.crop", self.crop, 0.05, 1)

    @property
    def is_none(self) -> bool:
        """Whether there is no augmentation."""
        return self == AugmentationConfig()


@dataclass(frozen=True)
class SplitConfig:
    """Draw of the validation set from the training images: fold `fold` of `folds`, grouped by patient.

    Attributes:
        seed: Seed of the draw.
        folds: Number of folds.
        fold: Number of the fold that becomes the validation set, from 0.
        by: Method: `patient` stratifies the folds by class; `style` also holds out the normals of whole acquisition clusters,
            of which training then has only pneumonias; see `data.split.draw_cluster_validation`.
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
    """Training of the network. The defaults are the study's.

    Attributes:
        epochs: Largest number of epochs.
        batch_size: Number of images per step, over all processes.
        accumulate: Number of parts that a step's images are divided into, for gradient accumulation; layers with batch
            statistics (normalisation, MixStyle) use those of a part.
        optimiser: Optimiser: `keras_adam` as in the study, or `adamw` with a one-cycle learning rate.
        learning_rate: Learning rate of keras_adam at step 0, peak learning rate of adamw.
        decay: Decay of keras_adam: the learning rate at step t is learning_rate / (1 + decay * t).
        weight_decay: Weight decay of adamw: fraction of a weight removed per step, times the learning rate; biases and
            normalisation layers excluded.
        label_smoothing: Fraction of the target distributed equally over the classes.
        balance: Whether the loss weighs the classes to equal total weight.
        odd_repeats: Number of times that an epoch contains each minority normal: a normal of an acquisition cluster in which
            most images are pneumonia.
        average: Decay per step of the running mean of the weights, which is validated and kept; 0 for no mean.
        patience: Number of epochs without a better validation loss after which training stops.
        restore_best: Whether the weights of the best validation loss are restored at the end.
        flip: Whether a random half of the images is mirrored left to right.
        seed: Seed of the weights, the order of the images and the flips.
        precision: Precision: `fp32`, `bf16` (mixed), or `auto` for bf16 where the processor supports it.
        cache_features: Whether a frozen base computes features once per image and flip, not once per epoch.
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
    """Training of a detector and its bundle; see `detector_training/cross_fitting.py`.

    Attributes:
        name: Name of the bundle; empty for a training without a bundle.
        version: Version of the bundle's weights.
        folds: Number of folds by acquisition cluster; their out-of-fold predictions give calibration and operating points.
        members: Number of networks per fold and for the bundle, with different seeds, which predict together.
        ensemble: Configurations whose networks predict together, names of shipped ones or paths from the working directory;
            their own settings are used, and this configuration has none beside those of the detector. The features of the first
            one's network describe images for input guard and adaptation. Empty for networks of this configuration.
        sensitivity: Sensitivity of the operating point `sensitive` in the shortcut stress validation, in [0, 1].
        specificity: Specificity of the operating point `specific` in the shortcut stress validation, in [0, 1].
        refer_share: Fraction of the shortcut stress validation that the band around the balanced threshold refers to a reader.
        index_hash: Hash of the images that the following texts were written for, as their index has it; a bundle of other images
            does not get them, and is named after its own. Empty for whatever images.
        intended_use: Intended use of the bundle; where empty, the images that it was trained on, and nothing else.
        licence: Licence of the bundle; `not stated` where empty.
        citation: Source of the images; the name of their folder or table where empty.
        ages: Ages that the bundle is valid for, completed years such as 1-5; any where empty.
        views: Views that it is valid for, such as AP, PA; any where empty.
    """

    name: str = ""
    version: str = "1"
    folds: int = 3
    members: int = 1
    ensemble: tuple[str, ...] = ()
    sensitivity: float = 0.98
    specificity: float = 0.98
    refer_share: float = 0.05
    index_hash: str = ""
    intended_use: str = ""
    licence: str = ""
    citation: str = ""
    ages: str = ""
    views: str = ""

    def __post_init__(self) -> None:
        if self.ages and (not (found := _AGES.fullmatch(self.ages)) or int(found[1]) > int(found[2])):
            raise ConfigError(f"expected detector.ages in completed years, such as 1-5, found {self.ages!r}: change it")
        if self.ensemble and not self.name:
            raise ConfigError("expected detector.name beside detector.ensemble, found none: name the bundle")
        _in_range("detector.folds", self.folds, 2, 20)
        _in_range("detector.members", self.members, 1, 100)
        _in_range("detector.sensitivity", self.sensitivity, 0, 1)
        _in_range("detector.specificity", self.specificity, 0, 1)
        _in_range("detector.refer_share", self.refer_share, 0, 0.9)

    @property
    def age_range(self) -> tuple[int, int] | None:
        """Youngest and oldest age, completed years; None for any."""
        found = _AGES.fullmatch(self.ages)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def view_names(self) -> tuple[str, ...]:
        """Views in capitals, sorted; empty for any."""
        return tuple(sorted(view.strip().upper() for view in self.views.split(",") if view.strip()))


@dataclass(frozen=True)
class RunConfig:
    """Configuration of one training run.

    Attributes:
        name: Name of the run.
        model: Architecture of the network.
        preprocessing: Preprocessing of the images.
        split: Draw of the validation set.
        augmentation: Augmentation of training images.
        training: Training of the network.
        detector: Training of a detector and its bundle.
    """

    name: str = "run"
    model: ModelConfig = field(default_factory=ModelConfig)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    split: SplitConfig = field(default_factory=SplitConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)

    def __post_init__(self) -> None:
        if self.model.lung_fields and self.preprocessing.fit != "chest":
            raise ConfigError(
                f'expected preprocessing.fit = "chest" beside model.lung_fields, found {self.preprocessing.fit!r}: the lungs lie alike '
                "in the chest frame alone; change one of them"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, nested."""
        return asdict(self)

    @property
    def hash(self) -> str:
        """SHA-256 of the settings, 64 hex digits."""
        return sha256_of_lines([json.dumps(self.to_dict(), sort_keys=True)])

    def with_training(self, **changes: Any) -> "RunConfig":
        """Configuration with some training settings changed."""
        return replace(self, training=replace(self.training, **changes))


def load_config(path: Path) -> RunConfig:
    """Read a TOML file.

    Raises:
        ConfigError: File missing or not TOML, or key or value that is not allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"expected a TOML configuration at {path}, found: {reason}: check the path") from error
    return parse_config(text, str(path))


def parse_config(text: str, origin: str) -> RunConfig:
    """Parse TOML text; `origin` names it in errors.

    Raises:
        ConfigError: Text that is not TOML, or key or value that is not allowed.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"expected TOML in {origin}, found: {error}: correct it") from error
    return config_from_table(table, origin)


def config_from_table(table: dict[str, Any], origin: str) -> RunConfig:
    """Build a configuration from nested tables, as in TOML or a run folder's JSON.

    Raises:
        ConfigError: Key or value that is not allowed.
    """
    return from_table(RunConfig, table, origin)


def from_table(settings_type: type[Settings], table: dict[str, Any], origin: str) -> Settings:
    """Build a configuration dataclass from nested tables; `origin` names them in errors.

    Raises:
        ConfigError: Key or value that is not allowed.
    """
    hints = get_type_hints(settings_type)
    no_tables = [key for key, kind in hints.items() if not any(_is_table(each) for each in (kind, *get_args(kind)))]
    settings: Settings = _build(settings_type, table, origin, "", no_tables)
    return settings


def _build(settings_type: type, table: Any, origin: str, prefix: str, top: Container[str]) -> Any:
    """Build a dataclass from a table; `top` has the keys of the outermost one that are no tables."""
    if not isinstance(table, dict):
        raise ConfigError(f"expected a table [{prefix.rstrip('.')}] in {origin}, found {table!r}: correct it")
    types = get_type_hints(settings_type)
    known = [entry.name for entry in fields(settings_type)]
    values = {}
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known keys are {', '.join(known)}"
            if key in top:
                hint = f"{key} belongs to no table: write it above the first [table]"
            raise ConfigError(f"expected known keys in {origin}, found {prefix}{key}: {hint}")
        table = next((each for each in (types[key], *get_args(types[key])) if _is_table(each)), None)
        if table and get_origin(types[key]) is not tuple:
            values[key] = _build(table, value, origin, f"{prefix}{key}.", top)
        else:
            values[key] = _checked(value, types[key], f"{prefix}{key}", origin, top)
    return settings_type(**values)


def _is_table(expected: Any) -> bool:
    return isinstance(expected, type) and is_dataclass(expected)


def _checked(value: Any, expected: Any, key: str, origin: str, top: Container[str]) -> Any:
    is_enum = isinstance(expected, type) and issubclass(expected, StrEnum)
    if is_enum or get_origin(expected) is Literal:
        allowed = [str(each) for each in (expected if is_enum else get_args(expected))]
        if value not in allowed:
            raise ConfigError(f"expected {key} out of {', '.join(allowed)} in {origin}, found {value!r}: change it")
        return expected(value) if is_enum else value
    if get_origin(expected) is tuple and _is_table(entry := get_args(expected)[0]):
        if not isinstance(value, list):
            raise ConfigError(
                f"expected {key} to be a list of tables [[{key}]] in {origin}, found {value!r}: correct it"
            )
        return tuple(_build(entry, each, origin, f"{key}.", top) for each in value)
    if expected == tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
            raise ConfigError(f"expected {key} to be a list of names in {origin}, found {value!r}: change it")
        return tuple(value)
    if expected == tuple[float, ...]:
        if not isinstance(value, list | tuple) or not all(type(each) in (int, float) for each in value):
            raise ConfigError(f"expected {key} to be a list of numbers in {origin}, found {value!r}: change it")
        return tuple(map(float, value))
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not expected:
        raise ConfigError(f"expected {key} to be {expected.__name__} in {origin}, found {value!r}: change it")
    return value
