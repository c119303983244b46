"""An instance is taken in when it is whole, is what it says, and is nothing of our own."""

from __future__ import annotations

import struct
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pynetdicom.dsutils import encode

from node.encoded import MAX_NESTING, PIXEL_DATA, DatasetWalk
from node.errors import IntakeRefused
from node.intake import KEPT_TAGS, Command, Header, check_command, examine, is_uid, read_header
from tests.films import phantom


def _nested(depth: int) -> Dataset:
    inner = Dataset()
    inner.CodeMeaning = "leaf"
    for _ in range(depth):
        outer = Dataset()
        outer.ConceptNameCodeSequence = Sequence([inner])
        outer["ConceptNameCodeSequence"].is_undefined_length = True
        inner.is_undefined_length_sequence_item = True
        inner = outer
    return inner


def _film() -> Dataset:
    ds = phantom(size=8)
    ds.ProcedureCodeSequence = _nested(3).ConceptNameCodeSequence
    ds["ProcedureCodeSequence"].is_undefined_length = True
    return ds


def _encoded(ds: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    if syntax.is_compressed:
        ds.PixelData = encapsulate([b"\x01" * 20, b"\x02" * 10])
        ds["PixelData"].is_undefined_length = True
        ds["PixelData"].VR = "OB"
    encoded = encode(ds, syntax.is_implicit_VR, syntax.is_little_endian)
    assert encoded is not None
    return encoded


def _walk(encoded: bytes, syntax: UID = ExplicitVRLittleEndian, *, step: int = 0) -> DatasetWalk:
    """Walk over an encoded data set, in pieces of so many bytes."""
    walk = DatasetWalk.of(syntax, KEPT_TAGS)
    step = step or max(len(encoded), 1)
    for at in range(0, len(encoded), step):
        walk.feed(memoryview(encoded)[at : at + step])
    return walk


def _check(encoded: bytes, syntax: UID = ExplicitVRLittleEndian, *, step: int = 0) -> None:
    walk = _walk(encoded, syntax, step=step)
    walk.finish()
    if PIXEL_DATA not in walk.tags:
        raise IntakeRefused(0xC000, "no pixel data")


def _examine(
    ds: Dataset, *, sop_class: str = "", instance: str = "", accept_synthetic: bool = False
) -> Header:
    command = Command(
        sop_class or ds.SOPClassUID, instance or ds.SOPInstanceUID, ExplicitVRLittleEndian
    )
    check_command(command)
    return examine(command, _walk(_encoded(ds)), accept_synthetic=accept_synthetic)


def _status(ds: Dataset, **options: Any) -> int:
    with pytest.raises(IntakeRefused) as caught:
        _examine(ds, **options)
    return caught.value.status


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless],
    ids=lambda syntax: syntax.name,
)
def test_a_film_is_whole_and_none_of_its_beginnings_is(syntax: UID) -> None:
    encoded = _encoded(_film(), syntax)
    _check(encoded, syntax)
    for length in range(len(encoded)):
        with pytest.raises(IntakeRefused):
            _check(encoded[:length], syntax)


@settings(max_examples=60, deadline=None)
@given(step=st.integers(1, 300), name=st.sampled_from(["film", "nested"]))
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless])
def test_a_walk_comes_to_the_same_however_the_bytes_are_cut(
    syntax: UID, step: int, name: str
) -> None:
    ds = _film() if name == "film" else phantom(size=8)
    ds.ContributingEquipmentSequence = _nested(3).ConceptNameCodeSequence
    ds["ContributingEquipmentSequence"].is_undefined_length = True
    encoded = _encoded(ds, syntax)
    whole, cut = _walk(encoded, syntax), _walk(encoded, syntax, step=step)
    assert (cut.kept, cut.tags) == (whole.kept, whole.tags)
    cut.finish()


