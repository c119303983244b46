"""The verbs of `cxr-node` that are about peers: try them out, and say why one is refused."""

from __future__ import annotations

import argparse
import json
from typing import Any

from node import logs
from node.checks import check_peer
from node.cli_open import database_of, settings_of
from node.cli_output import show_checks, show_table
from node.cli_studies import REJECTION_COLUMNS, presentable
from node.clock import SystemClock
from node.config import PeerSettings, Settings
from node.errors import NodeError, UnknownName
from node.explain import explain
from node.journal import Journal

_PEER_COLUMNS = {
    "name": "peer",
    "place": "called at",
    "allow": "may",
    "send": "is sent",
    "last_at": "last image",
}


class AddressUnfit(NodeError):
    """The address is none."""

    default_hint = "write an IP address, as in 10.0.0.5"


def add_verbs(
    verbs: Any, common: argparse.ArgumentParser, machine: argparse.ArgumentParser
) -> None:
    """Add the verbs to the command line."""
    parents = [common, machine]
    echo = verbs.add_parser("echo", parents=parents, help="verify a peer by C-ECHO")
    echo.add_argument("peer", metavar="PEER", help="its name under `peers:`")
    peers = verbs.add_parser("peers", help="list the peers, or try one out step by step")
    actions = peers.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", parents=parents, help="who they are, and when they last sent")
    test = actions.add_parser(
        "test", parents=parents, help="network, TLS, C-ECHO, contexts; with --store a phantom too"
    )
    test.add_argument("peer", metavar="PEER", help="its name under `peers:`")
    test.add_argument(
        "--store", action="store_true", help="leave a marked phantom there, ask for a commitment"
    )
    why = verbs.add_parser(
        "explain", parents=parents, help="say who was turned away and why, or would be"
    )
    why.add_argument("--calling", metavar="AET", help="a caller's AE title")
    why.add_argument("--called", metavar="AET", help="the title that it asks for (default: ours)")
    why.add_argument("--address", metavar="IP", help="where it calls from")
    why.add_argument("--limit", type=int, default=100, help="refusals shown (default: 100)")


def _known(settings: Settings, name: str) -> PeerSettings:
    """Return a peer of the configuration.

    Raises
    ------
    UnknownName
        There is none of that name.
    """
    peer = settings.peers.get(name)
    if peer is None:
        known = ", ".join(settings.peers) or "none"
        raise UnknownName(f"there is no peer {name!r}", hint=f"known peers: {known}")
    return peer


def _echo(options: argparse.Namespace) -> int:
    """Verify one peer."""
    settings = settings_of(options)
    logs.silence_libraries()
    peer = _known(settings, options.peer)
    return show_checks([check_peer(options.peer, peer, settings.node)], options)


def _peers(options: argparse.Namespace) -> int:
    """List the peers, or try one out."""
    settings = settings_of(options)
    logs.silence_libraries()
    return _test(settings, options) if options.action == "test" else _list(settings, options)


def _test(settings: Settings, options: argparse.Namespace) -> int:
    from node.peer_trial import PeerTrial  # what builds objects would slow down every verb
    from node.scu import Scu
    from node.tls import Tls

    _known(settings, options.peer)
    clock = SystemClock()
    tls = Tls(settings.node.tls, clock)
    try:
        database = database_of(settings)
    except UnknownName:
        database = None
    trial = PeerTrial(settings, Scu(settings.node, tls), tls, clock, database)
    return show_checks(list(trial.steps(options.peer, store=options.store)), options)


def _list(settings: Settings, options: argparse.Namespace) -> int:
    last = Journal(database_of(settings)).last_images()
    rows = [
        {
            "name": name,
            "place": f"{peer.ae_title}@{peer.host}:{peer.port}",
            "allow": ", ".join(peer.allow),
            "send": ", ".join(peer.send),
            "last_at": last.get(name),
        }
        for name, peer in settings.peers.items()
    ]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        show_table("peers", _PEER_COLUMNS, rows)
    return 0


def _explain(options: argparse.Namespace) -> int:
    """Say what a caller would be answered, or who was turned away."""
    settings = settings_of(options)
    if not options.calling:
        rows = Journal(database_of(settings)).rejections(limit=options.limit)
        shown = [presentable(row) for row in rows]
        if options.json:
            print(json.dumps(shown, indent=2))
        else:
            show_table("turned away", REJECTION_COLUMNS, shown)
        return 0
    called = options.called or settings.node.ae_title
    try:
        verdict = explain(settings, options.calling, called, options.address or "")
    except ValueError:
        raise AddressUnfit("--address is missing or no IP address") from None
    if options.json:
        print(json.dumps(vars(verdict), indent=2))
    else:
        print(verdict.text + (f" (hint: {verdict.hint})" if verdict.hint else ""))
    return 0 if verdict.is_let_in else 1


VERBS = {"echo": _echo, "peers": _peers, "explain": _explain}
