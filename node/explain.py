"""Why a caller is refused, and which line of the configuration would let it in."""

from __future__ import annotations

from dataclasses import dataclass

from node.admission import called_refusal
from node.config import Settings
from node.peers import PeerBook, Refusal, plain_address


@dataclass(frozen=True)
class Verdict:
    """What would become of an association request."""

    is_let_in: bool
    text: str
    hint: str = ""


def explain(settings: Settings, calling_aet: str, called_aet: str, address: str) -> Verdict:
    """Say what the node would answer a caller, before certificates and limits.

    Raises
    ------
    ValueError
        The address is none.
    """
    found = PeerBook(settings.peers).find(calling_aet, plain_address(address))
    refused = found if isinstance(found, Refusal) else called_refusal(settings.node, called_aet)
    if refused is not None:
        return Verdict(False, refused.reason, refused.hint)
    assert not isinstance(found, Refusal)
    rights = ", ".join(found.settings.allow)
    certificate = "; over TLS its certificate counts as well" if settings.node.tls.enabled else ""
    return Verdict(True, f"let in as peer {found.name}, for {rights}{certificate}")
