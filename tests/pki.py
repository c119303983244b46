"""A certificate authority for tests: good certificates, and every kind of bad one."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key as files."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        parsed = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        return parsed.fingerprint(hashes.SHA256()).hex()


def name_of(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def alternative(name: str) -> x509.GeneralName:
    """Return a subject alternative name; an address is an address."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def new_key(*, rsa_bits: int = 0) -> Key:
    if rsa_bits:
        return rsa.generate_private_key(public_exponent=65537, key_size=rsa_bits)
    return ec.generate_private_key(ec.SECP256R1())


class Authority:
    """Signs certificates."""

    def __init__(self, folder: Path, name: str = "Hospital CA") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = new_key(rsa_bits=2048)
        self._name = name_of(name)
        self._certificate = self._sign(
            self._builder(name, self._key, -DAY, 3650 * DAY).add_extension(
                x509.BasicConstraints(ca=True, path_length=None), critical=True
            )
        )
        self.path = folder / "ca.pem"
        self.path.write_bytes(self._certificate.public_bytes(Encoding.PEM))

    def issue(
        self,
        common_name: str,
        *,
        sans: Sequence[str] = (),
        starts: timedelta = -DAY,
        ends: timedelta = 365 * DAY,
        rsa_bits: int = 0,
        self_signed: bool = False,
        password: str = "",
        stem: str = "",
    ) -> Issued:
        """Write a certificate for a name and its key."""
        key = new_key(rsa_bits=rsa_bits)
        builder = self._builder(common_name, key, starts, ends, self_signed=self_signed)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if sans:
            names = x509.SubjectAlternativeName([alternative(name) for name in sans])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(key, hashes.SHA256()) if self_signed else self._sign(builder)
        return self._write(stem or common_name, certificate, key, password)

    def _builder(
        self,
        common_name: str,
        key: Key,
        starts: timedelta,
        ends: timedelta,
        *,
        self_signed: bool = False,
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name_of(common_name))
            .issuer_name(name_of(common_name) if self_signed else self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + starts)
            .not_valid_after(now + ends)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, stem: str, certificate: x509.Certificate, key: Key, password: str) -> Issued:
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        issued = Issued(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")
        issued.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        encoded = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        issued.key.write_bytes(encoded)
        return issued


def wrong_ca(_authority: Authority, folder: Path, title: str = "PACS") -> Issued:
    """Return a certificate of an authority that nobody was told to trust."""
    return Authority(folder / "other", "Other CA").issue(title)


def expired(authority: Authority, _folder: Path, title: str = "PACS") -> Issued:
    return authority.issue(title, starts=-9 * DAY, ends=-DAY, stem="expired")


def self_signed(authority: Authority, _folder: Path, title: str = "PACS") -> Issued:
    return authority.issue(title, self_signed=True, stem="self-signed")
