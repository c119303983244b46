"""TLS by the BCP 195 profiles (PS3.15 annexes B.12 and B.13): contexts, reload, expiry.

Every new connection asks for the context, so certificates that were replaced count from the next
one on, without a restart; those open stay as they are.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from node.certificates import Certificate, read_file
from node.clock import Clock, as_datetime
from node.config import TlsSettings
from node.errors import TlsError
from node.keys import check_key, read_password
from node.logs import get_logger, say
from node.transport import HurriedTlsSocket

_LOG = get_logger("tls")
_DAY_S = 86_400.0
_CERTIFICATE, _AUTHORITIES = "node.tls.certificate", "node.tls.ca"

CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
"""TLS 1.2 suites of RFC 9325 section 4.2; those of TLS 1.3 are all strong."""

_VERIFY = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}
_LOAD_FAULTS = {
    "EE_KEY_TOO_SMALL": ("the key of the certificate is too short", "RSA needs 2048 bits or more"),
    "CA_KEY_TOO_SMALL": ("the key of an authority is too short", "RSA needs 2048 bits or more"),
    "CA_MD_TOO_WEAK": ("the certificate is signed with a weak digest", "ask for one with SHA-256"),
}


@dataclass(frozen=True)
class _Loaded:
    """What one reading of the files gave."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    certificates: tuple[tuple[str, Certificate], ...]


class Tls:
    """The contexts of the node, and the files that they come from.

    Parameters
    ----------
    settings
        The `node.tls` section.
    clock
        The time by which certificates expire.

    Raises
    ------
    TlsError
        A file cannot be read, or certificate and key are not fit for use.
    """

    def __init__(self, settings: TlsSettings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._seen = self._signature()
        self._warned_at: dict[str, float] = {}
        self._loaded = self._load()

    @property
    def server(self) -> ssl.SSLContext:
        """The context for callers, from the latest good files."""
        return self._loaded.server

    @property
    def client(self) -> ssl.SSLContext:
        """The context for our own calls."""
        return self._loaded.client

    def certificates(self) -> tuple[tuple[str, Certificate], ...]:
        """Return the certificates in use, each with the setting that it comes from."""
        return self._loaded.certificates

    def now(self) -> datetime:
        """Return the time by which certificates expire."""
        return as_datetime(self._clock.now())

    def is_expiring(self, certificate: Certificate) -> bool:
        """Tell whether it is time to replace a certificate."""
        return certificate.time_left(self.now()).days < self.settings.warn_days

    def step(self) -> bool:
        """Reload files that changed, and warn once a day of what expires soon."""
        changed = self._signature() != self._seen
        if changed:
            self.reload()
        for setting, certificate in self.certificates():
            self.warn(setting, certificate)
        return changed

    def reload(self) -> bool:
        """Read the files again; files that are not fit for use leave what was loaded in place."""
        self._seen = self._signature()
        try:
            self._loaded = self._load()
        except TlsError as error:
            hint = f"{error.hint}; the certificates loaded before stay in use"
            say(_LOG, "tls.refused", level=logging.ERROR, reason=str(error), hint=hint)
            return False
        self._warned_at.clear()
        say(_LOG, "tls.loaded", files=len(self._loaded.certificates))
        return True

    def warn(self, whose: str, certificate: Certificate) -> None:
        """Log a certificate that expires soon, each at most once a day."""
        now = self._clock.now()
        if self.is_expiring(certificate) and now - self._warned_at.get(whose, 0.0) >= _DAY_S:
            self._warned_at[whose] = now
            say(
                _LOG,
                "tls.expiring",
                level=logging.WARNING,
                certificate=whose,
                fingerprint=certificate.fingerprint[:16],
                days_left=certificate.time_left(self.now()).days,
                hint="replace the file; no restart is needed",
            )

    def _files(self) -> Iterator[tuple[str, Path]]:
        for name in ("certificate", "key", "key_password_file", "ca"):
            path = getattr(self.settings, name)
            if path is not None:
                yield f"node.tls.{name}", path

    def _signature(self) -> tuple[tuple[int, int, int], ...]:
        """Return what changes when a file is written or replaced."""
        return tuple(_signature_of(path) for _, path in self._files())

    def _load(self) -> _Loaded:
        files = dict(self._files())
        shown = {name: files[name] for name in files if name.endswith((".certificate", ".ca"))}
        certificates = [
            (name, one) for name, path in shown.items() for one in read_file(path, name)
        ]
        for name, one in certificates:
            if name == _CERTIFICATE:
                self._check_date(one)
        server = self._context(ssl.PROTOCOL_TLS_SERVER)
        server.verify_mode = _VERIFY[self.settings.client_certificates]
        client = self._context(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False  # node.certificates.speaks_for does it, by the AE title
        client.verify_mode = ssl.CERT_REQUIRED
        return _Loaded(server, client, tuple(certificates))

    def _check_date(self, certificate: Certificate) -> None:
        now = self.now()
        if certificate.not_after < now:
            reason = f"expired on {certificate.not_after:%Y-%m-%d}"
        elif certificate.not_before > now:
            reason = f"is valid from {certificate.not_before:%Y-%m-%d} on, not yet"
        else:
            return
        hint = "put a renewed certificate in its place, or set the clock right"
        raise TlsError(f"node.tls.certificate: {certificate.subject} {reason}", hint=hint)

    def _context(self, protocol: int) -> ssl.SSLContext:
        """Return a context of the profile with our certificate and authorities."""
        context = strict_context(protocol)
        settings = self.settings
        if settings.ca is not None:
            _load_authorities(context, settings.ca)
        if settings.certificate is not None and settings.key is not None:
            password = read_password(settings.key_password_file)
            check_key(settings.key, password, read_file(settings.certificate, _CERTIFICATE)[0])
            try:
                context.load_cert_chain(settings.certificate, settings.key, password or b"")
            except ssl.SSLError as error:
                raise _load_fault(_CERTIFICATE, error) from error
        return context


def strict_context(protocol: int) -> ssl.SSLContext:
    """Return a context that speaks TLS 1.2 and 1.3 with strong ciphers alone.

    Sessions are not resumed by ticket: each connection shows its certificate, so one that is no
    longer trusted is refused at the next.
    """
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(CIPHERS) + ":@SECLEVEL=2")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
    context.sslsocket_class = HurriedTlsSocket
    return context


def _signature_of(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise _load_fault(_AUTHORITIES, error) from error


def _load_fault(setting: str, error: ssl.SSLError) -> TlsError:
    """Return the error for what OpenSSL did not take."""
    text, hint = _LOAD_FAULTS.get(error.reason or "", (f"OpenSSL says {error.reason}", ""))
    return TlsError(f"{setting}: {text}", hint=hint or "are the files the ones that you mean")
