"""Taking one instance in: examined, written, synchronised, recorded; only then answered for."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from io import BytesIO

from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom.dsutils import create_file_meta

from node.clock import Clock
from node.config import IntakeSettings
from node.errors import COERCED, MISMATCH, SUCCESS, IntakeRefused
from node.intake import Command, examine
from node.ledger import Ledger
from node.logs import get_logger, say
from node.records import Arrival, Recorded
from node.redact import key
from node.spool import Spool
from node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_LOG = get_logger("receiver")
_CONFLICT = "other content under this SOP Instance UID was kept"


class Receiver:
    """Takes instances in.

    Parameters
    ----------
    settings
        The `node.intake` section.
    """

    def __init__(
        self, settings: IntakeSettings, spool: Spool, ledger: Ledger, clock: Clock
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._ledger = ledger
        self._clock = clock

    def take(
        self, command: Command, buffer: BytesIO, peer: str, on_study: Callable[[str], None]
    ) -> tuple[int, str]:
        """Take one instance in; return its C-STORE status and a comment.

        Parameters
        ----------
        on_study
            Told the Study Instance UID before the instance is recorded, so that the study is
            known to be carried before it can be closed.

        Raises
        ------
        IntakeRefused
            It is not to be had; carries the status.
        StorageError
            Disk or ledger refused: nothing was taken in.
        """
        self._spool.check_room()
        header = examine(command, buffer, accept_synthetic=self._settings.accept_synthetic)
        on_study(header.study_uid)
        view = buffer.getbuffer()
        digest = hashlib.sha256(command.transfer_syntax_uid.encode())
        digest.update(view)
        arrival = Arrival(
            sop_instance_uid=command.sop_instance_uid,
            sop_class_uid=command.sop_class_uid,
            study_uid=header.study_uid,
            series_uid=header.series_uid,
            transfer_syntax_uid=command.transfer_syntax_uid,
            patient_digest=header.patient_digest,
            sha256=digest.hexdigest(),
            num_bytes=len(view),
            path=self._write(command, digest.hexdigest(), view),
            peer=peer,
        )
        recorded = self._ledger.record_arrival(arrival, self._clock.now())
        say(
            _LOG,
            f"instance.{recorded}",
            level=logging.WARNING if recorded is Recorded.CONFLICT else logging.INFO,
            study=key(header.study_uid),
            instance=key(command.sop_instance_uid),
            peer=peer,
            bytes=len(view),
        )
        return self._answer(recorded)

    def _write(self, command: Command, digest: str, view: memoryview) -> str:
        """Write an instance that is not known yet; return its path."""
        if self._ledger.known_digest(command.sop_instance_uid) is not None:
            return ""
        return self._spool.store_image(
            command.sop_instance_uid, digest, [_file_meta(command), view]
        )

    def _answer(self, recorded: Recorded) -> tuple[int, str]:
        """Return the status for what the ledger made of an arrival; the first bytes are kept."""
        if recorded is not Recorded.CONFLICT:
            return SUCCESS, ""
        if self._settings.on_conflict == "warn":
            return COERCED, _CONFLICT
        hint = "send changed images under a new SOP Instance UID"
        raise IntakeRefused(MISMATCH, _CONFLICT, hint=hint)


def _file_meta(command: Command) -> bytes:
    """Return preamble and file meta information (PS3.10 section 7.1)."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = False
    buffer.write(b"\0" * 128 + b"DICM")
    meta = create_file_meta(
        sop_class_uid=UID(command.sop_class_uid),
        sop_instance_uid=UID(command.sop_instance_uid),
        transfer_syntax=UID(command.transfer_syntax_uid),
        implementation_uid=UID(IMPLEMENTATION_CLASS_UID),
        implementation_version=IMPLEMENTATION_VERSION_NAME,
    )
    write_file_meta_info(buffer, meta)
    return buffer.getvalue()
