"""The allow-list: calling AE title and address together."""

from __future__ import annotations

from typing import Any

import pytest

from node.config import PeerSettings
from node.peers import Peer, PeerBook, Refusal, plain_address


def _book(**changes: Any) -> PeerBook:
    settings = {"ae_title": "PACS", "host": "pacs.example", "port": 104} | changes
    return PeerBook(
        {"main": PeerSettings.model_validate(settings)},
        resolver=lambda host: frozenset({"10.0.0.5"} if host == "pacs.example" else {host}),
    )


def test_a_known_title_from_its_host_is_a_peer() -> None:
    peer = _book().find("PACS", "10.0.0.5")
    assert isinstance(peer, Peer)
    assert peer.name == "main"


def test_an_unknown_title_is_told_which_line_would_let_it_in() -> None:
    refusal = _book().find("EVIL", "10.0.0.5")
    assert isinstance(refusal, Refusal)
    assert refusal.code == (1, 1, 3)
    assert "ae_title: EVIL" in refusal.hint


def test_a_known_title_from_elsewhere_is_told_which_line_would_let_it_in() -> None:
    refusal = _book().find("PACS", "10.9.9.9")
    assert isinstance(refusal, Refusal)
    assert refusal.hint == "add 10.9.9.9 to `peers.main.cidr`"


@pytest.mark.parametrize(
    ("address", "is_peer"), [("10.1.0.7", True), ("10.2.0.7", False), ("fd00::7", True)]
)
def test_networks_replace_the_host(address: str, is_peer: bool) -> None:
    found = _book(cidr=["10.1.0.0/16", "fd00::/8"]).find("PACS", address)
    assert isinstance(found, Peer) is is_peer


def test_an_ipv4_address_in_ipv6_wrapping_is_the_ipv4_address() -> None:
    assert plain_address("::ffff:10.0.0.5") == "10.0.0.5"
    assert plain_address("fe80::1%eth0") == "fe80::1"
