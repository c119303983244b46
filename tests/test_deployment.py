"""The recipes of docs/how-to/deployment.md: what can be checked of them without a hospital."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "deploy/cxr-node.service"


def _unit() -> dict[str, list[str]]:
    """Return the settings of the unit's service, each with all its values."""
    values: dict[str, list[str]] = {}
    section = UNIT.read_text().split("[Service]")[1].split("\n[")[0]
    for line in section.splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            values.setdefault(name, []).append(value)
    return values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DynamicUser", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("AmbientCapabilities", ""),
        ("LimitCORE", "0"),
        ("UMask", "0077"),
        ("RestrictNamespaces", "yes"),
        ("StateDirectoryMode", "0700"),
    ],
)
def test_the_unit_gives_the_node_nothing_that_it_does_not_need(name: str, value: str) -> None:
    assert _unit()[name] == [value]


def test_the_unit_is_valid_for_systemd_and_rated_safe() -> None:
    if shutil.which("systemd-analyze") is None:
        configparser.ConfigParser(strict=False, interpolation=None).read(UNIT)
        pytest.skip("systemd-analyze is absent: only the syntax was read")
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(UNIT)], capture_output=True, text=True, check=False
    )
    faults = [line for line in verified.stderr.splitlines() if UNIT.name in line]
    assert [line for line in faults if "is not executable" not in line] == []
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-500:]


def test_the_environment_of_the_unit_names_settings(tmp_path: Path) -> None:
    from node.config_file import load_settings
    from node.config_over import overrides

    # what systemd puts in for its specifiers
    pairs = dict(pair.split("=", 1) for pair in _unit()["Environment"])
    pairs = {name: value.replace("%S", "/var/lib") for name, value in pairs.items()}
    assert pairs.pop("CXR_SECRETS_DIR") == "%d"
    named = {name: value for name, value in pairs.items() if name.startswith("CXR_")}
    assert set(named) == {"CXR_NODE__STORAGE__ROOT"}
    # each credential that it knows of, as systemd lays them down
    credentials = [one.split(":", 1)[0] for one in (*_offered(), *_unit()["SetCredential"])]
    for name in credentials:
        (tmp_path / name).write_text("what is in it")
    given = {**named, "CXR_SECRETS_DIR": str(tmp_path), "CXR_NODE__TLS__CERTIFICATE": "node.pem"}
    secret = [name for name in credentials if name != "README"]
    assert len(list(overrides(given))) == len(secret) + 2
    settings = load_settings(ROOT / "config.yaml", given)
    assert settings.node.tls.key == tmp_path / "CXR_NODE__TLS__KEY"
    assert settings.node.web.token_file == tmp_path / "CXR_NODE__WEB__TOKEN_FILE"


def _offered() -> list[str]:
    """Return the credentials that the unit shows how to load."""
    return re.findall(r"^#LoadCredential=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_the_unit_with_every_credential_is_valid_for_systemd(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is absent")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("#LoadCredential", "LoadCredential"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    faults = [line for line in verified.stderr.splitlines() if UNIT.name in line]
    assert [line for line in faults if "is not executable" not in line] == []
    assert len(_offered()) == 3


def test_the_unit_asks_for_what_the_node_tells() -> None:
    assert _unit()["Type"] == ["notify"]
    assert int(_unit()["WatchdogSec"][0]) > 60
    assert _unit()["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


@pytest.mark.parametrize("is_abstract", [False, True])
def test_the_node_tells_systemd_that_it_is_ready_alive_and_stopping(
    is_abstract: bool, tmp_path: Path
) -> None:
    from tests.node.conftest import free_port

    root = tmp_path / "state"
    storage = {"root": str(root), "free_min_gb": 0, "free_min_percent": 0}
    node = {"port": free_port(), "bind": "127.0.0.1", "storage": storage}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"node": node}))
    place = f"@cxr-node-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(place.replace("@", "\0"))
        listener.settimeout(60)
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(config)],
            env={**_environment(), "NOTIFY_SOCKET": place},
            cwd=ROOT,
        )
        try:
            assert listener.recv(100) == b"READY=1"
            socket.create_connection(("127.0.0.1", node["port"]), 5).close()
            assert listener.recv(100) == b"WATCHDOG=1"
            process.terminate()
            while (told := listener.recv(100)) == b"WATCHDOG=1":
                pass
            assert told == b"STOPPING=1"
        finally:
            process.terminate()
            process.wait(30)


_SERVE = """
import os, pathlib, sys
from node import logs
from node.app import Node
from node.running import run_until_signalled
from node.service_manager import ServiceManager
from node.config_file import load_settings
from tests.fakes import FakeEngine
logs.set_up("info")
logs.guard_crashes()
node = Node(load_settings(pathlib.Path(sys.argv[1]), {}), FakeEngine())
run_until_signalled(node, None, ServiceManager(os.environ))
"""


def _may_unshare() -> bool:
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-o", "remount,ro,bind", "/"],
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


@pytest.mark.skipif(
    os.geteuid() != 0 or not _may_unshare(), reason="only root may make the root read-only"
)
def test_the_node_runs_without_capabilities_on_a_root_that_it_cannot_write(tmp_path: Path) -> None:
    from tests.node.conftest import free_port, wait_for

    root = tmp_path / "state"
    root.mkdir(mode=0o700)
    port = free_port()
    node = {"port": port, "bind": "127.0.0.1", "storage": {"root": str(root), "free_min_gb": 0}}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"node": node}))
    log = tmp_path / "log"
    command = _confined(root, [sys.executable, "-c", _SERVE, str(config)])
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=_environment(), cwd=ROOT
        )
    try:
        wait_for(lambda: "node.started" in log.read_text() or process.poll() is not None, 60)
        assert process.poll() is None, log.read_text()
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert set(re.findall(r"^Cap\w+:\s+(\w+)", status, re.MULTILINE)) == {"0" * 16}
        assert re.search(r"^NoNewPrivs:\s+1", status, re.MULTILINE)
        mounts = Path(f"/proc/{process.pid}/mounts").read_text().splitlines()
        options = {line.split()[1]: line.split()[3].split(",") for line in mounts}
        assert "ro" in options["/"]
        assert "rw" in options[str(root)]
        socket.create_connection(("127.0.0.1", port), 5).close()
    finally:
        process.terminate()
        process.wait(30)
    assert "node.stopped" in log.read_text()
    assert (root / "audit.jsonl").exists()


def _confined(root: Path, command: list[str]) -> list[str]:
    """Return a command without capabilities in a file system of which one folder can be written."""
    drop = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    script = f'mount --bind {root} {root} && mount -o remount,ro,bind / && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", "setpriv", *drop, *command]


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/nonexistent",
    }
