"""One report of every kind and form that leaves the node, all of one source."""

from __future__ import annotations

from pydicom.dataset import Dataset

from node.config_outputs import FindingsSettings, ReportSettings
from node.sr_narrative import as_basic_text
from tests.films import phantom
from tests.node.outputs_made import draft, draft_sr, findings_sr, identity


def reports(source: Dataset) -> dict[str, Dataset]:
    study = str(source.StudyInstanceUID)
    first, second = (identity(study_instance_uid=study, generation=n) for n in (1, 2))
    whole = draft_sr(
        source,
        identity=second,
        remarks=["Disagreement on edema: the drafted text says absent."],
        prior_date="20240229",
        other=[phantom("earlier")],
    )
    return {
        "draft": draft_sr(source, identity=first),
        "successor": whole,
        "basic_text": as_basic_text(whole),
        "empty_draft": draft_sr(
            source,
            identity=identity(study_instance_uid=study, generation=3),
            draft=draft((), ()),
            settings=ReportSettings(completion_flag="COMPLETE"),
        ),
        "findings": findings_sr(source, identity=first),
        "findings_air": findings_sr(
            source, identity=second, settings=FindingsSettings(profile="air")
        ),
    }


def source() -> Dataset:
    """Return a film whose header says why it was asked for."""
    return phantom(
        ReasonForTheRequestedProcedure="Cough for two weeks",
        AccessionNumber="A1",
        StudyDate="20260102",
    )
