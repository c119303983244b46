"""What can leave the node, and the destinations beside the peers: names that settings share."""

from __future__ import annotations

from typing import Final, Literal, get_args

OutputKind = Literal["report", "findings", "synthetic", "counterfactual", "heatmap", "pdf"]
"""The kinds of DICOM objects: what a peer or a DICOMweb server may be sent."""
MessageKind = Literal["hl7", "fhir"]
"""The kinds of messages: each goes to the destination of its own name."""

Kind = Literal[OutputKind, MessageKind]
"""All kinds of output."""

OBJECTS: Final[tuple[OutputKind, ...]] = get_args(OutputKind)
MESSAGES: Final[tuple[MessageKind, ...]] = get_args(MessageKind)

CHANNELS: Final = ("stow", "hl7", "fhir")
"""The destinations beside the peers: no peer has the name of one."""

WEB: Final = "dicomweb"
"""How the timeline calls the DICOMweb server that is asked for priors."""
RESERVED: Final = (*CHANNELS, WEB)
"""What no peer may be called: the timeline names other things so."""


def kinds_for(destination: str) -> tuple[str, ...]:
    """Return what a destination can be sent: objects, or the message of its own name."""
    return (destination,) if destination in MESSAGES else OBJECTS
