"""Real peers and the node's own command line as subprocesses."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import requests
import yaml
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.database import open_engine, sqlite_url
from node.journal import Journal
from tests.pki import Issued

ROOT = Path(__file__).resolve().parents[2]
COMMAND = shlex.split(os.environ.get("CXR_NODE_COMMAND", f"{sys.executable} -m node.cli"))
"""How `cxr-node` is called; CXR_NODE_COMMAND names an installed one."""


_DICOM_WEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
"""Orthanc's STOW-RS server (Debian: orthanc-dicomweb)."""

ROUTE = ROOT / "deploy/compose/autoroute.lua"
"""What routes films from Orthanc to the node."""

_FROM_WHEELS = ("dciodvfy",)
"""Debian's is of 2022 and calls Synthetic Data an error."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """Return the first true answer of a condition."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(0.05)
    return answer


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


class NodeProcess:
    """`cxr-node run` in a process of its own."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        command: Sequence[str] = COMMAND,
        **environment: str,
    ) -> None:
        self.command = command
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = int(settings["node"]["port"])
        self.root = Path(settings["node"]["storage"]["root"])
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(dict(settings)))
        self.log_path = folder / "node.log"
        self.environment = {**os.environ, "OMP_NUM_THREADS": "2", **environment}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 90) -> None:
        """Start the node and wait until it listens."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "run", "-c", str(self.config)],
                stderr=log,
                stdout=log,
                cwd=ROOT,
                env=self.environment,
            )
        wait_for(lambda: self._is_up(self.process), timeout_s, "the node to listen")

    def _is_up(self, process: subprocess.Popen[bytes] | None) -> bool:
        assert process is not None
        assert process.poll() is None, self.log()
        return listens(self.port)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Stop the node as systemd would; return its exit status."""
        if self.process is None or self.process.poll() is not None:
            return -1
        self.process.terminate()
        return self.process.wait(60)

    def log(self) -> str:
        return self.log_path.read_text()

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another verb on the same configuration."""
        command = [*COMMAND, *arguments, "-c", str(self.config)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=self.environment, check=False
        )

    def status(self, *arguments: str) -> Any:
        """Return what `cxr-node status --json` says."""
        return json.loads(self.call("status", *arguments, "--json").stdout)

    @property
    def journal(self) -> Journal:
        """The node's ledger, read beside the node: polling it costs no new process."""
        return Journal(open_engine(sqlite_url(self.root / "ledger.sqlite")))

    def states(self) -> dict[str, str]:
        """Return the state of the last generation of each study."""
        rows = sorted(self.journal.studies(limit=1000), key=lambda row: int(row["generation"]))
        return {row["study_uid"]: row["state"] for row in rows}


