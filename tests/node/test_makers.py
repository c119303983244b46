"""What is made of a draft says of a synthetic film that it is one, whatever the form."""

from __future__ import annotations

import pytest

from engine.results import Inspection
from node.config_outputs import OutputSettings
from node.drafted import Drafted, Film
from node.makers import make_objects
from tests.films import phantom
from tests.node.outputs_made import draft, drawing, identity

FORMS = ("report", "hl7", "fhir")
MARKS = ({"SyntheticData": "YES"}, {"ImageType": ["DERIVED", "SECONDARY", "OTHER", "SYNTHETIC"]})
TOLD = b"is synthetic: it shows nobody"


def made(**header: object) -> dict[str, bytes]:
    film = Film(phantom(**header), drawing().image, Inspection(True, "frontal", ()))
    objects = make_objects(Drafted(film, draft(), identity()), OutputSettings(), FORMS)
    return {kind: one.content for kind, one in objects}


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: next(iter(mark)))
def test_a_draft_of_a_synthetic_film_says_so_in_words(mark):
    forms = made(**mark)
    assert set(forms) == set(FORMS)
    assert all(TOLD in content for content in forms.values())


def test_a_draft_of_a_patients_film_does_not():
    assert not any(TOLD in content for content in made().values())
