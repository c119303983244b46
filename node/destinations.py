"""Where drafts go: the peers by their names, and the channels beside them by theirs."""

from __future__ import annotations

from datetime import datetime

from node.carrier import Carrier
from node.config import Settings
from node.config_kinds import CHANNELS
from node.config_outputs import address_of
from node.fhir_carrier import FhirCarrier
from node.hours import end_after, is_within
from node.mllp import MllpCarrier
from node.routing import SendMap
from node.scu import Scu
from node.store_carrier import StoreCarrier
from node.stow import StowCarrier


def sent_to(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return, for each destination, the kinds of output that go there where no rule matches."""
    outputs = settings.outputs
    channels = {
        "stow": outputs.stow.send,
        "hl7": ("hl7",),
        "fhir": ("fhir",),
    }
    everywhere: dict[str, tuple[str, ...]] = {
        **{name: peer.send for name, peer in settings.peers.items()},
        **{name: channels[name] for name in CHANNELS if address_of(outputs, name)},
    }
    return {name: kinds for name, kinds in everywhere.items() if kinds}


def reached(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return, for each destination, the kinds of output that may go there, by some rule or none."""
    all_ways: list[SendMap] = [sent_to(settings)]
    all_ways += [rule.send or {} for rule in settings.outputs.rules]
    names = dict.fromkeys(name for send in all_ways for name, kinds in send.items() if kinds)
    return {
        name: tuple(dict.fromkeys(kind for send in all_ways for kind in send.get(name, ())))
        for name in names
    }


def quiet_until(settings: Settings, name: str, now: datetime) -> datetime | None:
    """Return when the quiet hours of a destination end, None where there are none now.

    Parameters
    ----------
    now
        Local time.
    """
    outputs = settings.outputs
    hours = {
        **{name: peer.quiet_hours for name, peer in settings.peers.items()},
        "stow": outputs.stow.quiet_hours,
        "hl7": outputs.hl7.quiet_hours,
        "fhir": outputs.fhir.quiet_hours,
    }
    quiet = hours.get(name, ())
    return end_after(quiet, now) if is_within(quiet, now) else None


def carriers_of(settings: Settings, scu: Scu) -> dict[str, Carrier]:
    """Return the way to each destination that may get something."""
    peers = settings.peers
    ways = channels_of(settings)
    return {
        name: ways[name] if name in ways else StoreCarrier(peers[name], scu)
        for name in reached(settings)
    }


def channels_of(settings: Settings) -> dict[str, Carrier]:
    """Return the way to each destination that is no peer."""
    outputs, sent = settings.outputs, reached(settings)
    ways: dict[str, Carrier] = {
        "stow": StowCarrier(outputs.stow),
        "hl7": MllpCarrier(outputs.hl7),
        "fhir": FhirCarrier(outputs.fhir),
    }
    return {name: way for name, way in ways.items() if name in sent}
