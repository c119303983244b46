"""The settings of the node: one config.yaml, four keys, frozen sections.

Key names follow what PACS administrators know from Orthanc, mercure and MONAI. Reading the
file, merging the environment and explaining errors is `node.config_file`.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from engine.config import EngineSettings
from node.config_alerts import AlertSettings
from node.config_inputs import InputSettings
from node.config_kinds import CHANNELS, RESERVED, OutputKind
from node.config_metrics import MetricsSettings
from node.config_outputs import HttpSettings, OutputSettings, address_of
from node.config_rules import rule_faults
from node.config_section import AeTitle, Host, Hours, Port, Seconds, Section, faults_at
from node.config_tracing import TracingSettings
from node.config_web import WebSettings

_PEER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def _check_network(text: str) -> str:
    """Check an IP address or network in CIDR notation."""
    return str(ipaddress.ip_network(text, strict=False))


def _check_peer_name(text: str) -> str:
    """Check the name by which a peer is called in commands and logs."""
    if not _PEER_NAME.fullmatch(text):
        raise ValueError("a peer name is 1 to 32 lower-case letters, digits, `-` and `_`")
    if text in RESERVED:
        raise ValueError(f"`{text}` is the destination `outputs.{text}`: name the peer otherwise")
    return text


def _check_certificate_rule(text: str) -> str:
    """Check one way to recognise a peer's certificate; fingerprints lose case and colons."""
    kind, separator, value = text.partition("=" if text.startswith("CN=") else ":")
    if kind == "sha256":
        value = value.replace(":", "").lower()
        if not _FINGERPRINT.fullmatch(value):
            raise ValueError("a SHA-256 fingerprint has 64 hexadecimal digits")
    elif text != "any" and (kind not in ("CN", "DNS", "IP", "URI") or not value):
        raise ValueError("write sha256:…, CN=…, DNS:…, IP:…, URI:… or any")
    return f"{kind}{separator}{value}"


Network = Annotated[str, AfterValidator(_check_network)]
CertificateRule = Annotated[str, AfterValidator(_check_certificate_rule)]
PeerName = Annotated[str, AfterValidator(_check_peer_name)]


class StorageSettings(Section):
    """Where files and the ledger live, and how much room must stay free."""

    root: Path = Path("var/cxr-node")
    objects: Annotated[str, Field(pattern=r"^s3://[^/]+")] | None = None
    free_min_gb: Annotated[float, Field(ge=0)] = 5.0
    free_min_percent: Annotated[float, Field(ge=0, lt=100)] = 5.0
    keep_days: Annotated[float, Field(gt=0, le=36_500)] = 30.0
    max_gb: Annotated[float, Field(gt=0)] | None = None
    remember_days: Annotated[float, Field(gt=0, le=36_500)] = 365.0

    @model_validator(mode="after")
    def _remembers_what_it_keeps(self) -> StorageSettings:
        if self.remember_days < self.keep_days:
            raise ValueError("remember_days is shorter than keep_days")
        return self


class LedgerSettings(Section):
    """Where the ledger is."""

    url: str | None = None
    password_file: Path | None = None

    @field_validator("url")
    @classmethod
    def _check_url(cls, text: str | None) -> str | None:
        """Check that it is a PostgreSQL, and that it gives no password away."""
        if text is None:
            return None
        parts = urlsplit(text)
        if parts.scheme not in ("postgresql", "postgres") or not parts.hostname:
            raise ValueError("write postgresql://user@host:5432/database, or null for SQLite")
        if parts.password:
            raise ValueError("a password does not belong here: name its file in password_file")
        return "postgresql" + text.removeprefix(parts.scheme)


class IntakeSettings(Section):
    """What is taken in over C-STORE."""

    max_object_mb: Annotated[int, Field(ge=1, le=4096)] = 512
    on_conflict: Literal["refuse", "warn"] = "refuse"
    accept_synthetic: bool = False


class StudySettings(Section):
    """When a study counts as complete."""

    quiet_s: Seconds = 8.0
    confirmed_quiet_s: Seconds = 2.0
    query_timeout_s: Seconds = 2.0
    hard_cap_s: Seconds = 120.0
    successor_every_s: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    priors_budget_s: Annotated[float, Field(ge=0, le=60)] = 5.0

    @model_validator(mode="after")
    def _cap_is_longer(self) -> StudySettings:
        if self.hard_cap_s < self.quiet_s:
            raise ValueError("hard_cap_s is shorter than quiet_s")
        return self


class WorkSettings(Section):
    """How work is picked up."""

    dispatch: Literal["local", "procrastinate"] = "local"
    num_workers: Annotated[int, Field(ge=1, le=64)] = 1
    sweep_s: Seconds = 0.5
    lease_s: Seconds = 20.0
    draft_timeout_s: Seconds = 600.0
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    decode_memory_mb: Annotated[int, Field(ge=512, le=65_536)] = 2048
    decode_cpu_s: Annotated[int, Field(ge=1, le=3600)] = 20
    engine_memory_mb: Annotated[int, Field(ge=0, le=1_048_576)] = 8192


class TlsSettings(Section):
    """TLS of the listener, and of our calls to peers (PS3.15 annex B.12)."""

    enabled: bool = False
    certificate: Path | None = None
    key: Path | None = None
    key_password_file: Path | None = None
    ca: Path | None = None
    client_certificates: Literal["required", "optional", "none"] = "required"
    warn_days: Annotated[int, Field(ge=0, le=3650)] = 30

    @model_validator(mode="after")
    def _is_complete(self) -> TlsSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: set both or neither")
        if self.enabled and self.certificate is None:
            raise ValueError("enabled needs a certificate and a key")
        if self.enabled and self.client_certificates != "none" and self.ca is None:
            raise ValueError("client certificates are checked against ca: set it")
        return self


