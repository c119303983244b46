"""The private key: read from files alone, and proved to be the certificate's before it is used."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from node.certificates import Certificate, digest_of, unreadable
from node.errors import TlsError

_SIGNING = (RSAPrivateKey, EllipticCurvePrivateKey, Ed25519PrivateKey, Ed448PrivateKey)
"""What a certificate of TLS can be for."""


def read_password(path: Path | None) -> bytes | None:
    """Read the password of the key, without the newline that editors add."""
    if path is None:
        return None
    try:
        return path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise unreadable(path, "node.tls.key_password_file", error) from error


def check_key(path: Path, password: bytes | None, certificate: Certificate) -> None:
    """Open the key once by ourselves: OpenSSL's errors do not say what is wrong with it."""
    key = _open_key(path, password)
    if not isinstance(key, _SIGNING) or digest_of(key.public_key()) != certificate.key_digest:
        hint = "name the key that the certificate was requested with"
        raise TlsError(f"node.tls.key: {path} does not belong to the certificate", hint=hint)


def _open_key(path: Path, password: bytes | None) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(path.read_bytes(), password)
    except OSError as error:
        raise unreadable(path, "node.tls.key", error) from error
    except TypeError as error:
        needed = password is None
        reason = "is encrypted" if needed else "is not encrypted, yet a password is given"
        hint = "set node.tls.key_password_file" if needed else "drop node.tls.key_password_file"
        raise TlsError(f"node.tls.key: {path} {reason}", hint=hint) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        hint = "it must be a PEM private key" + (", and the password its own" if password else "")
        raise TlsError(f"node.tls.key: {path} cannot be opened", hint=hint) from error