def test_what_is_kept_is_the_elements_that_the_verdict_rests_on() -> None:
    ds = _film()
    ds.ContributingEquipmentSequence = _nested(3).ConceptNameCodeSequence
    ds["ContributingEquipmentSequence"].is_undefined_length = True
    kept = read_header(BytesIO(_walk(_encoded(ds)).kept), ExplicitVRLittleEndian)
    assert {int(element.tag) for element in kept} == {
        int(element.tag) for element in ds if element.tag in KEPT_TAGS
    }
    assert kept.PatientID == ds.PatientID
    assert kept.ContributingEquipmentSequence == ds.ContributingEquipmentSequence


def test_an_identifying_element_without_end_is_refused() -> None:
    ds = phantom(size=8, PatientID="x" * 10)
    encoded = encode(ds, True, True)
    assert encoded is not None
    at = encoded.index(struct.pack("<HH", 0x0010, 0x0020)) + 4
    long = encoded[:at] + struct.pack("<L", 2_000_000) + b"x" * 2_000_000
    with pytest.raises(IntakeRefused, match="too long"):
        _walk(long, ImplicitVRLittleEndian)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused_and_never_crash_the_walk(junk: bytes) -> None:
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian):
        with pytest.raises(IntakeRefused):
            _check(junk, syntax)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_film_with_one_byte_changed_is_judged_and_never_crashes(at: int, value: int) -> None:
    encoded = bytearray(_encoded(_film()))
    encoded[at % len(encoded)] = value
    ds = _film()
    command = Command(ds.SOPClassUID, ds.SOPInstanceUID, ExplicitVRLittleEndian)
    with suppress(IntakeRefused):
        examine(command, _walk(bytes(encoded)), accept_synthetic=False)


def test_a_declared_length_beyond_the_end_is_refused() -> None:
    encoded = _encoded(phantom(size=8))
    at = encoded.index(struct.pack("<HH", 0x7FE0, 0x0010)) + 8
    with pytest.raises(IntakeRefused):
        _check(encoded[:at] + struct.pack("<L", 0xFFFFFFF0) + encoded[at + 4 :])


@pytest.mark.parametrize(("depth", "is_good"), [(MAX_NESTING, True), (MAX_NESTING + 1, False)])
def test_nesting_is_bounded(depth: int, is_good: bool) -> None:
    ds = phantom(size=8)
    ds.ProcedureCodeSequence = _nested(depth).ConceptNameCodeSequence
    ds["ProcedureCodeSequence"].is_undefined_length = True
    encoded = _encoded(ds)
    if is_good:
        _check(encoded)
    else:
        with pytest.raises(IntakeRefused, match="nested"):
            _check(encoded)


def test_a_data_set_without_pixel_data_is_refused() -> None:
    ds = phantom(size=8)
    del ds.PixelData
    assert _status(ds) == 0xC000


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", ["", "1.2.../3", "1." + "2" * 64, "../../x"])
@pytest.mark.filterwarnings("ignore")
def test_a_malformed_uid_is_refused(keyword: str, value: str) -> None:
    assert _status(phantom(size=8, **{keyword: value})) == 0xC000


def test_a_malformed_uid_in_the_command_is_refused() -> None:
    assert _status(phantom(size=8), instance="../x") == 0xC000


def test_another_object_than_announced_is_refused() -> None:
    assert _status(phantom(size=8), instance="1.2.3") == 0xA900
    assert _status(phantom(size=8), sop_class="1.2.840.10008.5.1.4.1.1.7") == 0xA900


def test_a_synthetic_film_is_refused_unless_the_demo_lets_it_in() -> None:
    ds = phantom(size=8, SyntheticData="YES")
    assert _status(ds) == 0xA900
    assert _examine(ds, accept_synthetic=True).study_uid == ds.StudyInstanceUID


def test_two_patients_are_told_apart_and_neither_is_named() -> None:
    one, other = (_examine(phantom(size=8, PatientID=name)) for name in ("MRN1", "MRN2"))
    assert one.patient_digest != other.patient_digest
    assert "MRN" not in repr((one, other))


@given(st.from_regex(r"[0-9]+(\.[0-9]+)*", fullmatch=True))
def test_digits_and_dots_are_a_uid_up_to_64_characters(text: str) -> None:
    assert is_uid(text) is (len(text) <= 64 and text.isascii())
