"""The report of a patient's study before, where a reader accepted or edited it on this node.

A draft that nobody read is never given to the model again: it would feed on itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from sqlalchemy.engine import Connection, Engine

from engine.study_input import previous_text
from node.errors import StorageError
from node.indication import anonymous
from node.prior_choice import StudyFacts, earlier_studies, why_not_asked
from node.records import ImageReference, PreviousReport
from node.redact import patient_digest
from node.schema import feedback, instance, result
from node.spool import Spool
from node.transactions import reading

_MAX_STUDIES = 20
"""Headers of so many reviewed studies of a patient are read, those reviewed last."""


@dataclass(frozen=True)
class Reviewed:
    """A report with a reader's last word on it, and the text as a prompt holds it."""

    report: PreviousReport
    facts: StudyFacts
    text: str


class PreviousReports:
    """Looks for earlier reports in the ledger."""

    def __init__(self, engine: Engine, spool: Spool) -> None:
        self._engine = engine
        self._spool = spool

    def before(self, study_uid: str, source: Dataset) -> tuple[Reviewed | None, str]:
        """Return the reviewed report of the study before, or why there is none.

        Whose a study is, and which was earlier, is told as for prior films
        (`node.prior_choice.earlier_studies`).

        Parameters
        ----------
        source
            Header of the film that the draft is made from.
        """
        current = replace(StudyFacts.of(source), study_uid=study_uid)
        reason = why_not_asked(current)
        if reason:
            return None, reason
        found = {one.facts.study_uid: one for one in self._reviewed(current)}
        if not found:
            return None, "no earlier report of the patient was accepted or edited here"
        earlier, reason = earlier_studies(current, [one.facts for one in found.values()])
        if not earlier:
            return None, reason
        chosen = found[earlier[0].study_uid]
        return replace(chosen, text=anonymous(chosen.text, source)), ""

    def _reviewed(self, current: StudyFacts) -> Iterator[Reviewed]:
        """Yield the patient's other studies of which a reader let the words stand."""
        patient = current.patient
        digest = patient_digest(patient.patient_id, patient.issuer)
        with reading(self._engine) as connection:
            rows = _last_words(connection, digest, current.study_uid)
        for row in rows:
            reviewed = self._read(row)
            if reviewed is not None:
                yield reviewed

    def _read(self, row: Any) -> Reviewed | None:
        """Read whose the film of a report is; None where that cannot be told any more."""
        try:
            ds = dcmread(self._spool.path(row.path), stop_before_pixels=True)
        except (OSError, InvalidDicomError, StorageError):
            return None
        facts = replace(StudyFacts.of(ds), study_uid=row.study_uid)
        film = ImageReference(
            row.study_uid, row.series_uid, row.sop_class_uid, row.sop_instance_uid
        )
        report = PreviousReport(film, row.generation, facts.date, row.verdict)
        findings, impression = (
            " ".join(row.content[name] if edited is None else edited)
            for name, edited in (("findings", row.findings), ("impression", row.impression))
        )
        return Reviewed(report, facts, anonymous(previous_text(findings, impression), ds))


def _last_words(connection: Connection, digest: str, but: str) -> Sequence[Any]:
    """Return the last feedback on each other study of a patient, unless that rejected the draft."""
    theirs = sa.select(instance.c.study_uid).where(instance.c.patient_digest == digest)
    last = (
        sa.select(sa.func.max(feedback.c.id))
        .where(feedback.c.study_uid.in_(theirs), feedback.c.study_uid != but)
        .group_by(feedback.c.study_uid)
    )
    of_draft = sa.and_(
        result.c.study_uid == feedback.c.study_uid, result.c.generation == feedback.c.generation
    )
    film = sa.and_(
        instance.c.study_uid == feedback.c.study_uid,
        instance.c.sop_instance_uid == result.c.content["source"].as_string(),
        instance.c.patient_digest == digest,
    )
    query = (
        sa.select(
            feedback.c.study_uid,
            feedback.c.generation,
            feedback.c.verdict,
            feedback.c.findings,
            feedback.c.impression,
            result.c.content,
            instance.c.series_uid,
            instance.c.sop_class_uid,
            instance.c.sop_instance_uid,
            instance.c.path,
        )
        .join(result, of_draft)
        .join(instance, film)
        .where(feedback.c.id.in_(last), feedback.c.verdict.in_(("accept", "edit")))
        .order_by(feedback.c.id.desc())
        .limit(_MAX_STUDIES)
    )
    return connection.execute(query).all()
