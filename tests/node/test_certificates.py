"""A certificate names a peer, or it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from node.certificates import Certificate, read_file, speaks_for
from node.config import PeerSettings
from node.errors import TlsError
from tests.pki import Authority, Issued


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


def _peer(*rules: str) -> PeerSettings:
    return PeerSettings(ae_title="PACS", host="10.0.0.5", port=104, certificate=rules)


def _read(issued: Issued) -> Certificate:
    (certificate,) = read_file(issued.certificate, "node.tls.certificate")
    return certificate


@pytest.mark.parametrize(
    ("common_name", "sans", "rules", "is_bound"),
    [
        ("PACS", [], (), True),
        ("10.0.0.5", [], (), True),
        ("x", ["10.0.0.5"], (), True),
        ("x", ["PACS"], (), True),
        ("pacs", [], (), False),
        ("CT1", [], (), False),
        ("CT1", ["10.0.0.6"], (), False),
        ("PACS", [], ("CN=Other",), False),
        ("Other", [], ("CN=Other",), True),
        ("x", ["pacs.hospital.example"], ("DNS:PACS.hospital.example",), True),
        ("x", ["2001:db8::1"], ("IP:2001:0db8:0:0:0:0:0:1",), True),
        ("x", ["10.0.0.5"], ("IP:10.0.0.6",), False),
        ("CT1", [], ("any",), True),
        ("PACS", [], (f"sha256:{'0' * 64}",), False),
    ],
)
def test_a_certificate_speaks_for_the_peer_that_it_names(
    authority: Authority, common_name: str, sans: list[str], rules: tuple[str, ...], is_bound: bool
) -> None:
    issued = authority.issue(common_name, sans=sans)
    assert speaks_for(_read(issued), _peer(*rules)) is is_bound


def test_a_fingerprint_is_taken_with_colons_and_in_any_case(authority: Authority) -> None:
    issued = authority.issue("anything")
    digits = issued.fingerprint.upper()
    shown = ":".join(digits[i : i + 2] for i in range(0, 64, 2))
    assert speaks_for(_read(issued), _peer(f"sha256:{shown}"))


@given(common_name=st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1))
def test_no_other_name_speaks_for_a_peer(common_name: str) -> None:
    from datetime import UTC, datetime

    at = datetime(2027, 1, 1, tzinfo=UTC)
    certificate = Certificate("", frozenset({f"CN={common_name}"}), "0" * 64, at, at)
    assert speaks_for(certificate, _peer()) is (common_name in {"PACS", "10.0.0.5"})


@pytest.mark.parametrize("rule", ["", "PACS", "sha256:12", "CN=", "DNS:", "O=Hospital"])
def test_a_rule_that_means_nothing_is_refused(rule: str) -> None:
    with pytest.raises(ValidationError):
        _peer(rule)


def test_a_file_without_a_certificate_is_named_with_its_setting(tmp_path: Path) -> None:
    path = tmp_path / "empty.pem"
    path.write_text("nothing")
    with pytest.raises(TlsError, match=r"node\.tls\.ca: .* holds no certificate"):
        read_file(path, "node.tls.ca")
    with pytest.raises(TlsError, match="No such file"):
        read_file(tmp_path / "absent.pem", "node.tls.ca")
