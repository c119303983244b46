"""Trying a peer out, step by step, as far as it goes: what `peers test` and the Test button do.

Reachable, TLS, C-ECHO, what it takes; and, where asked for, a marked phantom stored there and a
commitment to it, which is all that a draft will ever need of the peer.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.uid import UID, BasicTextSRStorage, EnhancedSRStorage
from sqlalchemy.engine import Engine

from node.checks import Check
from node.clock import Clock, as_datetime
from node.commitment import SOP_CLASS as STORAGE_COMMITMENT
from node.commitment import Reference
from node.commitments import Commitments
from node.committer import Committer
from node.config import PeerSettings, Settings
from node.destinations import reached
from node.errors import HandshakeRefused, PeerError
from node.handshakes import connect, peer_certificate
from node.phantom import connection_test
from node.prior_source import STUDY_ROOT_GET
from node.query import STUDY_ROOT_FIND
from node.sc import CLASSES
from node.scu import NotTaken, Scu
from node.sop_classes import ENCAPSULATED_PDF, VERIFICATION
from node.sr_findings import PROFILES
from node.store_statuses import reply_to
from node.tls import Tls

_PATIENCE_S = 10.0


@dataclass(frozen=True)
class PeerTrial:
    """Tries the peers of a configuration.

    Parameters
    ----------
    database
        The ledger: a report on a commitment may come to the node that runs on it. None where
        there is none yet; then no commitment is tried.
    """

    settings: Settings
    scu: Scu
    tls: Tls
    clock: Clock
    database: Engine | None = None

    def steps(self, name: str, *, store: bool = False) -> Iterator[Check]:
        """Yield each step as it ends; the first that fails is the last.

        Parameters
        ----------
        store
            Also leave a phantom there, marked as a connection test, and ask for a commitment.
        """
        peer = self.settings.peers[name]
        for step in (self._reach, self._shake_hands, self._echo, self._negotiate):
            checks = list(step(peer))
            yield from checks
            if not all(check.is_good for check in checks):
                return
        if store:
            yield from self._store(name, peer)

    def _reach(self, peer: PeerSettings) -> Iterator[Check]:
        place, started = f"{peer.host}:{peer.port}", time.perf_counter()
        timeout_s = self.settings.node.acse_timeout_s
        try:
            with socket.create_connection((peer.host, peer.port), timeout_s) as sock:
                address = sock.getpeername()[0]
        except OSError as error:
            reason = error.strerror or str(error)
            hint = "is the peer running, is the port right, does a firewall stand between"
            yield Check("network", False, f"{place}: {reason}", hint)
        else:
            yield Check("network", True, f"{place} ({address}) answered in {_since(started)}")

    def _shake_hands(self, peer: PeerSettings) -> Iterator[Check]:
        """Shake hands where the peer is called over TLS, and look at its certificate."""
        if not peer.tls:
            return
        timeout_s = self.settings.node.acse_timeout_s
        try:
            raw = socket.create_connection((peer.host, peer.port), timeout_s)
            with connect(raw, self.tls, peer, timeout_s) as secured:
                certificate, cipher = peer_certificate(secured), secured.cipher()
                version = secured.version()
        except (OSError, HandshakeRefused) as error:
            hint = error.hint if isinstance(error, HandshakeRefused) else ""
            yield Check("tls", False, str(error), hint)
            return
        yield Check("tls", True, f"{version}, {cipher[0] if cipher else 'no cipher'}")
        if certificate is not None:
            text = f"{certificate.subject} {certificate.lifetime_text(self.tls.now())}"
            hint = "ask the peer's administrator for a new one"
            expiring = self.tls.is_expiring(certificate)
            yield Check("peer certificate", True, text, hint if expiring else "")

    def _echo(self, peer: PeerSettings) -> Iterator[Check]:
        ours = self.settings.node.ae_title
        try:
            ms = self.scu.echo(peer)
        except PeerError as error:
            hint = error.hint or f"does {peer.ae_title} run there, and does it know {ours}"
            yield Check("C-ECHO", False, str(error), hint)
        else:
            yield Check("C-ECHO", True, f"{peer.ae_title} answered {ours} in {ms:.0f} ms")

    def _negotiate(self, peer: PeerSettings) -> Iterator[Check]:
        """Propose all that is ever sent to the peer or asked of it, and see what it takes."""
        wanted = self._classes(peer)
        try:
            with self.scu.association(peer, list(wanted)) as assoc:
                taken = {
                    str(one.abstract_syntax): one.transfer_syntax[0].name
                    for one in assoc.accepted_contexts
                }
        except PeerError as error:
            yield Check("contexts", False, str(error), error.hint)
            return
        takes_text = BasicTextSRStorage in taken
        for uid, why in wanted.items():
            name = f"context {UID(uid).name}"
            if uid in taken:
                yield Check(name, True, f"{taken[uid]} ({why})")
            elif uid == BasicTextSRStorage:
                yield Check(name, True, "not taken; it is needed only in place of Enhanced SR")
            elif uid == EnhancedSRStorage and takes_text:
                yield Check(name, True, "not taken; reports go there as Basic Text SR")
            else:
                hint = "let the peer accept it, or take it out of the peer's settings"
                yield Check(name, False, f"not taken ({why})", hint)

    def _classes(self, peer: PeerSettings) -> dict[str, str]:
        """Return the classes that matter with this peer, and what for."""
        outputs = self.settings.outputs
        image = CLASSES[outputs.synthetic.bits]
        by_kind = {
            "report": (EnhancedSRStorage, BasicTextSRStorage),
            "findings": (PROFILES[outputs.findings.profile],),
            "synthetic": (image,),
            "counterfactual": (image,),
            "heatmap": (CLASSES[8],),
            "pdf": (ENCAPSULATED_PDF,),
        }
        wanted: dict[str, str] = {VERIFICATION: "C-ECHO"}
        everywhere, peers = reached(self.settings), self.settings.peers
        sent = [kind for name in everywhere if peers.get(name) == peer for kind in everywhere[name]]
        wanted |= {str(uid): kind for kind in sent for uid in by_kind[kind]}
        asked = (
            (peer.commitment, STORAGE_COMMITMENT, "commitment"),
            (peer.query or peer.priors, STUDY_ROOT_FIND, "query"),
            (peer.priors and peer.retrieve == "get", STUDY_ROOT_GET, "priors"),
        )
        return wanted | {uid: why for is_so, uid, why in asked if is_so}

    def _store(self, name: str, peer: PeerSettings) -> Iterator[Check]:
        """Leave a phantom there, and ask for a commitment to it where the peer gives any."""
        ds = connection_test(as_datetime(self.clock.now()).astimezone())
        try:
            (answer,) = self.scu.store(peer, [ds], [str(ds.SOPClassUID)])
        except PeerError as error:
            yield Check("C-STORE", False, str(error), error.hint)
            return
        if not isinstance(answer, int):
            text = answer.reason if isinstance(answer, NotTaken) else answer
            yield Check("C-STORE", False, text, "let the peer accept Digital X-Ray images")
            return
        reply = reply_to(answer)
        text = f"status 0x{answer:04X} {reply.reason}".strip()
        yield Check("C-STORE", answer == 0, f"{text}; look for PHANTOM^CONNECTION TEST there")
        if answer == 0 and peer.commitment:
            yield self._commit(name, Reference(str(ds.SOPClassUID), str(ds.SOPInstanceUID)))

    def _commit(self, name: str, reference: Reference) -> Check:
        if self.database is None:
            return Check("commitment", False, "not tried: no node has run here yet")
        rule = self.settings.outputs
        commitments = Commitments(
            self.database,
            max_resends=rule.commitment.max_resends,
            give_up_after_s=rule.outbox.give_up_after_s,
        )
        peers = self.settings.peers
        committer = Committer(peers, rule, self.scu, commitments, self.clock, lambda: None)
        try:
            seconds = committer.try_out(name, reference, _PATIENCE_S)
        except PeerError as error:
            return Check("commitment", False, str(error), error.hint)
        if seconds is None:
            hint = "it may come later; does the peer know our address, and does the node run"
            return Check("commitment", False, f"no report came within {_PATIENCE_S:.0f} s", hint)
        return Check("commitment", True, f"reported after {seconds:.1f} s")


def _since(started: float) -> str:
    return f"{(time.perf_counter() - started) * 1000:.0f} ms"
