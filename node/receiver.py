"""Taking one instance in: streamed, examined, synchronised, recorded; only then answered for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from blake3 import blake3

from node.clock import Clock
from node.config import IntakeSettings
from node.encoded import DatasetWalk
from node.errors import COERCED, MISMATCH, SUCCESS, IntakeRefused, StorageError
from node.file_meta import file_meta
from node.intake import KEPT_TAGS, Command, check_command, examine
from node.ledger import Ledger
from node.logs import get_logger, say
from node.meters import INSTANCES, NO_METERS, RECEIVED_BYTES, Meters
from node.records import Arrival, Recorded
from node.redact import key
from node.spool import Spool, Unfinished

_LOG = get_logger("receiver")
_CONFLICT = "other content under this SOP Instance UID was kept"


class Receiver:
    """Takes instances in.

    Parameters
    ----------
    settings
        The `node.intake` section.
    meters
        Count what comes.
    """

    def __init__(
        self,
        settings: IntakeSettings,
        spool: Spool,
        ledger: Ledger,
        clock: Clock,
        meters: Meters = NO_METERS,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._ledger = ledger
        self._clock = clock
        self._meters = meters

    def take(
        self,
        command: Command,
        pieces: Iterator[memoryview],
        peer: str,
        called_aet: str,
        on_study: Callable[[str], None],
    ) -> tuple[int, str]:
        """Take one instance in; return its C-STORE status and a comment.

        Parameters
        ----------
        pieces
            The encoded data set; each piece good until the next. It is not read to its end
            where the instance is refused before.
        peer, called_aet
            Who sends it, and the title of ours that it is sent to.
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
        try:
            recorded = self._take(command, pieces, (peer, called_aet), on_study)
        except IntakeRefused:
            self._meters.count(INSTANCES, peer, "refused")
            raise
        except StorageError:
            self._meters.count(INSTANCES, peer, "failed")
            raise
        self._meters.count(INSTANCES, peer, recorded)
        return self._answer(recorded)

    def _take(
        self,
        command: Command,
        pieces: Iterator[memoryview],
        way: tuple[str, str],
        on_study: Callable[[str], None],
    ) -> Recorded:
        self._spool.check_room()
        check_command(command)
        unfinished = self._spool.begin_image()
        try:
            arrival = self._stream(command, pieces, unfinished, way)
            on_study(arrival.study_uid)
            recorded = self._record(arrival)
        finally:
            unfinished.drop()
        self._meters.count(RECEIVED_BYTES, way[0], amount=arrival.num_bytes)
        return recorded

    def _stream(
        self,
        command: Command,
        pieces: Iterator[memoryview],
        unfinished: Unfinished,
        way: tuple[str, str],
    ) -> Arrival:
        """Write, hash and walk in one pass, in the memory of one piece; then keep the file."""
        syntax_uid = command.transfer_syntax_uid
        walk = DatasetWalk.of(syntax_uid, KEPT_TAGS)
        digest, num_bytes = blake3(syntax_uid.encode()), 0
        unfinished.write(file_meta(command.sop_class_uid, command.sop_instance_uid, syntax_uid))
        for piece in pieces:
            walk.feed(piece)
            unfinished.write(piece)
            digest.update(piece)
            num_bytes += len(piece)
        header = examine(command, walk, accept_synthetic=self._settings.accept_synthetic)
        content_digest = digest.hexdigest()
        return Arrival(
            sop_instance_uid=command.sop_instance_uid,
            sop_class_uid=command.sop_class_uid,
            study_uid=header.study_uid,
            series_uid=header.series_uid,
            transfer_syntax_uid=syntax_uid,
            patient_digest=header.patient_digest,
            content_digest=content_digest,
            num_bytes=num_bytes,
            path=self._spool.keep_image(unfinished, command.sop_instance_uid, content_digest),
            peer=way[0],
            called_aet=way[1],
        )

    def _record(self, arrival: Arrival) -> Recorded:
        """Enter a file that is safe into the ledger; return what that made of it."""
        recorded = self._ledger.record_arrival(arrival, self._clock.now())
        if recorded is Recorded.CONFLICT:
            self._spool.drop_image(arrival.path)
        say(
            _LOG,
            f"instance.{recorded}",
            level=logging.WARNING if recorded is Recorded.CONFLICT else logging.INFO,
            study=key(arrival.study_uid),
            instance=key(arrival.sop_instance_uid),
            peer=arrival.peer,
            bytes=arrival.num_bytes,
        )
        return recorded

    def _answer(self, recorded: Recorded) -> tuple[int, str]:
        """Return the status for what the ledger made of an arrival; the first bytes are kept."""
        if recorded is not Recorded.CONFLICT:
            return SUCCESS, ""
        if self._settings.on_conflict == "warn":
            return COERCED, _CONFLICT
        hint = "send changed images under a new SOP Instance UID"
        raise IntakeRefused(MISMATCH, _CONFLICT, hint=hint)