class Orthanc:
    """A real Orthanc as the hospital PACS, which routes stable films to the node."""

    aet = "HOSPACS"

    def __init__(
        self,
        folder: Path,
        node_port: int,
        *,
        routes: bool = True,
        tls: tuple[Issued, Path] | None = None,
        users: Mapping[str, str] | None = None,
        script: Path = ROUTE,
    ) -> None:
        self.script = script
        self.port, self.http_port = free_port(), free_port()
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.node_port = node_port
        self.routes = routes
        self.tls = tls
        self.users = dict(users or {})
        self.process: subprocess.Popen[bytes] | None = None

    def _config(self) -> dict[str, Any]:
        modality = {"Host": "127.0.0.1", "AllowStore": True, "AllowEcho": True}
        if self.tls is not None:
            modality["UseDicomTls"] = True
        return {
            **self._tls_config(),
            "Name": "hospital",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": bool(self.users),
            "RegisteredUsers": self.users,
            "Plugins": [str(_DICOM_WEB)] if _DICOM_WEB.exists() else [],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "DicomAet": self.aet,
            "DicomPort": self.port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowStore": False,
            "DicomCheckModalityHost": True,
            "StableAge": 1,
            "OverwriteInstances": False,
            "SaveJobs": False,
            "LuaScripts": [str(self.script)] if self.routes else [],
            "DicomModalities": {
                "cxrnode": {**modality, "AET": "CXRDRAFT", "Port": self.node_port},
                "cr-room": {**modality, "AET": "CRROOM1", "Port": 1},
            },
        }

    def _tls_config(self) -> dict[str, Any]:
        if self.tls is None:
            return {}
        issued, authorities = self.tls
        return {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(issued.certificate),
            "DicomTlsPrivateKey": str(issued.key),
            "DicomTlsTrustedCertificates": str(authorities),
            "DicomTlsRemoteCertificateRequired": True,
        }

    def start(self) -> None:
        config = self.folder / "orthanc.json"
        config.write_text(json.dumps(self._config()))
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen(
                [shutil.which("Orthanc") or "/usr/sbin/Orthanc", str(config)],
                stdout=log,
                stderr=log,
            )
        wait_for(lambda: listens(self.port) and listens(self.http_port), 30, "Orthanc to listen")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def _credentials(self) -> tuple[str, str] | None:
        return next(iter(self.users.items()), None)

    def get(self, path: str) -> Any:
        answer = requests.get(f"{self.url}{path}", timeout=10, auth=self._credentials)
        answer.raise_for_status()
        return answer.json()

    def find(self, level: str, **query: str) -> list[dict[str, Any]]:
        """Return the resources of a level that match."""
        body: dict[str, Any] = {"Level": level, "Query": query, "Expand": True}
        url = f"{self.url}/tools/find"
        answer = requests.post(url, json=body, timeout=10, auth=self._credentials)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found

    def download(self, series: Mapping[str, Any], path: Path) -> Dataset:
        """Save the only instance of a series as a file and read it."""
        (instance,) = series["Instances"]
        url = f"{self.url}/instances/{instance}/file"
        path.write_bytes(requests.get(url, timeout=10, auth=self._credentials).content)
        return dcmread(path)


def node_settings(folder: Path, port: int, peers: Mapping[str, Any], **outputs: Any) -> Any:
    """Return the settings of a node that is quick enough for a test."""
    root = {"root": str(folder / "root"), "free_min_gb": 0, "free_min_percent": 0}
    node = {
        "port": port,
        "bind": "127.0.0.1",
        "storage": root,
        "study": {"quiet_s": 1, "hard_cap_s": 60, "successor_every_s": 0},
        "work": {"sweep_s": 0.1},
        "max_associations_per_ip": 16,
    }
    outbox = {"outbox": {"retry_initial_s": 0.5, "retry_max_s": 2}}
    return {"node": node, "peers": dict(peers), "outputs": {**outbox, **outputs}}


def peer(ae_title: str, port: int, send: Sequence[str] = ()) -> dict[str, Any]:
    return {"ae_title": ae_title, "host": "127.0.0.1", "port": port, "send": list(send)}


def tool(
    name: str, *arguments: str | Path, tcp_nodelay: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a tool of DCMTK or dicom3tools, by default as it comes: Nagle's algorithm on."""
    command = [dcmtk(name), *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if key != "TCP_NODELAY"}
    if tcp_nodelay:
        environment["TCP_NODELAY"] = tcp_nodelay
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=environment
    )


def dcmtk(name: str) -> str:
    """Return DCMTK's tool: pynetdicom puts scripts of the same names beside our interpreter."""
    beside = str(Path(sys.executable).parent)
    places = (beside, "/usr/bin") if name in _FROM_WHEELS else ("/usr/bin", "/usr/local/bin")
    return shutil.which(name, path=":".join(places)) or name


def faults_of(path: Path) -> list[str]:
    """Return what dciodvfy, and for a report dsr2xml, find wrong with a file."""
    verified = tool("dciodvfy", "-new", path)
    faults = [line for line in verified.stderr.splitlines() if line.startswith("Error")]
    if verified.returncode:
        faults.append(f"dciodvfy exits with {verified.returncode}")
    if dcmread(path, stop_before_pixels=True).Modality == "SR":
        converted = tool("dsr2xml", path, path.with_suffix(".xml"))
        if converted.returncode:
            faults.append(f"dsr2xml: {converted.stderr}")
    return faults
