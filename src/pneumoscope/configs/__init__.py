"""Configurations that ship with the package: the study's, the detectors' and those of the ablation.

study/       the slides' networks, by their names
detectors/   the recipes of the shipped detectors, `default` and `nano`
ablation/    the recipes that were compared on the way to them, as `ablation/NAME`
"""

from importlib.resources import files
from importlib.resources.abc import Traversable

from pneumoscope.config import RunConfig, parse_config
from pneumoscope.errors import ConfigError

_ENDING = ".toml"


def config_names() -> list[str]:
    """Names of all configurations, sorted."""
    return sorted(_files())


def shipped_config(name: str) -> RunConfig:
    """Configuration of a name.

    Raises:
        ConfigError: There is none.
    """
    known = _files()
    if name not in known:
        names = ", ".join(each for each in sorted(known) if "/" not in each)
        raise ConfigError(f"expected a TOML file, or one of {names}, found {name!r}: check the path or the name")
    return parse_config(known[name].read_text(encoding="utf-8"), f"{name}{_ENDING}")


def _files() -> dict[str, Traversable]:
    home = files("pneumoscope.configs")
    return {
        f"{prefix}{file.name.removesuffix(_ENDING)}": file
        for folder, prefix in (("study", ""), ("detectors", ""), ("ablation", "ablation/"))
        for file in home.joinpath(folder).iterdir()
        if file.name.endswith(_ENDING)
    }
