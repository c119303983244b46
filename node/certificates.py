"""X.509 certificates as the node sees them: what they say, and whether they name a peer.

Pure but for `read_file`. Who signed a certificate and whether it is in date is checked in the
handshake (`node.tls`); this module ties it to an AE title, which TLS knows nothing of.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from node.config import PeerSettings
from node.errors import TlsError


@dataclass(frozen=True)
class Certificate:
    """What a certificate says."""

    subject: str
    """Distinguished name (RFC 4514)."""
    names: frozenset[str]
    """What it names, as rules of the configuration: `CN=…`, `DNS:…`, `IP:…`, `URI:…`."""
    fingerprint: str
    """SHA-256 of its encoding, 64 hexadecimal digits."""
    not_before: datetime
    not_after: datetime
    key_digest: str = ""
    """SHA-256 of its public key."""

    def time_left(self, now: datetime) -> timedelta:
        """Return the time until it expires; negative after that."""
        return self.not_after - now

    def lifetime_text(self, now: datetime) -> str:
        """Say until when it is good."""
        days = self.time_left(now).days
        return f"expires on {self.not_after:%Y-%m-%d}, in {days} days"


def from_der(encoded: bytes) -> Certificate:
    """Return what an encoded certificate says.

    Raises
    ------
    ValueError
        It is malformed.
    """
    return _read(x509.load_der_x509_certificate(encoded))


def read_file(path: Path, setting: str) -> tuple[Certificate, ...]:
    """Read every certificate of a PEM file.

    Parameters
    ----------
    setting
        Dotted path of the setting that names the file, for the error.

    Raises
    ------
    TlsError
        The file cannot be read or holds no certificate.
    """
    try:
        return tuple(map(_read, x509.load_pem_x509_certificates(path.read_bytes())))
    except OSError as error:
        raise unreadable(path, setting, error) from error
    except ValueError as error:
        hint = "it must hold one or more `-----BEGIN CERTIFICATE-----` blocks"
        raise TlsError(f"{setting}: {path} holds no certificate", hint=hint) from error


def unreadable(path: Path, setting: str, error: OSError) -> TlsError:
    """Return the error for a file that cannot be read."""
    hint = "does the file exist, and may the user that the node runs as read it"
    return TlsError(f"{setting}: {path}: {error.strerror}", hint=hint)


def _read(parsed: x509.Certificate) -> Certificate:
    return Certificate(
        subject=parsed.subject.rfc4514_string(),
        names=frozenset(_names(parsed)),
        fingerprint=hashlib.sha256(parsed.public_bytes(Encoding.DER)).hexdigest(),
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        key_digest=digest_of(parsed.public_key()),
    )


def digest_of(key: CertificatePublicKeyTypes) -> str:
    """Return the SHA-256 of a public key."""
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()


def _names(parsed: x509.Certificate) -> Iterator[str]:
    """Yield the common names and alternative names."""
    for attribute in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        yield f"CN={attribute.value!s}"
    try:
        extension = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return
    alternatives = extension.value
    yield from (f"DNS:{name.lower()}" for name in alternatives.get_values_for_type(x509.DNSName))
    yield from (f"IP:{address}" for address in alternatives.get_values_for_type(x509.IPAddress))
    uris = alternatives.get_values_for_type(x509.UniformResourceIdentifier)
    yield from (f"URI:{uri}" for uri in uris)


def rules_for(peer: PeerSettings) -> frozenset[str]:
    """Return what a peer's certificate must show, any one of it.

    Without rules of its own a peer is known by its AE title, as a common name, DNS name or URI,
    or by its host.
    """
    if peer.certificate:
        return frozenset(_canonical(rule) for rule in peer.certificate)
    title = peer.ae_title
    rules = {f"CN={title}", f"CN={peer.host}", f"URI:{title}"}
    rules |= {_canonical(f"DNS:{title}"), _canonical(f"DNS:{peer.host}")}
    return frozenset(rules | _address_rules(peer.host))


def _canonical(rule: str) -> str:
    """Write a rule as certificates are read: DNS names in lower case, addresses in full."""
    kind, _, value = rule.partition(":")
    if kind == "DNS":
        return f"DNS:{value.lower()}"
    return next(iter(_address_rules(value)), rule) if kind == "IP" else rule


def is_address(host: str) -> bool:
    """Tell whether a host is written as an IP address."""
    return bool(_address_rules(host))


def _address_rules(host: str) -> frozenset[str]:
    try:
        return frozenset({f"IP:{ipaddress.ip_address(host)}"})
    except ValueError:
        return frozenset()


def speaks_for(certificate: Certificate, peer: PeerSettings) -> bool:
    """Tell whether a certificate that our authority vouches for is the peer's."""
    rules = rules_for(peer)
    shown = {*certificate.names, f"sha256:{certificate.fingerprint}"}
    return "any" in rules or not rules.isdisjoint(shown)
