"""Where drafts go: the peers by their names, and the channels beside them by theirs."""

from __future__ import annotations

from node.carrier import Carrier
from node.config import Settings
from node.config_outputs import CHANNELS, address_of
from node.fhir_carrier import FhirCarrier
from node.mllp import MllpCarrier
from node.scu import Scu
from node.store_carrier import StoreCarrier
from node.stow import StowCarrier


def sent_to(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return, for each destination, the kinds of output that go there."""
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


def destinations_of(settings: Settings) -> dict[str, list[str]]:
    """Return, for each kind of output, the names of the destinations that get it."""
    sent = sent_to(settings)
    kinds = sorted({kind for kinds in sent.values() for kind in kinds})
    return {kind: [name for name in sent if kind in sent[name]] for kind in kinds}


def carriers_of(settings: Settings, scu: Scu) -> dict[str, Carrier]:
    """Return the way to each destination that gets something."""
    peers = settings.peers
    ways = channels_of(settings)
    return {
        name: ways[name] if name in ways else StoreCarrier(peers[name], scu)
        for name in sent_to(settings)
    }


def channels_of(settings: Settings) -> dict[str, Carrier]:
    """Return the way to each destination that is no peer."""
    outputs, sent = settings.outputs, sent_to(settings)
    ways: dict[str, Carrier] = {
        "stow": StowCarrier(outputs.stow),
        "hl7": MllpCarrier(outputs.hl7),
        "fhir": FhirCarrier(outputs.fhir),
    }
    return {name: way for name, way in ways.items() if name in sent}
