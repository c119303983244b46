"""The `outputs:` section: what leaves the node, how it looks and how it is delivered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from node.config_section import Seconds, Section

OutputKind = Literal["report", "synthetic"]


class ReportSettings(Section):
    """The draft Structured Report."""

    enabled: bool = True
    series_number: Annotated[int, Field(ge=1, le=2_147_483_647)] = 9701
    series_description: Annotated[str, Field(max_length=64)] = "AI DRAFT REPORT - UNVERIFIED"
    completion_flag: Literal["PARTIAL", "COMPLETE"] = "PARTIAL"
    completion_flag_description: Annotated[str, Field(max_length=64)] = (
        "AI draft awaiting radiologist"
    )
    title: Literal["18748-4", "43468-8", "11528-7"] = "18748-4"
    synthetic_data_mark: bool = False
    answers: bool = False


class SyntheticSettings(Section):
    """The synthetic image; off until a site asks for it."""

    enabled: bool = False
    identity: Literal["research_patient", "same_study"] = "research_patient"
    series_number: Annotated[int, Field(ge=1, le=2_147_483_647)] = 9703
    series_description: Annotated[str, Field(max_length=64)] = "SYNTHETIC - NOT A PATIENT IMAGE"
    patient_id_prefix: Annotated[str, Field(min_length=1, max_length=32)] = "RESEARCH-"


class OutboxSettings(Section):
    """How often a destination is tried, and when it is given up."""

    retry_initial_s: Seconds = 30.0
    retry_factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    retry_max_s: Seconds = 600.0
    give_up_after_h: Annotated[float, Field(gt=0, le=8760)] = 72.0


class CommitmentSettings(Section):
    """Storage commitment asked of peers that have `commitment: true` (PS3.4 annex J)."""

    wait_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    report_timeout_s: Seconds = 3600.0
    max_resends: Annotated[int, Field(ge=0, le=100)] = 3


class OutputSettings(Section):
    """What leaves the node, and how it is delivered."""

    report: ReportSettings = ReportSettings()
    synthetic: SyntheticSettings = SyntheticSettings()
    outbox: OutboxSettings = OutboxSettings()
    commitment: CommitmentSettings = CommitmentSettings()
