"""Which presentation contexts and roles a peer gets (PS3.8 section 9.3.3.2, PS3.7 D.3). Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from node.config import PeerRight
from node.pdu import AnsweredContext, AssociateRequest, ProposedContext, Role
from node.services import Service
from node.sop_classes import IMAGE_CLASSES, TRANSFER_SYNTAXES, UNCOMPRESSED, VERIFICATION

_ACCEPTED, _NO_ABSTRACT_SYNTAX, _NO_TRANSFER_SYNTAX = 0, 3, 4

Offer = Mapping[str, Collection[str]]
"""For each SOP class the transfer syntaxes that we take."""


@dataclass(frozen=True)
class Offers:
    """What the node offers, by the right that it asks for."""

    by_right: Mapping[str, Offer]
    service_classes: frozenset[str]

    def to(self, rights: Collection[PeerRight]) -> dict[str, Collection[str]]:
        """Return what a peer with these rights may use."""
        return {
            sop_class_uid: syntaxes
            for right in rights
            for sop_class_uid, syntaxes in self.by_right.get(right, {}).items()
        }


def offers_of(services: Sequence[Service]) -> Offers:
    """Return what a node with these services offers, beside verification and storage."""
    by_right: dict[str, dict[str, Collection[str]]] = {
        "echo": {VERIFICATION: UNCOMPRESSED},
        "store": dict.fromkeys(IMAGE_CLASSES, TRANSFER_SYNTAXES),
    }
    for service in services:
        by_right.setdefault(service.right, {})[service.sop_class_uid] = UNCOMPRESSED
    return Offers(by_right, frozenset(service.sop_class_uid for service in services))


def answer_contexts(request: AssociateRequest, offer: Offer) -> tuple[AnsweredContext, ...]:
    """Answer every proposed context; of its transfer syntaxes the first that we take counts."""
    return tuple(_answer(context, offer) for context in request.contexts)


def _answer(context: ProposedContext, offer: Offer) -> AnsweredContext:
    syntaxes = offer.get(context.abstract_syntax)
    first = context.transfer_syntaxes[0]
    if syntaxes is None:
        return AnsweredContext(context.context_id, _NO_ABSTRACT_SYNTAX, first)
    chosen = next((one for one in context.transfer_syntaxes if one in syntaxes), None)
    if chosen is None:
        return AnsweredContext(context.context_id, _NO_TRANSFER_SYNTAX, first)
    return AnsweredContext(context.context_id, _ACCEPTED, chosen, context.abstract_syntax)


def answer_roles(request: AssociateRequest, service_classes: Collection[str]) -> dict[str, Role]:
    """Grant the roles that are asked for, for services alone.

    A storage commitment SCP that reports over an association of its own asks for the SCP role
    (PS3.4 section J.3.3). For every other class the default stands: the caller is the SCU.
    """
    return {uid: role for uid, role in request.roles.items() if uid in service_classes}
