"""The DICOM conformance statement, written from the configuration that is in force (PS3.2).

Headings follow the template of PS3.2. What the node does whatever its configuration stands here
as text; everything that a site can change is read from its settings. No host, address or name of a
peer is printed: the statement is given away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from textwrap import wrap

from pydicom.uid import UID

from node.announced import IAN_CLASS, MPPS_CLASS
from node.commitment import SOP_CLASS as COMMITMENT_CLASS
from node.config import NodeSettings, Settings
from node.config_outputs import OutputSettings
from node.conformance_read import attributes_read
from node.destinations import reached
from node.finding_codes import FINDING_CODES, PRESENCES
from node.prior_source import STUDY_ROOT_GET
from node.query import STUDY_ROOT_FIND
from node.recipe import CREATOR, GROUP
from node.records import DeliveryStatus
from node.sc import CLASSES, MARKS
from node.sop_classes import (
    ENCAPSULATED_PDF,
    FILM_CLASSES,
    IMAGE_CLASSES,
    TRANSFER_SYNTAXES,
    UNCOMPRESSED,
    VERIFICATION,
)
from node.sr_findings import PROFILES
from node.store_statuses import STATUS_RULES
from node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

Row = Sequence[object]
_PURPOSE = """
cxr-node receives chest X-ray studies, drafts a report of each by a language model, and sends drafts
to configured peers. **Research software, not a medical device.** Every report it makes is
PRELIMINARY and UNVERIFIED; it has no way to write another verification flag."""
_MODEL = """
One application entity. An image that is answered with success lies on disk, folder synced, and in
the ledger. A study is complete after a quiet time, earlier by a count, MPPS or IAN; the draft is
made once for each generation of a study and sent to each peer until it is accepted, refused for
good, or given up."""
_NO_DEFLATE = """
Deflated Explicit VR Little Endian is not accepted: a small object of it can unfold to any size."""
_CHARACTER_SETS = """
Read: every Specific Character Set of PS3.3 C.12.1.1.2, code extensions included. Written:
ISO_IR 192; where a text of the source cannot be decoded without loss, its bytes and its character
set are kept."""
_REPORTS = """
Reports: TID 2000 (draft), TID 1500 with TID 1501 groups (findings); Preliminary Flag PRELIMINARY,
Verification Flag UNVERIFIED, author a device, one report a series. UIDs and times derive from
study, generation and model: a repeated attempt writes the same bytes."""
_MARKED = """
An object that lacks any is not sent; one that carries Synthesizing Equipment or Synthetic Data is
not taken in."""

_FOLLOWS = {
    DeliveryStatus.SENT: "delivered; commitment is asked for where the peer is so set",
    DeliveryStatus.PENDING: "tried again with back-off",
    DeliveryStatus.PARKED: "parked, with its reason",
}
"""What the node does with an object after an answer."""

_BASIC_TEXT = "1.2.840.10008.5.1.4.1.1.88.11"
_ENHANCED = "1.2.840.10008.5.1.4.1.1.88.22"


def conformance_statement(settings: Settings) -> str:
    """Return the statement as Markdown."""
    parts = (
        _overview(settings),
        _networking(settings),
        _media(),
        _character_sets(),
        _security(settings.node),
        _annexes(settings.outputs),
    )
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


_TOLD = (
    "They stand in the report's section Indication as they are. A model that was trained with "
    "indications is told them without names, numbers and dates, unless `node.inputs.indication` "
    "is off."
)


def table(headings: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {' | '.join(headings)} |"
    yield f"|{' --- |' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(str(cell) for cell in row)} |"
    yield ""


def _prose(text: str) -> Iterator[str]:
    """Yield a paragraph, wrapped."""
    yield from wrap(" ".join(text.split()), 98)
    yield ""


def _overview(settings: Settings) -> Iterator[str]:
    node = settings.node
    yield "# DICOM conformance statement: cxr-node"
    yield ""
    yield f"Version {version('cxr-node')}, written by `cxr-node conformance`."
    yield ""
    yield "## 1. Overview"
    yield ""
    yield from _prose(_PURPOSE)
    yield from table(("network service", "user (SCU)", "provider (SCP)"), _services(settings))
    yield f"Application entity title: `{node.ae_title}`, port {node.port}. Roles of this process:"
    yield f"{', '.join(node.roles)}."
    if node.ae_titles:
        titles = ", ".join(f"`{title}`" for title in node.ae_titles)
        yield f"It answers to these titles as well: {titles}."


def _services(settings: Settings) -> Iterator[Row]:
    peers = settings.peers.values()
    rights = {right for peer in peers for right in peer.allow}
    gets = any(peer.priors and peer.retrieve == "get" for peer in peers)
    finds = any(peer.query or peer.priors for peer in peers)
    asks = any(peer.commitment for peer in peers)
    sends = not reached(settings).keys().isdisjoint(settings.peers)
    yield "Verification", "yes", _yes("echo" in rights)
    yield "Storage of images", "no", _yes("store" in rights)
    yield "Storage of reports and secondary captures", _yes(sends), "no"
    yield "Storage over the web (STOW-RS)", _yes(settings.outputs.stow.url is not None), "no"
    yield "Storage commitment push model", _yes(asks), _yes("commitment" in rights)
    yield "Modality performed procedure step", "no", _yes("mpps" in rights)
    yield "Instance availability notification", "no", _yes("ian" in rights)
    yield "Query (study root find)", _yes(finds), "no"
    yield "Retrieve (study root get)", _yes(gets), "no"


def _networking(settings: Settings) -> Iterator[str]:
    yield "## 2. Networking"
    yield ""
    yield "### 2.1 Implementation model"
    yield ""
    yield from _prose(_MODEL)
    yield from _association_policies(settings.node)
    yield from _accepted(settings)
    yield from _proposed(settings)
    yield from _statuses(settings)


def _association_policies(node: NodeSettings) -> Iterator[str]:
    yield "### 2.2 Association policies"
    yield ""
    yield from table(
        ("policy", "value"),
        (
            ("application context", "1.2.840.10008.3.1.1.1"),
            ("implementation class UID", IMPLEMENTATION_CLASS_UID),
            ("implementation version name", IMPLEMENTATION_VERSION_NAME),
            ("largest PDU received", f"{node.max_pdu} bytes"),
            ("associations at one time", node.max_associations),
            ("of one address", node.max_associations_per_ip),
            ("of one peer", node.max_associations_per_peer),
            ("asynchronous operations", "none"),
            ("association request time-out", f"{node.acse_timeout_s:g} s"),
            ("message time-out", f"{node.dimse_timeout_s:g} s"),
            ("idle time-out", f"{node.idle_timeout_s:g} s"),
            ("called AE title is checked", _yes(node.check_called_aet)),
            ("calling AE title and address are checked", "yes, always"),
            ("largest object received", f"{node.intake.max_object_mb} MB"),
        ),
    )


def _accepted(settings: Settings) -> Iterator[str]:
    yield "### 2.3 Presentation contexts accepted"
    yield ""
    yield from table(
        ("abstract syntax", "UID", "transfer syntaxes", "role"),
        (
            ("Verification", VERIFICATION, "uncompressed", "SCP"),
            *((name, uid, "all of 2.3.1", "SCP") for uid, name in IMAGE_CLASSES.items()),
            (UID(COMMITMENT_CLASS).name, COMMITMENT_CLASS, "uncompressed", "SCP; SCU for reports"),
            (UID(MPPS_CLASS).name, MPPS_CLASS, "uncompressed", "SCP"),
            (UID(IAN_CLASS).name, IAN_CLASS, "uncompressed", "SCP"),
        ),
    )
    yield "#### 2.3.1 Transfer syntaxes of images"
    yield ""
    yield from table(("transfer syntax", "UID"), ((n, u) for u, n in TRANSFER_SYNTAXES.items()))
    yield from _prose(_NO_DEFLATE)


def _proposed(settings: Settings) -> Iterator[str]:
    syntaxes = ", ".join(UID(uid).name for uid in UNCOMPRESSED)
    yield "### 2.4 Presentation contexts proposed"
    yield ""
    yield f"Only the classes of what is to be sent, each with {syntaxes}."
    yield ""
    rows = [(UID(uid).name, uid, what) for uid, what in _sent_classes(settings.outputs)]
    yield from table(("abstract syntax", "UID", "for"), rows)
    yield from table(
        ("abstract syntax", "UID", "for"),
        (
            (UID(VERIFICATION).name, VERIFICATION, "`cxr-node echo`, `cxr-node check`"),
            (UID(COMMITMENT_CLASS).name, COMMITMENT_CLASS, "peers with `commitment: true`"),
            (UID(STUDY_ROOT_FIND).name, STUDY_ROOT_FIND, "`query: true`, `priors: true`"),
            (UID(STUDY_ROOT_GET).name, STUDY_ROOT_GET, "`priors: true`, `retrieve: get`"),
            *((UID(uid).name, uid, "SCP role for C-GET of priors") for uid in FILM_CLASSES),
        ),
    )


def _sent_classes(outputs: OutputSettings) -> Iterator[tuple[str, str]]:
    yield _ENHANCED, "draft report"
    yield _BASIC_TEXT, "draft report, for peers that take no Enhanced SR"
    yield PROFILES[outputs.findings.profile], "findings"
    yield CLASSES[outputs.synthetic.bits], "synthetic images"
    if outputs.synthetic.bits != 8:
        yield CLASSES[8], "heat maps"
    yield ENCAPSULATED_PDF, "documents"


def _statuses(settings: Settings) -> Iterator[str]:
    conflict = "0xA900" if settings.node.intake.on_conflict == "refuse" else "0xB000"
    yield "### 2.5 C-STORE response statuses"
    yield ""
    yield from table(
        ("as SCP", "when it is answered"),
        (
            ("0x0000", "the image is on disk and in the ledger"),
            ("0xA700", "no room, disk or ledger failed; try again"),
            ("0xA900", "the data set is not what the command says"),
            ("0xC000", "the data set cannot be read"),
            (conflict, "other bytes under a known SOP Instance UID; the first are kept"),
        ),
    )
    rows = ((_range(row.first, row.last), row.text, _FOLLOWS[row.status]) for row in STATUS_RULES)
    yield from table(("as SCU", "meaning", "what follows"), rows)
    yield "Any other status: the object is parked."
    yield ""


def _range(first: int, last: int) -> str:
    return f"0x{first:04X}" if first == last else f"0x{first:04X} to 0x{last:04X}"


def _media() -> Iterator[str]:
    yield "## 3. Media interchange"
    yield ""
    yield "None."


def _character_sets() -> Iterator[str]:
    yield "## 4. Character sets"
    yield ""
    yield from _prose(_CHARACTER_SETS)


def _security(node: NodeSettings) -> Iterator[str]:
    yield "## 5. Security"
    yield ""
    yield from table(
        ("profile", "state"),
        (
            ("BCP 195 TLS (PS3.15 B.12), listener", _yes(node.tls.enabled)),
            ("TLS versions", "1.2, 1.3"),
            ("client certificates", node.tls.client_certificates if node.tls.enabled else "-"),
            ("certificates are bound to AE titles", "by the peers' `certificate`"),
            ("audit trail (PS3.15 A.5)", _yes(node.audit.enabled)),
            ("audit to a repository by syslog over TLS", _yes(bool(node.audit.syslog.host))),
        ),
    )


def _annexes(outputs: OutputSettings) -> Iterator[str]:
    yield "## 6. Annexes"
    yield ""
    yield "### 6.1 Objects created"
    yield ""
    yield from table(
        ("object", "SOP class", "made", "series number", "series description"),
        _objects(outputs),
    )
    yield from _prose(_REPORTS)
    yield "### 6.2 Marks of a synthetic image"
    yield ""
    yield from _prose(f"{', '.join(MARKS)}. {_MARKED}")
    yield "### 6.3 Private attributes"
    yield ""
    yield from table(
        ("tag", "VR", "meaning"),
        (
            (f"({GROUP:04X},0010)", "LO", f"private creator `{CREATOR}`"),
            (
                f"({GROUP:04X},1001)",
                "UT",
                "JSON to draw the same synthetic image again",
            ),
        ),
    )
    yield "### 6.4 Coded terminology"
    yield ""
    rows = ((name, *row.finding, f"{row.site.meaning}") for name, row in FINDING_CODES.items())
    yield from table(("finding", "code", "scheme", "meaning", "site"), rows)
    presences = ((name, *code) for name, code in PRESENCES.items())
    yield from table(("presence", "code", "scheme", "meaning"), presences)
    yield "### 6.5 Private SOP classes and transfer syntaxes"
    yield ""
    yield "None."
    yield ""
    yield "### 6.6 Attributes read as the indication"
    yield ""
    yield from table(("tag", "attribute", "where"), attributes_read())
    yield from _prose(_TOLD)


def _objects(outputs: OutputSettings) -> Iterator[Row]:
    rows = (
        ("draft report", outputs.report, _ENHANCED, _yes(outputs.report.enabled)),
        ("findings", outputs.findings, PROFILES[outputs.findings.profile], "for peers"),
        (
            "synthetic image",
            outputs.synthetic,
            CLASSES[outputs.synthetic.bits],
            _yes(outputs.synthetic.enabled),
        ),
        ("heat map", outputs.heatmap, CLASSES[8], "for peers"),
        ("document", outputs.pdf, ENCAPSULATED_PDF, "for peers"),
    )
    for name, chosen, sop_class, made in rows:
        described = (chosen.series_number, chosen.series_description)
        yield name, UID(sop_class).name, made, *described


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
