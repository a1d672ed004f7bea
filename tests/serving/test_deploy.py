"""The Containerfiles, the compose file and the units are what their linters and this package say; `deploy/rehearse` runs them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pneumoscope.cli import app
from pneumoscope.pacs.settings import read_settings

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.parametrize("name", ["Containerfile", "Containerfile.orthanc"])
def test_the_containerfile_passes_its_linter(name):
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DEPLOY / name], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_container_has_no_rights_and_no_tools_to_build_with():
    text = (DEPLOY / "Containerfile").read_text()
    last = text[text.rindex("FROM ") :]
    assert re.search(r"^USER 65532:65532$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert "RUN" not in last
    assert "uninstall --yes --quiet pip setuptools" in text


@pytest.mark.parametrize("name", ["Containerfile", "pneumoscope.service"])
def test_the_options_are_those_of_the_command(name):
    import typer

    known = typer.main.get_command(app).commands["serve"].params
    options = {option for parameter in known for option in parameter.opts}
    used = set(
        re.findall(
            r"(?<![\w-])--[a-z][a-z-]+",
            re.sub(r"HEALTHCHECK[^\n]*|RUN[^\n]*(\n &&[^\n]*)*|COPY[^\n]*", "", (DEPLOY / name).read_text()),
        )
    )
    assert used
    assert used <= options


@pytest.mark.parametrize("name", ["pneumoscope.service", "pneumoscope-node.service"])
def test_the_unit_is_whole(name, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not on this machine")
    unit = (DEPLOY / name).read_text()
    # The program is looked for; here another stands for it.
    (tmp_path / name).write_text(unit.replace("/opt/pneumoscope/bin/pneumoscope", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", tmp_path / name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert name not in done.stderr


def test_the_node_is_started_by_its_command():
    import typer

    pacs = typer.main.get_command(app).commands["pacs"].commands["start"]
    known = {option for parameter in pacs.params for option in parameter.opts}
    unit = re.search(r"^ExecStart=(.*)$", (DEPLOY / "pneumoscope-node.service").read_text(), re.MULTILINE)[1].split()
    for program, *words in (unit, services()["node"]["entrypoint"]):
        assert Path(program).name == "pneumoscope"
        assert words[:2] == ["pacs", "start"]
        assert {word for word in words if word.startswith("--")} <= known


def services():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


def test_the_compose_file_passes_its_linter(tmp_path):
    # A copy: a linter that finds a home folder above the file calls its mounts dangerous.
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    linter = Path(sys.executable).with_name("compose-lint")
    command = [linter, "check", "--fail-on", "low", tmp_path / "deploy" / "compose.yaml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.integration
def test_the_compose_file_is_of_the_schema(tmp_path):
    if shutil.which("npx") is None:
        pytest.skip("npm is not on this machine")
    npx = ["npx", "--yes", "dclint@3.1.0"]
    if subprocess.run([*npx, "--version"], cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("the npm registry is out of reach")
    done = subprocess.run([*npx, "--quiet", DEPLOY / "compose.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_containers_have_no_rights_and_the_network_sees_none_of_them():
    for service in services().values():
        assert service["read_only"]
        assert service["user"] == "65532:65532"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    assert services()["node"]["networks"] == ["pacs"]
    assert "ports" not in services()["node"]
    assert yaml.safe_load((DEPLOY / "compose.yaml").read_text())["networks"]["pacs"] == {"internal": True}


def test_prediction_processes_are_as_many_as_the_limits_allow_whatever_the_machine_has():
    command, node = services()["service"]["command"], read_settings(DEPLOY / "node.toml")
    assert int(command[command.index("--workers") + 1]) == services()["service"]["cpus"]
    assert node.workers == services()["node"]["cpus"]
    assert re.search(r"^ExecStart=.* --workers \d", (DEPLOY / "pneumoscope.service").read_text(), re.MULTILINE)
    assert f"workers = {node.workers}" in (DEPLOY / "pneumoscope-node.service").read_text()


def test_containers_are_in_the_time_zone_of_the_pacs():
    assert {service["environment"]["TZ"] for service in services().values()} == {"${TZ:-Etc/UTC}"}


def test_node_and_pacs_in_the_containers_know_each_other():
    node, pacs = read_settings(DEPLOY / "node.toml"), json.loads((DEPLOY / "orthanc.json").read_text())
    peers = {peer.ae_title: peer for peer in node.peers}
    answered = peers[pacs["DicomAet"]]
    assert (answered.host, answered.port) == ("orthanc", pacs["DicomPort"])
    assert pacs["DicomModalities"] == {"pneumoscope": [node.ae_title, "node", node.port]}
    assert node.dicomweb.url == f"http://orthanc:{pacs['HttpPort']}/dicom-web"
    assert pacs["AuthenticationEnabled"]
    assert {"node", "orthanc"} <= services().keys()
    volumes = {name: service["volumes"][0].split(":")[1] for name, service in services().items()}
    assert Path(node.folder).parent == Path(volumes["node"])
    assert pacs["StorageDirectory"] == pacs["IndexDirectory"] == volumes["orthanc"]
    check = services()["node"]["healthcheck"]["test"]
    assert check[-6:] == ["127.0.0.1", str(node.port), "-aet", "HEALTH", "-aec", node.ae_title]
    assert peers["HEALTH"].host == "127.0.0.1"
    # What the page says of Orthanc is what the containers run.
    script = re.search(
        r"```lua[^\n]*\n(.*?)```", (DEPLOY.parent / "docs" / "how-to" / "pacs.md").read_text(), re.DOTALL
    )
    assert (DEPLOY / "route.lua").read_text().endswith(script[1])


def test_the_page_makes_the_passwords_that_the_containers_read(tmp_path):
    page = (DEPLOY.parent / "docs" / "how-to" / "pacs.md").read_text()
    lines = re.search(r"^    mkdir deploy/secrets.*?(?=^    docker compose)", page, re.DOTALL | re.MULTILINE)[0]
    (tmp_path / "deploy").mkdir()
    subprocess.run(["bash", "-euc", lines], cwd=tmp_path, check=True)
    files = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["secrets"]
    login, users = ((tmp_path / "deploy" / files[name]["file"]).read_text() for name in ("login", "users"))
    name, _, password = login.strip().partition(":")
    assert json.loads(users) == {"RegisteredUsers": {name: password}}
    assert len(password) == 32
