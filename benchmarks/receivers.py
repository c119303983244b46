"""The receivers that are compared: this node's SCP and what a hospital would take instead.

Each runs in processes of its own. `python -m benchmarks.receivers KIND …` is the inside of those
that are Python: this node's listener without an engine behind it, and plain pynetdicom.
"""

from __future__ import annotations

import argparse
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pynetdicom import AE, evt

from benchmarks.sending import SENDER, Target
from node.clock import SystemClock
from node.config import NodeSettings, PeerSettings, Settings
from node.database import open_ledger, sqlite_url
from node.journal import Journal
from node.ledger import Ledger
from node.listeners import Listeners
from node.peers import PeerBook
from node.receiver import Receiver
from node.scp import Scp
from node.spool import Spool
from node.tls import Tls
from tests.acceptance.peers import Orthanc, free_port, listens, wait_for
from tests.pki import Authority, Issued

AE_TITLE = "CXRDRAFT"
_CR = "1.2.840.10008.5.1.4.1.1.1"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Way:
    """How a receiver is run."""

    no_delay: bool = False
    """Nagle's algorithm off, where the receiver has a switch for it."""
    synchronises: bool = True
    """Whether this node's disk writes are waited for; no other receiver does so."""
    tls: bool = False


@dataclass(frozen=True)
class Running:
    """A receiver that listens."""

    target: Target
    pid: int

    def cpu_s(self) -> float:
        """Return the processor seconds spent so far, ended children included."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS_PER_S

    def peak_rss_mb(self) -> float:
        """Return the largest resident set of the main process."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        peak = next(line for line in lines if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024


