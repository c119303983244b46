"""What `cxr-node check` tries once the configuration is valid: one row a thing."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.backends.select import survey
from engine.bundle import open_bundle
from engine.config import EngineSettings
from engine.errors import CxrError
from node.clock import SystemClock
from node.config import NodeSettings, PeerSettings, Settings
from node.destinations import channels_of, reached
from node.errors import LedgerError, NodeError, PeerError, TlsError
from node.ledger_revision import read_revision
from node.routing import by_kind
from node.scu import Scu
from node.spool import Spool
from node.tls import Tls
from node.web.security import TokenFileUnfit, Tokens


@dataclass(frozen=True)
class Check:
    """One thing that was tried."""

    name: str
    is_good: bool
    text: str
    hint: str = ""


LoadBundle = Callable[[EngineSettings], str]
"""Loads a model bundle and returns its name and version."""


def run_checks(settings: Settings, load_bundle: LoadBundle) -> Iterator[Check]:
    """Try the port, the disk, the bundle and every destination."""
    yield _check_port(settings.node)
    yield _check_disk(settings.node)
    yield _check_ledger(settings.node)
    for name, chosen in zip(("bundle", "challenger"), settings.engine.each, strict=False):
        yield _check_bundle(name, load_bundle, chosen)
    yield from _check_backends(settings)
    yield from check_certificates(settings.node)
    yield from _check_web(settings.node)
    yield from _check_metrics(settings.node)
    yield from _check_peers(settings)
    yield from _check_channels(settings)


def _check_port(settings: NodeSettings) -> Check:
    return _check_listening("port", settings, settings.bind, settings.port)


def _check_web(settings: NodeSettings) -> Iterator[Check]:
    """Try the port of the review page, and the file of those who may come in."""
    web = settings.web
    if not web.enabled:
        return
    try:
        number = len(Tokens(web.token_file))
    except TokenFileUnfit as error:
        yield Check("web tokens", False, str(error), error.hint)
    else:
        if web.token_file is not None:
            yield Check("web tokens", True, f"{number} in {web.token_file}")
    yield _check_listening("web port", settings, web.bind, web.port)


def _check_metrics(settings: NodeSettings) -> Iterator[Check]:
    """Try the port for monitoring."""
    metrics = settings.metrics
    if metrics.enabled:
        yield _check_listening("metrics port", settings, metrics.bind, metrics.port)


def _check_listening(name: str, settings: NodeSettings, bind: str, port: int) -> Check:
    place = f"{bind}:{port}"
    if Spool(settings.storage).is_locked():
        return Check(name, True, f"{place} belongs to the node that is running")
    try:
        entry = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(entry[0], socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(entry[4])
    except OSError as error:
        hint = "is a node running already, or does the port need privileges"
        return Check(name, False, f"cannot listen on {place}: {error.strerror}", hint)
    return Check(name, True, f"{place} is free")


def _check_disk(settings: NodeSettings) -> Check:
    spool = Spool(settings.storage)
    try:
        spool.prepare()
        spool.check_room()
    except NodeError as error:
        return Check("disk", False, str(error), error.hint)
    return Check("disk", True, f"{spool.root} is writable and above the watermark")


def _check_ledger(settings: NodeSettings) -> Check:
    """Say which revision the ledger has; it is not upgraded by that."""
    try:
        revision = read_revision(settings)
    except LedgerError as error:
        return Check("ledger", False, str(error), error.hint)
    hint = "run the version that it is of, or restore the copy from before"
    return Check("ledger", not revision.is_later, revision.text, hint if revision.is_later else "")


def _check_bundle(name: str, load_bundle: LoadBundle, chosen: EngineSettings) -> Check:
    try:
        return Check(name, True, load_bundle(chosen))
    except CxrError as error:
        return Check(name, False, str(error), error.hint)


def _check_backends(settings: Settings) -> Iterator[Check]:
    """Say which backends run here; that one does not is no fault while another does."""
    try:
        bundle = open_bundle(settings.engine.bundle)
    except CxrError:
        return  # the check before says why
    for row in survey(bundle):
        text = "can run here" if row.is_available else f"cannot run here: {row.reason}"
        yield Check(f"backend {row.name}", True, text)


def check_certificates(settings: NodeSettings) -> Iterator[Check]:
    """Read certificates and keys; one that expires soon is no fault but has a hint."""
    try:
        tls = Tls(settings.tls, SystemClock())
    except TlsError as error:
        yield Check("tls", False, str(error), error.hint)
        return
    for name, certificate in tls.certificates():
        text = f"{certificate.subject} {certificate.lifetime_text(tls.now())}"
        hint = (
            "replace it before that; no restart is needed" if tls.is_expiring(certificate) else ""
        )
        yield Check(name, certificate.not_after > tls.now(), text, hint)


def _check_peers(settings: Settings) -> Iterator[Check]:
    if not settings.peers:
        hint = "add one under `peers:`"
        yield Check("peers", False, "none: every association will be refused", hint)
    elif not {"report", "hl7", "fhir"} & by_kind(reached(settings)).keys():
        hint = "add `send: [report]` to a peer"
        yield Check("peers", False, "no peer receives the reports", hint)
    for name, peer in settings.peers.items():
        yield check_peer(name, peer, settings.node)


def _check_channels(settings: Settings) -> Iterator[Check]:
    """Try the destinations that are no peers; nothing is left there."""
    for name, carrier in channels_of(settings).items():
        try:
            yield Check(f"outputs.{name}", True, carrier.probe())
        except PeerError as error:
            hint = error.hint or f"does a server run there; see outputs.{name}"
            yield Check(f"outputs.{name}", False, str(error), hint)


def check_peer(name: str, peer: PeerSettings, settings: NodeSettings) -> Check:
    """Verify one peer by C-ECHO."""
    place = f"{peer.ae_title}@{peer.host}:{peer.port}"
    try:
        echo = Scu(settings, Tls(settings.tls, SystemClock())).echo(peer)
    except (PeerError, TlsError) as error:
        hint = error.hint or f"does {peer.ae_title} run there and know {settings.ae_title}"
        return Check(f"peer {name}", False, f"{place}: {error}", hint)
    return Check(f"peer {name}", True, f"{place} answered in {echo:.0f} ms")
