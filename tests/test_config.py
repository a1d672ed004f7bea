from pathlib import Path

import pytest

from pneumoscope.config import RunConfig, config_from_table, load_config, parse_config
from pneumoscope.configs import config_names, find_config, shipped_config
from pneumoscope.errors import ConfigError
from pneumoscope.study.experiments import EXPERIMENTS

ROOT = Path(__file__).resolve().parents[1]


def test_defaults_are_the_studys():
    config = parse_config("", "test")
    assert config == RunConfig()
    training = config.training
    assert (training.learning_rate, training.decay, training.patience) == (1e-4, 1e-5, 3)
    assert (training.restore_best, training.flip) == (False, True)
    assert (config.preprocessing.height, config.preprocessing.width, config.preprocessing.fit) == (224, 224, "squash")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nepoch = 3", r"found training\.epoch: did you mean training\.epochs\?"),
        ("[trainin]\nepochs = 3", r"found trainin: did you mean training\?"),
        ("xyz = 3", "known keys are name, model, preprocessing, split, augmentation, training, detector"),
        ("[training]\nepochs = 0", r"expected training\.epochs in 1-100000, found 0"),
        ("[training]\nepochs = 2.5", r"expected training\.epochs to be int in .*, found 2\.5"),
        ("[training]\nflip = 1", r"expected training\.flip to be bool"),
        ('[training]\nprecision = "fp16"', r"out of auto, fp32, bf16 in .*, found 'fp16'"),
        ("[training]\nlearning_rate = -1", r"learning_rate in 1e-12-100, found -1"),
        ("[model]\nclasses = 4", r"model\.classes in 2-3, found 4"),
        ("[preprocessing]\nheight = 4", r"preprocessing\.height in 8-4096"),
        ("[split]\nfold = 10", r"split\.fold in 0-9, found 10"),
        ("model = 3", r"expected a table \[model\]"),
        ("name = [", "expected TOML in test"),
    ],
)
def test_errors_are_one_line(text, message):
    with pytest.raises(ConfigError, match=message) as raised:
        parse_config(text, "test")
    assert "\n" not in str(raised.value)


def test_integers_are_accepted_for_floats():
    assert parse_config("[training]\nlearning_rate = 1", "test").training.learning_rate == 1.0


def test_missing_or_binary_file_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "a.toml")


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_configurations_of_the_study_survive_a_round_trip(experiment, tmp_path):
    config = experiment.config
    assert config.name == experiment.name
    assert config_from_table(config.to_dict(), "test") == config
    assert config.with_training(seed=1).hash != config.hash


def test_configurations_are_the_studys():
    schedules = {e.name: (e.config.training.batch_size, e.config.training.epochs) for e in EXPERIMENTS}
    assert schedules == {
        "cnn_2_classes": (32, 30),
        "cnn_3_classes": (64, 30),
        "inception_v3": (64, 30),
        "stacked_cnn": (32, 100),
        "stacked_cnn_thawed": (32, 100),
    }


def test_every_key_is_documented():
    page = (Path(__file__).parents[1] / "docs/reference/configuration.md").read_text()
    table = RunConfig().to_dict()
    for section, keys in table.items():
        for key in keys if isinstance(keys, dict) else ():
            assert f"`{section}.{key}`" in page or f"`.{key}`" in page, f"{section}.{key}"


RECIPES = {"default": "detector", "nano": "detector-nano", "best": "detector-best"}


@pytest.mark.parametrize("name", config_names())
def test_every_configuration_that_ships_is_valid(name):
    config = shipped_config(name)
    assert config.name == RECIPES.get(name, name.removeprefix("ablation/"))
    assert bool(config.detector.name) == (name in RECIPES)


def test_a_network_for_several_hospitals_ships_by_its_name():
    config = find_config("many_hospitals")
    assert (config.name, config.model.classes, config.preprocessing.fit) == ("many_hospitals", 2, "chest")


def test_an_unknown_configuration_is_refused():
    with pytest.raises(ConfigError, match=r"expected a TOML file, or one of best, .*nano.*, found 'resnet'"):
        shipped_config("resnet")


def test_lung_fields_need_the_chest_frame():
    assert parse_config('[model]\nlung_fields = true\n[preprocessing]\nfit = "chest"', "a file").model.lung_fields
    with pytest.raises(
        ConfigError, match=r'expected preprocessing.fit = "chest" beside model.lung_fields, found \'pad\''
    ):
        parse_config('[model]\nlung_fields = true\n[preprocessing]\nfit = "pad"', "a file")