@contextmanager
def _process(command: list[str], port: int, log: Path, **environment: str) -> Iterator[int]:
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env={**os.environ, **environment}
        )
    try:
        wait_for(lambda: listens(port), 30, command[0])
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def _python(kind: str, folder: Path, port: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.receivers", kind, str(folder), str(port), *options]


@dataclass(frozen=True)
class Site:
    """Where receivers keep what they get, and the certificates of all sides."""

    folder: Path
    authority: Authority
    issued: Issued

    def target(self, port: int, way: Way, ae_title: str = AE_TITLE) -> Target:
        """Return how to call a receiver."""
        return Target(port, ae_title, self._client() if way.tls else None)

    def _client(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.authority.path)
        context.load_cert_chain(self.issued.certificate, self.issued.key)
        return context


@contextmanager
def _in_python(kind: str, site: Site, way: Way, *options: str) -> Iterator[Running]:
    """Run one of the receivers that this module is the inside of."""
    port = free_port()
    files = (site.issued.certificate, site.issued.key, site.authority.path)
    tls = ["--tls", *map(str, files)] if way.tls else []
    command = _python(kind, site.folder / f"{kind}-{port}", port, *options, *tls)
    with _process(command, port, site.folder / f"{kind}.log") as pid:
        yield Running(site.target(port, way), pid)


def ours(site: Site, way: Way) -> AbstractContextManager[Running]:
    """Run this node's SCP, spool and ledger."""
    return _in_python("ours", site, way, *([] if way.synchronises else ["--no-fsync"]))


def pynetdicom(site: Site, way: Way) -> AbstractContextManager[Running]:
    """Run pynetdicom with a handler that writes a file, as its documentation shows."""
    return _in_python("pynetdicom", site, way)


@contextmanager
def storescp(site: Site, way: Way) -> Iterator[Running]:
    """Run DCMTK's storescp, a process an association."""
    port = free_port()
    folder = site.folder / f"storescp-{port}"
    folder.mkdir()
    command = [shutil.which("storescp", path="/usr/bin") or "storescp", "--fork"]
    command += ["-aet", AE_TITLE, "-od", str(folder)]
    if way.tls:
        command += ["+tls", str(site.issued.key), str(site.issued.certificate)]
        command += ["+cf", str(site.authority.path)]
    environment = {"TCP_NODELAY": "1"} if way.no_delay else {}
    log = site.folder / "storescp.log"
    with _process([*command, str(port)], port, log, **environment) as pid:
        yield Running(site.target(port, way), pid)


@contextmanager
def _environment(**wanted: str | None) -> Iterator[None]:
    """Set or unset environment variables for what is started inside."""
    before = {name: os.environ.get(name) for name in wanted}
    _put(wanted)
    try:
        yield
    finally:
        _put(before)


def _put(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


class _OpenOrthanc(Orthanc):
    """An Orthanc that takes images from anybody, as the packaged configuration does."""

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "DicomAlwaysAllowStore": True, "DicomCheckModalityHost": False}


@contextmanager
def orthanc(site: Site, way: Way) -> Iterator[Running]:
    """Run Orthanc as Debian packages it."""
    tls = (site.issued, site.authority.path) if way.tls else None
    server = _OpenOrthanc(site.folder / f"orthanc-{free_port()}", 1, routes=False, tls=tls)
    with _environment(TCP_NODELAY="1" if way.no_delay else None):
        server.start()
    try:
        assert server.process is not None
        yield Running(site.target(server.port, way, server.aet), server.process.pid)
    finally:
        server.stop()


RECEIVERS: Mapping[str, Callable[[Site, Way], AbstractContextManager[Running]]] = {
    "cxr-node": ours,
    "orthanc": orthanc,
    "pynetdicom": pynetdicom,
    "storescp": storescp,
}


def _serve_ours(options: argparse.Namespace) -> None:
    """Run the listener with storage and ledger, and nothing behind them."""
    node: dict[str, Any] = {"ae_title": AE_TITLE, "bind": "127.0.0.1", "port": options.port}
    node["storage"] = {"root": options.folder, "free_min_gb": 0, "free_min_percent": 0}
    if options.tls:
        certificate, key, ca = options.tls
        node["tls"] = {"enabled": True, "certificate": certificate, "key": key, "ca": ca}
    peer = PeerSettings(ae_title=SENDER, host="127.0.0.1", port=1, certificate=("any",))
    peers = {
        title.lower(): peer.model_copy(update={"ae_title": title})
        for title in (SENDER, "PACS", "TURNED")
    }
    node |= {"max_associations_per_peer": 8, "max_associations_per_ip": 40}
    settings = Settings(node=NodeSettings.model_validate(node), peers=peers)
    clock = SystemClock()
    spool = Spool(settings.node.storage)
    spool.prepare()
    if options.no_fsync:
        os.fsync = lambda _descriptor: None
    database = open_ledger(sqlite_url(spool.root / "ledger.sqlite"))
    if options.no_fsync:
        sa.event.listen(database, "connect", _relax)
        database.dispose()  # connections opened before would go on as they are
    receiver = Receiver(settings.node.intake, spool, Ledger(database), clock)
    tls = Tls(settings.node.tls, clock)
    scp = Scp(settings.node, PeerBook(settings.peers), receiver, Journal(database), clock, tls)
    scp.start(Listeners())
    while True:
        time.sleep(3600)


def _relax(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous = OFF")


def _serve_pynetdicom(options: argparse.Namespace) -> None:
    """Run plain pynetdicom, every default but the number of associations."""
    options.folder.mkdir(parents=True)

    def on_c_store(event: Any) -> int:
        ds = event.dataset
        ds.file_meta = event.file_meta
        ds.save_as(options.folder / f"{ds.SOPInstanceUID}.dcm", enforce_file_format=True)
        return 0x0000

    ae = AE(AE_TITLE)
    ae.maximum_associations = 64
    ae.add_supported_context(_CR, "1.2.840.10008.1.2.1")
    ae.add_supported_context("1.2.840.10008.1.1", "1.2.840.10008.1.2.1")
    context = None
    if options.tls:
        certificate, key, _ = options.tls
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    handlers: list[Any] = [(evt.EVT_C_STORE, on_c_store)]
    ae.start_server(("127.0.0.1", options.port), evt_handlers=handlers, ssl_context=context)


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.receivers")
    parser.add_argument("kind", choices=("ours", "pynetdicom"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--no-fsync", action="store_true")
    parser.add_argument("--tls", nargs=3)
    options = parser.parse_args()
    (_serve_ours if options.kind == "ours" else _serve_pynetdicom)(options)


if __name__ == "__main__":
    main()
