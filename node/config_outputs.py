"""The `outputs:` section: what leaves the node, how it looks and how it is delivered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from node.config_kinds import OutputKind
from node.config_rules import RuleSettings
from node.config_section import Hours, Port, Seconds, Section

Hl7Name = Annotated[str, Field(max_length=180)]
SeriesNumber = Annotated[int, Field(ge=1, le=2_147_483_647)]


class ReportSettings(Section):
    """The draft Structured Report."""

    enabled: bool = True
    series_number: SeriesNumber = 9701
    series_description: Annotated[str, Field(max_length=64)] = "AI DRAFT REPORT - UNVERIFIED"
    completion_flag: Literal["PARTIAL", "COMPLETE"] = "PARTIAL"
    completion_flag_description: Annotated[str, Field(max_length=64)] = (
        "AI draft awaiting radiologist"
    )
    title: Literal["18748-4", "43468-8", "11528-7"] = "18748-4"
    synthetic_data_mark: bool = False
    answers: bool = False


class FindingsSettings(Section):
    """The findings as a measurement report; made where a peer is to be sent them."""

    profile: Literal["comprehensive", "air"] = "comprehensive"
    series_number: SeriesNumber = 9702
    series_description: Annotated[str, Field(max_length=64)] = "AI DRAFT FINDINGS - UNVERIFIED"
    completion_flag: Literal["PARTIAL", "COMPLETE"] = "PARTIAL"
    completion_flag_description: Annotated[str, Field(max_length=64)] = (
        "AI draft awaiting radiologist"
    )
    present_from: Annotated[float, Field(gt=0, le=1)] = 0.5
    absent_below: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _is_ordered(self) -> FindingsSettings:
        if self.absent_below > self.present_from:
            raise ValueError("absent_below is above present_from")
        return self


class HeatmapSettings(Section):
    """The map of what the classifier looked at; made where a peer is to be sent it."""

    series_number: SeriesNumber = 9705
    series_description: Annotated[str, Field(max_length=64)] = "AI HEAT MAP - FOR REFERENCE ONLY"


class SyntheticSettings(Section):
    """The synthetic image; off until a site asks for it."""

    enabled: bool = False
    identity: Literal["research_patient", "same_study"] = "research_patient"
    counterfactual: bool = False
    bits: Literal[8, 16] = 8
    series_number: SeriesNumber = 9703
    series_description: Annotated[str, Field(max_length=64)] = "SYNTHETIC - NOT A PATIENT IMAGE"
    patient_id_prefix: Annotated[str, Field(min_length=1, max_length=32)] = "RESEARCH-"


class PdfSettings(Section):
    """The draft as a rendered document; made where a destination is to be sent it."""

    series_number: SeriesNumber = 9704
    series_description: Annotated[str, Field(max_length=64)] = "AI DRAFT DOCUMENT - UNVERIFIED"


def _check_url(text: str) -> str:
    """Check the address of a server, and that it gives no password away."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write https://host/path")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("write the address alone: no user, password, `?` or `#`")
    return text.rstrip("/")


Url = Annotated[str, AfterValidator(_check_url)]


class HttpSettings(Section):
    """A server that is reached over HTTP, and how we show who we are."""

    url: Url | None = None
    username: str | None = None
    password_file: Path | None = None
    token_file: Path | None = None
    ca: Path | None = None
    timeout_s: Seconds = 30.0

    @model_validator(mode="after")
    def _shows_one_secret_safely(self) -> Self:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file go together: set both or neither")
        if self.token_file is not None and self.username is not None:
            raise ValueError("a server takes a password or a token: set one of them")
        parts = urlsplit(self.url or "")
        has_secret = self.password_file is not None or self.token_file is not None
        if has_secret and parts.scheme == "http" and not is_loopback_url(self.url or ""):
            raise ValueError("a password or token goes over https alone")
        return self


def is_loopback_url(url: str) -> bool:
    """Tell whether a server runs on this machine."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


class StowSettings(HttpSettings):
    """A DICOMweb server that objects are stored at (STOW-RS, PS3.18 section 10.5)."""

    send: tuple[OutputKind, ...] = ("report",)
    quiet_hours: tuple[Hours, ...] = ()


class FhirSettings(HttpSettings):
    """A FHIR server that gets the draft as a transaction."""

    version: Literal["R4", "R5"] = "R4"
    patient_id_system: str = ""
    quiet_hours: tuple[Hours, ...] = ()


class Hl7Settings(Section):
    """An HL7 version 2 receiver that gets the draft as ORU^R01 over MLLP."""

    host: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    port: Port = 2575
    timeout_s: Seconds = 30.0
    sending_application: Hl7Name = "CXR-NODE"
    sending_facility: Hl7Name = ""
    receiving_application: Hl7Name = ""
    receiving_facility: Hl7Name = ""
    quiet_hours: tuple[Hours, ...] = ()


class OutboxSettings(Section):
    """How often a destination is tried, and when it is given up."""

    retry_initial_s: Seconds = 30.0
    retry_factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    retry_max_s: Seconds = 600.0
    give_up_after_h: Annotated[float, Field(gt=0, le=8760)] = 72.0

    @property
    def give_up_after_s(self) -> float:
        """The same in seconds."""
        return self.give_up_after_h * 3600


class CommitmentSettings(Section):
    """Storage commitment asked of peers that have `commitment: true` (PS3.4 annex J)."""

    wait_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    report_timeout_s: Seconds = 3600.0
    max_resends: Annotated[int, Field(ge=0, le=100)] = 3


class OutputSettings(Section):
    """What leaves the node, and how it is delivered."""

    shadow: bool = False
    rules: tuple[RuleSettings, ...] = ()
    report: ReportSettings = ReportSettings()
    findings: FindingsSettings = FindingsSettings()
    heatmap: HeatmapSettings = HeatmapSettings()
    synthetic: SyntheticSettings = SyntheticSettings()
    pdf: PdfSettings = PdfSettings()
    stow: StowSettings = StowSettings()
    hl7: Hl7Settings = Hl7Settings()
    fhir: FhirSettings = FhirSettings()
    outbox: OutboxSettings = OutboxSettings()
    commitment: CommitmentSettings = CommitmentSettings()


def address_of(settings: OutputSettings, channel: str) -> str:
    """Return where a channel leads to; empty where it leads nowhere."""
    places = {"stow": settings.stow.url, "hl7": settings.hl7.host, "fhir": settings.fhir.url}
    return places.get(channel) or ""
