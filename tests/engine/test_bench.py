"""`cxr bench`: every backend has times or a reason."""

import json

import pytest

from engine.backends.select import BACKENDS
from engine.bench import NAMES
from engine.cli import main


@pytest.mark.slow
def test_every_backend_has_its_times_or_a_reason(capsys):
    assert main(["bench", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["backend"] for one in found] == list(BACKENDS)
    for one in found:
        assert bool(one["reason"]) != bool(one["milliseconds"])
        assert set(one["milliseconds"]) in (set(), set(NAMES))
        assert all(value > 0 for value in one["milliseconds"].values())
    assert found[-1]["milliseconds"], "onnxruntime runs everywhere"