class SyslogSettings(Section):
    """The audit record repository, reached by syslog over TLS (PS3.15 section A.6)."""

    host: Annotated[str, Field(max_length=253)] = ""
    port: Port = 6514
    certificate: tuple[CertificateRule, ...] = ()


class AuditSettings(Section):
    """The audit trail (PS3.15 section A.5)."""

    enabled: bool = True
    file: Path | None = None
    site: Annotated[str, Field(max_length=64)] = ""
    syslog: SyslogSettings = SyslogSettings()


Role = Literal["receive", "draft", "deliver"]
ROLES: tuple[Role, ...] = ("receive", "draft", "deliver")


class NodeSettings(Section):
    """The listener and everything behind it."""

    roles: Annotated[tuple[Role, ...], Field(min_length=1)] = ROLES
    ae_title: AeTitle = "CXRDRAFT"
    ae_titles: tuple[AeTitle, ...] = ()
    bind: str = "0.0.0.0"
    port: Port = 11112
    check_called_aet: bool = True
    max_pdu: Annotated[int, Field(ge=4096, le=1_048_576)] = 131_072
    max_associations: Annotated[int, Field(ge=1, le=4096)] = 64
    max_associations_per_ip: Annotated[int, Field(ge=1, le=4096)] = 8
    max_associations_per_peer: Annotated[int, Field(ge=1, le=4096)] = 16
    acse_timeout_s: Seconds = 5.0
    dimse_timeout_s: Seconds = 30.0
    idle_timeout_s: Seconds = 60.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    reload: Literal["watch", "signal"] = "watch"
    storage: StorageSettings = StorageSettings()
    ledger: LedgerSettings = LedgerSettings()
    intake: IntakeSettings = IntakeSettings()
    study: StudySettings = StudySettings()
    inputs: InputSettings = InputSettings()
    priors_web: HttpSettings = HttpSettings()
    work: WorkSettings = WorkSettings()
    tls: TlsSettings = TlsSettings()
    audit: AuditSettings = AuditSettings()
    web: WebSettings = WebSettings()
    metrics: MetricsSettings = MetricsSettings()
    alerts: AlertSettings = AlertSettings()
    tracing: TracingSettings = TracingSettings()

    @property
    def own_titles(self) -> tuple[str, ...]:
        """The AE titles that we answer to; ours is the first."""
        return (self.ae_title, *self.ae_titles)

    @model_validator(mode="after")
    def _web_has_its_certificate(self) -> NodeSettings:
        if self.web.enabled and self.web.tls and self.tls.certificate is None:
            raise ValueError("web.tls serves the certificate of tls: set tls.certificate and key")
        return self

    @model_validator(mode="after")
    def _is_shared_by_postgresql(self) -> NodeSettings:
        if self.ledger.url is None and self.work.dispatch == "procrastinate":
            raise ValueError("dispatch procrastinate needs a PostgreSQL: set ledger.url")
        if self.ledger.url is None and self.storage.objects is not None:
            raise ValueError("an object store is for several nodes: set ledger.url")
        if self.ledger.url is None and set(self.roles) != set(ROLES):
            raise ValueError(
                "a node with some of the roles needs the ledger of the others: set ledger.url"
            )
        return self


PeerRight = Literal["echo", "store", "commitment", "mpps", "ian"]


class PeerSettings(Section):
    """One DICOM peer: who may call, and what is sent to it."""

    ae_title: AeTitle
    host: Host
    port: Port
    cidr: tuple[Network, ...] = ()
    allow: tuple[PeerRight, ...] = ("echo", "store")
    send: tuple[OutputKind, ...] = ()
    commitment: bool = False
    query: bool = False
    priors: bool = False
    retrieve: Literal["get", "none"] = "get"
    tls: bool = False
    certificate: tuple[CertificateRule, ...] = ()
    quiet_hours: tuple[Hours, ...] = ()

    @model_validator(mode="after")
    def _may_report(self) -> PeerSettings:
        if self.commitment and "commitment" not in self.allow:
            raise ValueError("it reports by calling us: add commitment to its allow")
        return self


class Settings(Section):
    """The whole config.yaml."""

    node: NodeSettings = NodeSettings()
    engine: EngineSettings = EngineSettings()
    peers: Annotated[dict[PeerName, PeerSettings], Field(default_factory=dict)]
    outputs: OutputSettings = OutputSettings()

    @model_validator(mode="after")
    def _tls_peers_can_be_checked(self) -> Settings:
        called = [name for name, peer in self.peers.items() if peer.tls]
        if called and self.node.tls.ca is None:
            raise ValueError(f"peer {called[0]} is called over TLS: set node.tls.ca")
        if self.node.audit.syslog.host and self.node.tls.ca is None:
            raise ValueError("node.audit.syslog goes over TLS: set node.tls.ca")
        return self

    @model_validator(mode="after")
    def _rules_name_what_there_is(self) -> Settings:
        faults = rule_faults(
            self.outputs.rules,
            ae_titles=self.node.own_titles,
            peers=self.peers,
            channels={name: address_of(self.outputs, name) for name in CHANNELS},
            has_challenger=self.engine.challenger is not None,
        )
        found = [(("outputs", "rules", *place), text) for place, text in faults]
        if found:
            raise faults_at(found)
        return self
