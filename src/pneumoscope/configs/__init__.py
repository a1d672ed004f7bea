"""Configurations that ship with the package: of the study, of the detectors, of several hospitals and of the ablation.

study/       networks on the slides, by their names
detectors/   shipped detectors, `default`, `nano` and `best`
multi_site/  a network for leave-one-hospital-out, `many_hospitals`
ablation/    configurations compared in the ablation, as `ablation/NAME`
"""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from pneumoscope.config import RunConfig, load_config, parse_config
from pneumoscope.errors import ConfigError, did_you_mean

_ENDING = ".toml"


def config_names() -> list[str]:
    """Names of all configurations, sorted."""
    return sorted(_files())


def shipped_config(name: str) -> RunConfig:
    """Shipped configuration by its name.

    Raises:
        ConfigError: Unknown name.
    """
    known = _files()
    if name not in known:
        names = ", ".join(each for each in sorted(known) if "/" not in each)
        raise ConfigError(
            f"expected a TOML file, or one of {names}, found {name!r}{did_you_mean(name, known)}: check the path or the name"
        )
    return parse_config(known[name].read_text(encoding="utf-8"), f"{name}{_ENDING}")


def find_config(name: Path | str) -> RunConfig:
    """Configuration by the path of a TOML file or the name of a shipped one; a file of that name comes first.

    Raises:
        ConfigError: No such file or name, or key or value that is not allowed.
    """
    path = Path(name)
    is_name = not path.is_file() and (str(name) in config_names() or not path.suffix)
    return shipped_config(str(name)) if is_name else load_config(path)


def _files() -> dict[str, Traversable]:
    root = files("pneumoscope.configs")
    return {
        f"{prefix}{file.name.removesuffix(_ENDING)}": file
        for folder, prefix in (("study", ""), ("detectors", ""), ("multi_site", ""), ("ablation", "ablation/"))
        for file in root.joinpath(folder).iterdir()
        if file.name.endswith(_ENDING)
    }
