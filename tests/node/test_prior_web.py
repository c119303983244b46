"""A DICOMweb server that answers wrongly brings no prior, and never another patient's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom.dataset import Dataset
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node.config_outputs import HttpSettings
from node.errors import PeerError
from node.prior_choice import StudyFacts
from node.prior_web import WebPriorSource
from tests.films import phantom
from tests.node.outputs_made import encoded
from tests.receivers import HttpServer

PERSON = {"PatientID": "7", "PatientBirthDate": "19500101", "StudyTime": "090000"}
NOW = StudyFacts.of(phantom("now", **PERSON, StudyDate="20200101"))
EARLIER = phantom("earlier", **PERSON, StudyDate="20190101", BodyPartExamined="CHEST")


def multipart(content: bytes) -> Response:
    body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--x--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=x'
    return Response(body, headers={"Content-Type": kind})


def rows(*found: Dataset) -> Response:
    headers = [{k: v for k, v in ds.to_json_dict().items() if k != "7FE00010"} for ds in found]
    return Response(json.dumps(headers), media_type="application/dicom+json")


@contextmanager
def source(
    film: Callable[[], Response], search: Callable[[], Response] = lambda: rows(EARLIER)
) -> Iterator[WebPriorSource]:
    """Serve searches and one film; yield what asks for them."""

    async def on_search(_request: Request) -> Response:
        return search()

    async def on_film(_request: Request) -> Response:
        return film()

    series = "/studies/{study}/series"
    routes: dict[str, Any] = {
        "/studies": on_search,
        series: on_search,
        f"{series}/{{series}}/instances": on_search,
        f"{series}/{{series}}/instances/{{film}}": on_film,
    }
    server = HttpServer(Starlette(routes=[Route(path, answer) for path, answer in routes.items()]))
    server.start()
    settings = HttpSettings(url=f"http://127.0.0.1:{server.port}")
    yield WebPriorSource("web", settings, 50_000_000)
    server.stop()


def asked(asks: WebPriorSource) -> Any:
    (study,) = asks.studies(NOW, 5)
    return asks.film(NOW, study, 5)


def test_the_film_of_the_patient_comes_as_it_is_encoded():
    with source(lambda: multipart(encoded(EARLIER))) as asks:
        found = asked(asks)
    assert found.command.sop_instance_uid == EARLIER.SOPInstanceUID
    assert bytes(found.encoded) in encoded(EARLIER)
    assert len(found.encoded) > len(EARLIER.PixelData)


WRONG = {
    "another patient's": phantom("earlier", **{**PERSON, "PatientID": "8"}, StudyDate="20190101"),
    "a later film": phantom("earlier", **PERSON, StudyDate="20210101"),
    "another object": phantom("another", **PERSON, StudyDate="20190101"),
    "a synthetic film": phantom("earlier", **PERSON, StudyDate="20190101", SyntheticData="YES"),
}


@pytest.mark.parametrize("which", WRONG)
def test_a_film_that_is_no_prior_is_not_taken(which):
    with source(lambda: multipart(encoded(WRONG[which]))) as asks:
        assert asked(asks) is None


BROKEN: dict[str, Callable[[], Response]] = {
    "no DICOM": lambda: multipart(b"x" * 400),
    "nothing": lambda: multipart(b""),
    "refused": lambda: Response(status_code=404),
    "cut off": lambda: Response(b"--x\r\n\r\n", headers={"Content-Type": "multipart/related"}),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_no_film_is_an_error_with_a_reason(how):
    with source(BROKEN[how]) as asks, pytest.raises(PeerError):
        asked(asks)


@pytest.mark.parametrize(
    "answer",
    [
        Response(status_code=500),
        Response(b"<html>", media_type="text/html"),
        Response(b"{}", media_type="application/dicom+json"),
        Response(b'[{"0020000D": 5}]', media_type="application/dicom+json"),
        Response(b'["x"]', media_type="application/dicom+json"),
    ],
)
def test_a_search_that_is_answered_wrongly_is_an_error(answer):
    with source(lambda: multipart(b""), lambda: answer) as asks, pytest.raises(PeerError):
        asks.studies(NOW, 5)


def test_nothing_found_is_no_error():
    with source(lambda: multipart(b""), lambda: Response(status_code=204)) as asks:
        assert asks.studies(NOW, 5) == []


def test_no_time_left_asks_nobody():
    asks = WebPriorSource("web", HttpSettings(url="http://127.0.0.1:1"), 1)
    with pytest.raises(PeerError, match="no time"):
        asks.studies(NOW, 0)
