"""Errors of the node, as branches of `engine.errors`.

::

    CxrError
    ├── ConfigError
    │   └── ConfigInvalid     the configuration file has problems; all of them are listed
    ├── EngineError
    │   └── InferenceFault    the process that the model runs in died, hung or spoke nonsense
    └── NodeError             the node could not do its part
        ├── StorageError      a disk or ledger refused
        │   ├── DiskFull
        │   ├── LedgerError
        │   └── NodeAlreadyRuns
        ├── IntakeRefused     a received instance is not taken in (carries a C-STORE status)
        ├── AssociationEnded  an association that a peer opened is over
        │   ├── PeerReleased
        │   ├── PeerAborted
        │   ├── ConnectionLost      it was closed, or was too slow
        │   └── ProtocolFault       what came breaks the protocol (carries the reason of our abort)
        ├── PeerError         a peer could not be reached or would not talk
        ├── TlsError          a certificate, key or authority cannot be used
        │   └── HandshakeRefused    a TLS handshake came to nothing
        ├── DraftRefused      a study gets no draft; the reason is kept
        └── UnknownName       a peer or study named on the command line does not exist
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import ConfigError, CxrError, EngineError

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
MISMATCH = 0xA900
COERCED = 0xB000
CANNOT_UNDERSTAND = 0xC000
"""C-STORE response statuses (PS3.4 table B.2-1)."""


@dataclass(frozen=True)
class ConfigProblem:
    """One fault in the configuration: where it is, what it is, what cures it."""

    path: str
    line: int | None
    message: str
    hint: str = ""
    origin: str = "config"

    def __str__(self) -> str:
        """Render the problem as one line."""
        place = f"{self.origin}:{self.line}" if self.line else self.origin
        cure = f" (hint: {self.hint})" if self.hint else ""
        return f"{place}: {self.path or '(top level)'}: {self.message}{cure}"


class ConfigInvalid(ConfigError):
    """The configuration is not valid."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class InferenceFault(EngineError):
    """The process that the model runs in did not survive."""

    default_hint = "the node starts it again; look for `inference.stopped` in the log"


class NodeError(CxrError):
    """The node could not do its part."""


class StorageError(NodeError):
    """The disk did not take the file."""

    default_hint = "look at `node.storage.root`: does it exist, is it writable, is there room"


class DiskFull(StorageError):
    """Free disk space is below the watermark."""

    default_hint = "free some space, or lower node.storage.free_min_gb and free_min_percent"


class LedgerError(StorageError):
    """The ledger did not take the record."""


class NodeAlreadyRuns(StorageError):
    """Another node already works on this storage root."""

    default_hint = "stop it, or give this node its own node.storage.root"


class IntakeRefused(NodeError):
    """The instance is not taken in."""

    def __init__(self, status: int, reason: str, *, hint: str = "") -> None:
        super().__init__(reason, hint=hint)
        self.status = status


class AssociationEnded(NodeError):
    """The association is over."""


class PeerReleased(AssociationEnded):
    """The peer released the association."""


class PeerAborted(AssociationEnded):
    """The association was aborted."""


class ConnectionLost(AssociationEnded):
    """The connection was lost."""


class ProtocolFault(AssociationEnded):
    """What came in breaks the protocol."""

    def __init__(self, reason: str, abort_reason: int) -> None:
        super().__init__(reason)
        self.abort_reason = abort_reason


class PeerError(NodeError):
    """The peer could not be reached."""


class TlsError(NodeError):
    """A certificate, key or authority cannot be used."""


class HandshakeRefused(TlsError):
    """The TLS handshake came to nothing."""


class DraftRefused(NodeError):
    """The study gets no draft."""


class UnknownName(NodeError):
    """There is nothing of that name."""
