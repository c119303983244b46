"""The draft report as a DICOM object: Enhanced SR, TID 2000, and nothing that looks signed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID, BasicTextSRStorage, EnhancedSRStorage

from engine.results import DraftReport
from node import codes, sr_items
from node.config_outputs import ReportSettings
from node.copied import own_text
from node.indication import indication_of
from node.outputs import BASIC_TEXT, REPORT, OutputIdentity
from node.sr_document import BANNER, Basis, DocumentStyle, new_document, template
from node.uids import MANUFACTURER, derive_uid


@dataclass(frozen=True)
class Words:
    """What the report says, sentence by sentence; an empty section is left out but for the draft's.

    ``remarks`` are ours and follow the findings: where the classifier contradicts the text.
    """

    findings: Sequence[str]
    impression: Sequence[str]
    remarks: Sequence[str] = ()
    indication: Sequence[str] = ()
    comparison: Sequence[str] = ()
    addendum: Sequence[str] = ()
    """What people added; `node.sr_review` writes it into the report, with its own warning."""


def words_of(
    basis: Basis,
    draft: DraftReport,
    *,
    remarks: Sequence[str] = (),
    prior_date: str = "",
    previous_date: str = "",
) -> Words:
    """Return what a draft says, and what is known of why the film was taken and of earlier ones.

    Parameters
    ----------
    prior_date, previous_date
        Of the earlier film that was found, and of the study whose report the model was given.
    """
    return Words(
        findings=draft.findings,
        impression=draft.impression,
        remarks=remarks,
        indication=indication_of(basis.source),
        comparison=_comparison(prior_date, previous_date),
    )


def build_draft_sr(
    basis: Basis, words: Words, identity: OutputIdentity, settings: ReportSettings
) -> Dataset:
    """Return the draft as an Enhanced SR object, ready to be written.

    References
    ----------
    PS3.3 A.35.2 (Enhanced SR IOD), C.17 (SR modules), PS3.16 TID 2000.
    """
    style = DocumentStyle(
        REPORT,
        EnhancedSRStorage,
        settings.series_number,
        settings.series_description,
        settings.completion_flag,
        settings.completion_flag_description,
        settings.synthetic_data_mark,
    )
    ds = new_document(basis, identity, style)
    _set_content(ds, basis.images, words, identity, settings)
    return ds


def as_basic_text(ds: Dataset) -> Dataset:
    """Return a draft as Basic Text SR, for a peer that takes no Enhanced SR.

    Every item of ours is legal in both (PS3.3 A.35.1.3.1.1), so the tree stays as it is. Another
    class is another object: its UIDs are derived from those of the draft, and its predecessor is
    named as that peer knows it.
    """
    basic = deepcopy(ds)
    basic.SOPClassUID = basic.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    basic.SOPInstanceUID = UID(_basic(ds.SOPInstanceUID))
    basic.file_meta.MediaStorageSOPInstanceUID = basic.SOPInstanceUID
    basic.SeriesInstanceUID = _basic(ds.SeriesInstanceUID)
    if "PredecessorDocumentsSequence" in ds:
        basic.PredecessorDocumentsSequence = [
            _basic_predecessor(item) for item in ds.PredecessorDocumentsSequence
        ]
    return basic


def _basic(uid: str) -> str:
    return derive_uid(BASIC_TEXT, uid)


def _basic_predecessor(item: Dataset) -> Dataset:
    """Return the reference to the Basic Text form of an earlier draft."""
    before = item.ReferencedSeriesSequence[0]
    document = Dataset()
    document.SOPClassUID = BasicTextSRStorage
    document.SOPInstanceUID = _basic(before.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
    series = Dataset()
    series.SeriesInstanceUID = _basic(before.SeriesInstanceUID)
    series.ReferencedSOPSequence = [sr_items.sop_reference(document)]
    basic = Dataset()
    basic.StudyInstanceUID = item.StudyInstanceUID
    basic.ReferencedSeriesSequence = [series]
    return basic


def _comparison(prior_date: str, previous_date: str) -> tuple[str, ...]:
    """Return what is known of an earlier study; that its film was not compared is said, too."""
    film = (
        f"An earlier chest film of {_spoken(prior_date)} is on record. This draft does not "
        "compare with it."
    )
    report = (
        f"The software was given the report of {_spoken(previous_date)}, which a reader had "
        "accepted or edited; it has not seen the film of that day."
    )
    said = ((prior_date, film), (previous_date, report))
    return tuple(sentence for date, sentence in said if date)


def _spoken(date: str) -> str:
    """Return a date (DA) as people write it."""
    return f"{date[:4]}-{date[4:6]}-{date[6:8]}"


def _set_content(
    ds: Dataset,
    images: Sequence[Dataset],
    words: Words,
    identity: OutputIdentity,
    settings: ReportSettings,
) -> None:
    """Write the content tree (PS3.16 TID 2000)."""
    sections = (
        (codes.INDICATIONS, codes.PATIENT_PRESENTATION, words.indication),
        (codes.PREVIOUS_FINDINGS, codes.PREVIOUS_FINDING, words.comparison),
    )
    drafted = (
        (codes.FINDINGS, codes.FINDING, words.findings, words.remarks),
        (codes.IMPRESSIONS, codes.IMPRESSION, words.impression, ()),
    )
    root = sr_items.container(
        "CONTAINS",
        codes.TITLES[settings.title],
        [
            sr_items.code("HAS CONCEPT MOD", codes.LANGUAGE, codes.ENGLISH),
            *observer(ds, identity),
            sr_items.code("HAS CONCEPT MOD", codes.PROCEDURE_REPORTED, codes.IMAGING_PROCEDURE),
            *(
                sr_items.container("CONTAINS", heading, _texts(ds, name, sentences))
                for heading, name, sentences in sections
                if sentences
            ),
            *(
                sr_items.container(
                    "CONTAINS",
                    heading,
                    [
                        sr_items.text("CONTAINS", name, BANNER),
                        *_texts(ds, name, sentences, _sources(images)),
                        *_texts(ds, name, remarks),
                    ],
                )
                for heading, name, sentences, remarks in drafted
            ),
        ],
    )
    del root.RelationshipType
    root.ContentTemplateSequence = [template("2000")]
    ds.update(root)


def observer(ds: Dataset, identity: OutputIdentity) -> list[Dataset]:
    """Return the observation context: a device observer (PS3.16 TID 1004)."""
    place = own_text(ds, " ".join(filter(None, (identity.institution, identity.station_name))))
    named = (
        (codes.DEVICE_OBSERVER_NAME, own_text(ds, identity.algorithm_name)),
        (codes.DEVICE_OBSERVER_MANUFACTURER, MANUFACTURER),
        (codes.DEVICE_OBSERVER_MODEL_NAME, own_text(ds, identity.algorithm_version)),
        (codes.DEVICE_OBSERVER_SERIAL_NUMBER, identity.bundle_digest[:16]),
        (codes.DEVICE_OBSERVER_LOCATION, place),
    )
    return [
        sr_items.code("HAS OBS CONTEXT", codes.OBSERVER_TYPE, codes.DEVICE),
        sr_items.uid_reference("HAS OBS CONTEXT", codes.DEVICE_OBSERVER_UID, identity.device_uid),
        *(sr_items.text("HAS OBS CONTEXT", name, value) for name, value in named if value),
    ]


def _texts(
    ds: Dataset, name: codes.Code, sentences: Iterable[str], inferred_from: Sequence[Dataset] = ()
) -> list[Dataset]:
    """Return one item a sentence, those that have nothing to say left out."""
    written = (own_text(ds, sentence) for sentence in sentences)
    return [
        sr_items.text("CONTAINS", name, sentence, inferred_from) for sentence in written if sentence
    ]


def _sources(images: Sequence[Dataset]) -> list[Dataset]:
    """Return what a sentence was inferred from; each item named, as viewers fall over others."""
    return [sr_items.image("INFERRED FROM", codes.SOURCE_OF_MEASUREMENT, image) for image in images]
