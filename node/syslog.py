"""Audit messages to a repository by syslog over TLS (RFC 5424, RFC 5425; PS3.15 section A.6).

Syslog knows no acknowledgement. So a batch goes over a connection of its own, which is closed in
both directions: the repository's close says that it has read all of it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from node.certificates import is_address
from node.config import PeerSettings, SyslogSettings
from node.errors import HandshakeRefused, PeerError
from node.handshakes import connect
from node.tls import Tls

PRIORITY = 10 * 8 + 5
"""Facility 10 (security), severity 5 (notice), as section A.6 wants it."""
MESSAGE_ID = "DICOM+RFC3881"
_APPLICATION = "cxr-node"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Record:
    """One audit message on its way."""

    at: datetime
    xml: str


def to_syslog(record: Record, host: str, process_id: int) -> bytes:
    """Return a message as RFC 5424 has it: header, no structured data, UTF-8 with its mark."""
    at = record.at.isoformat(timespec="milliseconds")
    header = f"<{PRIORITY}>1 {at} {_printable(host)} {_APPLICATION} {process_id} {MESSAGE_ID} - "
    return header.encode("ascii") + _BOM + record.xml.encode("utf-8")


def frame(message: bytes) -> bytes:
    """Count a message's octets in front of it (RFC 5425 section 4.3)."""
    return b"%d %s" % (len(message), message)


def _printable(host: str) -> str:
    """Return a host name as the header takes it (RFC 5424 section 6)."""
    return "".join(char for char in host if "!" <= char <= "~")[:255] or "-"


class Repository:
    """The audit record repository.

    Parameters
    ----------
    settings
        Where it is.
    tls
        Our certificate, and the authorities that its must descend from.
    deadline_s
        Seconds for each step: connecting, the handshake, each write, the close.
    """

    def __init__(self, settings: SyslogSettings, tls: Tls, deadline_s: float) -> None:
        self._settings = settings
        self._tls = tls
        self._deadline_s = deadline_s
        self._host = socket.gethostname()

    def send(self, records: Iterable[Record], process_id: int) -> None:
        """Send messages; returns once the repository has read them all.

        Raises
        ------
        PeerError
            It cannot be reached, is another one, or did not take everything.
        """
        sock = self._connect()
        try:
            for record in records:
                sock.sendall(frame(to_syslog(record, self._host, process_id)))
            _finish(sock)
        except OSError as error:
            text = "the audit repository did not take the messages"
            raise PeerError(f"{text}: {type(error).__name__}") from error
        finally:
            with suppress(OSError):
                sock.close()

    def _connect(self) -> ssl.SSLSocket:
        place = (self._settings.host, self._settings.port)
        try:
            plain = socket.create_connection(place, self._deadline_s)
        except OSError as error:
            raise PeerError(f"cannot connect to {place[0]}:{place[1]}") from error
        try:
            sock = connect(plain, self._tls, _identity(self._settings), self._deadline_s)
        except HandshakeRefused as refused:
            raise PeerError(f"TLS: {refused}", hint=refused.hint) from refused
        sock.settimeout(self._deadline_s)
        return sock


def _finish(sock: ssl.SSLSocket) -> None:
    """Close in both directions; only an orderly end means that everything was read."""
    try:
        sock.unwrap()
    except ssl.SSLError as error:
        # many end TCP without saying so in TLS: the end of the stream, not a reset, is enough
        if error.reason != "UNEXPECTED_EOF_WHILE_READING" and not isinstance(
            error, ssl.SSLEOFError | ssl.SSLZeroReturnError
        ):
            raise


def _identity(settings: SyslogSettings) -> PeerSettings:
    """Return what the repository's certificate must show: by default the host's name."""
    host = settings.host
    named = (f"CN={host}", f"{'IP' if is_address(host) else 'DNS'}:{host}")
    return PeerSettings(
        ae_title="-", host=host, port=settings.port, certificate=settings.certificate or named
    )
