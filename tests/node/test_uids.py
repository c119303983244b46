"""UIDs are the same whenever they are derived, and different whenever they should be."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import RE_VALID_UID

from node.outputs import REPORT, SYNTHETIC, OutputIdentity
from node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derive_uid

READY = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)


def identity(**changes: object) -> OutputIdentity:
    known = {
        "study_instance_uid": "1.2.3",
        "generation": 1,
        "bundle_digest": "ab" * 32,
        "device_uid": "2.25.77",
        "algorithm_name": "LLM-CXR demo",
        "algorithm_version": "0.1",
        "created_at": READY,
    }
    return OutputIdentity(**{**known, **changes})


@given(parts=st.lists(st.text(), max_size=5))
def test_a_derived_uid_is_valid_and_repeatable(parts):
    import re

    uid = derive_uid(*parts)
    assert uid == derive_uid(*parts)
    assert re.fullmatch(RE_VALID_UID, uid)
    assert len(uid) <= 64


@given(one=st.lists(st.text(), max_size=4), other=st.lists(st.text(), max_size=4))
def test_different_parts_have_different_uids(one, other):
    assert (derive_uid(*one) == derive_uid(*other)) == (one == other)


@pytest.mark.parametrize(
    "change", [{"study_instance_uid": "1.2.4"}, {"generation": 2}, {"bundle_digest": "cd" * 32}]
)
@pytest.mark.parametrize("kind", [REPORT, SYNTHETIC])
def test_study_generation_and_model_each_make_another_object(change, kind):
    assert identity().sop_instance_uid(kind) != identity(**change).sop_instance_uid(kind)
    assert identity().series_instance_uid(kind) != identity(**change).series_instance_uid(kind)


def test_the_kinds_and_levels_of_one_study_never_share_a_uid():
    uids = {
        derive(kind)
        for derive in (identity().sop_instance_uid, identity().series_instance_uid)
        for kind in (REPORT, SYNTHETIC)
    }
    assert len(uids) == 4


def test_the_predecessor_is_the_generation_before():
    assert identity().predecessor() is None
    assert identity(generation=3).predecessor() == identity(generation=2)
    assert identity(generation=3, has_predecessor=False).predecessor() is None


def test_the_predecessor_of_another_model_keeps_that_models_uid():
    successor = identity(generation=2, previous_bundle_digest="cd" * 32)
    assert successor.predecessor().sop_instance_uid(REPORT) == identity(
        bundle_digest="cd" * 32
    ).sop_instance_uid(REPORT)


def test_a_time_without_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        identity(created_at=READY.replace(tzinfo=None))


def test_the_implementation_names_itself_within_the_limits_of_the_standard():
    assert len(IMPLEMENTATION_CLASS_UID) <= 64
    assert len(IMPLEMENTATION_VERSION_NAME) <= 16
