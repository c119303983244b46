"""The TLS handshake, in the connection's own thread and under a deadline, and why it failed."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress

from node.certificates import Certificate, from_der, rules_for, speaks_for
from node.config import PeerSettings
from node.errors import HandshakeRefused
from node.peers import CALLING_NOT_RECOGNISED, Peer, Refusal
from node.tls import Tls

_ALERT = "TLSV1_ALERT_"
_FAULTS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        "the peer shows no certificate",
        "give the peer a certificate, or set `node.tls.client_certificates: optional`",
    ),
    "UNSUPPORTED_PROTOCOL": (
        "the peer speaks no TLS newer than 1.1",
        "TLS 1.0 and 1.1 are withdrawn (RFC 8996): let the peer use 1.2 or 1.3",
    ),
    "NO_SHARED_CIPHER": (
        "the peer offers no cipher that is strong enough",
        "let the peer use the BCP 195 profile: ECDHE with AES-GCM",
    ),
    "WRONG_VERSION_NUMBER": ("the other side does not speak TLS", "turn TLS on for both or none"),
    "HTTP_REQUEST": ("the other side speaks HTTP", "this is a DICOM port"),
    "UNKNOWN_CA": (
        "the peer does not trust our certificate",
        "add the authority of node.tls.certificate to those that the peer trusts",
    ),
    "BAD_CERTIFICATE": (
        "the peer does not accept our certificate",
        "look at the peer's log: it must trust the authority of node.tls.certificate",
    ),
    "CERTIFICATE_EXPIRED": (
        "the peer says that our certificate has expired",
        "is the peer's clock right",
    ),
    "CERTIFICATE_REQUIRED": (
        "the peer wants a certificate from us",
        "set node.tls.certificate and node.tls.key",
    ),
    "PROTOCOL_VERSION": ("the peer speaks neither TLS 1.2 nor 1.3", "bring the peer up to date"),
    "HANDSHAKE_FAILURE": (
        "the peer refuses what we offer",
        "it may want a certificate from us, or ciphers that are no longer safe",
    ),
}
"""What OpenSSL calls it, without the prefixes of alerts: what happened, and the cure."""
_VERIFY_HINTS = {
    10: "replace the peer's certificate, or set the clock of this machine right",
    9: "the peer's certificate is not valid yet: set the clock of this machine right",
    18: "add the peer's own certificate to node.tls.ca if it is to be trusted as it is",
    19: "add the authority at the top of the peer's chain to node.tls.ca if it may be trusted",
    20: "add the authority that signed the peer's certificate to node.tls.ca",
    21: "let the peer send its intermediate certificates, or add them to node.tls.ca",
    26: "ask for a certificate whose extended key usage allows client and server authentication",
}
"""By OpenSSL's verification error (X509_V_ERR_…)."""


def accept(sock: socket.socket, tls: Tls, deadline_s: float) -> ssl.SSLSocket | None:
    """Shake hands with a caller.

    Parameters
    ----------
    deadline_s
        Seconds for the whole handshake.

    Returns
    -------
    ssl.SSLSocket or None
        None where the caller hung up without a word, as the probes of load balancers do.

    Raises
    ------
    HandshakeRefused
        With what happened and what would cure it; the connection is closed.
    """
    started = time.monotonic()
    sock.settimeout(deadline_s)
    try:
        says_something = bool(sock.recv(1, socket.MSG_PEEK))
    except OSError as error:
        sock.close()
        raise refusal_of(error) from error
    if not says_something:
        sock.close()
        return None
    left_s = max(deadline_s - (time.monotonic() - started), 0.001)
    return _shake(sock, tls.server, left_s, server_side=True, server_name=None)


def connect(sock: socket.socket, tls: Tls, peer: PeerSettings, deadline_s: float) -> ssl.SSLSocket:
    """Shake hands with a peer that we called, and make sure that it is the one.

    Raises
    ------
    HandshakeRefused
        The handshake failed, or the certificate is another's; the connection is closed.
    """
    secured = _shake(sock, tls.client, deadline_s, server_side=False, server_name=peer.host)
    certificate = peer_certificate(secured)
    if certificate is None or not speaks_for(certificate, peer):
        secured.close()
        raise HandshakeRefused("the certificate is not the peer's", hint=_binding_hint(certificate))
    return secured


def _shake(
    sock: socket.socket,
    context: ssl.SSLContext,
    deadline_s: float,
    *,
    server_side: bool,
    server_name: str | None,
) -> ssl.SSLSocket:
    try:
        secured = context.wrap_socket(
            sock,
            server_side=server_side,
            server_hostname=server_name,
            do_handshake_on_connect=False,
        )
    except (OSError, ValueError) as error:
        sock.close()
        raise HandshakeRefused("the connection was closed before the handshake") from error
    try:
        secured.settimeout(deadline_s)
        secured.do_handshake()
    except OSError as error:
        with suppress(OSError):
            secured.close()
        raise refusal_of(error) from error
    return secured


def refusal_of(error: OSError) -> HandshakeRefused:
    """Say what a fault of TLS means."""
    match error:
        case ssl.SSLCertVerificationError():
            text = f"the peer's certificate is refused: {error.verify_message}"
            hint = _VERIFY_HINTS.get(error.verify_code, "ask for a certificate that is fit for use")
            return HandshakeRefused(text, hint=hint)
        case TimeoutError():
            return HandshakeRefused("the handshake was not done in time", hint="is it TLS at all")
        case ssl.SSLError() if error.reason and error.reason != "UNEXPECTED_EOF_WHILE_READING":
            return _known(error.reason)
    return HandshakeRefused(
        "the peer closed the connection in the handshake",
        hint="look at the peer's log: it may not trust our certificate, or not speak TLS",
    )


def _known(reason: str) -> HandshakeRefused:
    for prefix in (_ALERT, "TLSV13_ALERT_", "SSLV3_ALERT_"):
        reason = reason.removeprefix(prefix)
    text, hint = _FAULTS.get(reason, (f"the handshake failed: {reason.lower()}", ""))
    return HandshakeRefused(text, hint=hint or "compare the TLS settings of both sides")


def peer_certificate(sock: socket.socket | None) -> Certificate | None:
    """Return the certificate that the other side showed; None where it showed none."""
    encoded = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
    return from_der(encoded) if encoded else None


def check_identity(peer: Peer, sock: socket.socket | None) -> Peer | Refusal:
    """Bind a caller's certificate to the AE title that it calls under.

    Without TLS, and where the caller showed no certificate and none is asked for by its rules,
    title and address are all there is.
    """
    if not isinstance(sock, ssl.SSLSocket):
        return peer
    certificate = peer_certificate(sock)
    if certificate is None and not peer.settings.certificate:
        return peer
    if certificate is not None and speaks_for(certificate, peer.settings):
        return peer
    where = f"peers.{peer.name}.certificate"
    return Refusal(
        CALLING_NOT_RECOGNISED,
        f"the certificate is not that of peer {peer.name}",
        _binding_hint(certificate, where, rules_for(peer.settings)),
    )


def _binding_hint(
    certificate: Certificate | None,
    where: str = "the peer's `certificate`",
    rules: frozenset[str] = frozenset(),
) -> str:
    """Say what would let a certificate in."""
    if certificate is None:
        return f"it shows none, and {where} asks for one of {', '.join(sorted(rules))}"
    return f"if it is the right one, add `sha256:{certificate.fingerprint}` to {where}"
