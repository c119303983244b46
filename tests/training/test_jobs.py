import json
import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.nets.load import load_tokenizer
from engine.nets.vqgan import Vqgan
from engine.pixels import Transform
from tests.training.reports import film
from training import catalog, checkpoints, config, encode_images
from training.errors import JobError
from training.jobs import cluster, encode_job, vqa_job
from training.jobs.cluster import Chunk, Cluster, Stage, objects, run_job
from training.jobs.encode_job import EncodeFilms, EncodeJob
from training.jobs.parts import Parts
from training.jobs.vqa_job import VqaJob

REPORT = "There is a small left pleural effusion. The heart is normal in size."
TINY = [
    "tokenizer2=null",
    "tokenizer.channels=16", "tokenizer.channel_mult=[1, 1, 1]", "tokenizer.z_channels=8",
    "tokenizer.num_groups=4", "tokenizer.code_dim=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run directory that holds a tokenizer with random weights."""
    recipe = config.load("demo", TINY)
    torch.manual_seed(0)
    model = Vqgan(recipe.tokenizer.net())
    folder = tmp_path_factory.mktemp("run")
    values = {"recipe": recipe.model_dump(mode="json")}
    checkpoints.save(folder / "tokenizer", 1, {"model": model.state_dict()}, values)
    return folder


@pytest.fixture
def films(films_dir):
    return catalog.build(films_dir).films


@pytest.fixture
def on_ray():
    """A cluster of this machine alone; nothing of it outlives the test."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    yield Cluster("local", actors=1)
    assert not ray.is_initialized()
    ray.shutdown()


def on_a_cluster(test):
    """Mark a test that starts Ray: its own deprecations are not ours, and it starts slowly."""
    for mark in (
        pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
        pytest.mark.timeout(600),
        pytest.mark.slow,
    ):
        test = mark(test)
    return test


def own_codes(run_dir, films, rows, path):
    """Encode films as `cxr-train encode` does without Ray."""
    transform = Transform()
    images = np.stack([catalog.film_pixels(film, transform) for film in films])
    return encode_images.encode(load_tokenizer(run_dir), images, rows, path)


def test_a_job_keeps_whole_chunks_and_gets_its_name_with_the_last(tmp_path):
    parts = Parts(tmp_path, "job", "d" * 64, 3, "bin")
    assert parts.missing() == [0, 1, 2]
    parts.write(2, b"two")
    parts.write(0, b"zero")
    (parts.partial_dir / "part-00001.bin.partial").write_bytes(b"to")
    assert parts.missing() == [1]
    with pytest.raises(JobError, match="1 of 3 chunks"):
        parts.seal()
    with pytest.raises(JobError, match="not finished"):
        list(parts.read())
    parts.write(1, b"one")
    parts.seal()
    assert list(parts.read()) == [b"zero", b"one", b"two"]
    assert [path.name for path in tmp_path.iterdir()] == ["job-dddddddddddddddd"]
    parts.seal()
    assert parts.missing() == []


def test_a_chunk_that_was_changed_is_refused(tmp_path):
    parts = Parts(tmp_path, "job", "d" * 64, 1, "bin")
    parts.write(0, b"zero")
    parts.seal()
    parts.path(0).write_bytes(b"none")
    with pytest.raises(JobError, match="not the file that was written"):
        list(parts.read())


class Echo:
    """A stage that returns what it is given and dies on the chunks it is told to."""

    calls: list[int] = []  # noqa: RUF012
    deadly = -1

    def __call__(self, batch):
        Echo.calls.append(int(batch["chunk"][0]))
        if Echo.calls[-1] == Echo.deadly:
            raise KeyboardInterrupt
        return {"chunk": batch["chunk"], "part": objects([str(batch["word"][0]).encode()])}


@settings(deadline=None, max_examples=40)  # every chunk is synced to the disk
@given(st.integers(0, 9), st.integers(-1, 9))
def test_a_killed_job_goes_on_behind_its_finished_chunks(tmp_path_factory, num_chunks, deadly):
    root = tmp_path_factory.mktemp("job")
    chunks = [Chunk(n, {"word": f"w{n}"}) for n in range(num_chunks)]
    parts = Parts(root, "job", "d" * 64, num_chunks, "bin")
    Echo.calls, Echo.deadly = [], deadly
    if 0 <= deadly < num_chunks:
        with pytest.raises(KeyboardInterrupt):
            run_job(parts, chunks, Stage(Echo), None)
        Echo.deadly = -1
        assert parts.missing() == list(range(deadly, num_chunks))
        Echo.calls.pop()
    run_job(parts, chunks, Stage(Echo), None)
    run_job(parts, chunks, Stage(Echo), None)
    assert list(range(num_chunks)) == Echo.calls
    assert list(parts.read()) == [f"w{n}".encode() for n in range(num_chunks)]


def test_a_chunk_encodes_to_the_codes_of_the_path_without_ray(run_dir, films, tmp_path):
    rows = np.array([0, 3, 4, 7])
    expected = own_codes(run_dir, films, rows, tmp_path / "own.npy")
    job = EncodeJob(run_dir, films, rows, Transform(), films_per_chunk=4)
    (chunk,) = job.chunks()
    stage = EncodeFilms(str(run_dir), Transform())
    made = stage({name: objects([value]) for name, value in chunk.row().items()})
    parts = Parts(tmp_path, "encode", job.digest(), 1, "parquet")
    parts.write(0, made["part"][0])
    parts.seal()
    assert np.array_equal(encode_job.gather(parts, len(films), tmp_path / "codes.npy"), expected)
    assert np.array_equal(encode_images.read(tmp_path / "codes.npy", len(films)), expected)
    assert (expected[1] == -1).all()
    assert (expected[rows] >= 0).all()


def test_another_tokenizer_transform_or_film_is_another_job(run_dir, films, tmp_path):
    run_dir = Path(shutil.copytree(run_dir, tmp_path / "run"))
    rows = np.arange(3)
    job = EncodeJob(run_dir, films, rows, Transform())
    others = [
        EncodeJob(run_dir, films, rows[:2], Transform()),
        EncodeJob(run_dir, films, rows, Transform(clip_percentile=2.0)),
        EncodeJob(run_dir, films[::-1], rows, Transform()),
    ]
    names = {job.digest(), *(other.digest() for other in others)}
    assert len(names) == 4
    retrained = Vqgan(config.load("demo", TINY).tokenizer.net())
    values = {"recipe": config.load("demo", TINY).model_dump(mode="json")}
    checkpoints.save(run_dir / "tokenizer", 2, {"model": retrained.state_dict()}, values)
    assert job.digest() not in names


@on_a_cluster
def test_encoding_on_ray_gives_the_same_codes_once(run_dir, films, tmp_path, on_ray, monkeypatch):
    rows = np.arange(0, len(films), 2)
    expected = own_codes(run_dir, films, rows, tmp_path / "own.npy")
    job = EncodeJob(run_dir, films, rows, Transform(), films_per_chunk=4)
    found = job.run(tmp_path / "codes.npy", on_ray)
    assert np.array_equal(found, expected)

    def unreachable(address):
        raise AssertionError("a finished job started Ray")

    monkeypatch.setattr(cluster, "joined", unreachable)
    assert np.array_equal(job.run(tmp_path / "again.npy", on_ray), expected)


@on_a_cluster
def test_asking_on_ray_writes_what_asking_here_writes(base_dir, tmp_path, on_ray):
    films = [film(f"s{n}", findings=REPORT) for n in range(4)]
    settings = config.VqaSection(max_new_tokens=4, studies_per_chunk=2)
    here = VqaJob(tmp_path / "here", films, str(base_dir), settings)
    there = VqaJob(tmp_path / "there", films, str(base_dir), settings)
    assert list(there.run("transformers", on_ray)) == list(here.run("transformers", None))


def test_an_address_without_ray_gives_one_error_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(JobError, match="needs Ray") as caught, cluster.joined("auto"):
        pass
    assert "cxr-node[preprocess]" in caught.value.hint


def test_an_address_without_a_cluster_says_so(caplog):
    pytest.importorskip("ray", reason="ray is not installed")
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(JobError, match="no Ray cluster at auto"), cluster.joined("auto"):
        pass


def test_a_worker_s_trace_is_told_by_the_error_that_began_it():
    trace = """ray::MapWorker(MapBatches(EncodeFilms)).submit() (pid=7, ip=192.0.2.2)
  File "encode_job.py", line 9, in render
    raise PixelError("film 1 is broken")
engine.errors.PixelError: film 1 is broken

The above exception was the direct cause of the following exception:

ray.exceptions.UserCodeException: UDF failed to process a data block.
To change retry attempts, configure the context."""
    assert cluster.reason(trace) == "engine.errors.PixelError: film 1 is broken"
    assert cluster.reason("The actor died.\nMore.") == "The actor died."


def test_rows_of_vllm_become_chunks_again_failures_included():
    chunks = [Chunk(4, {"studies": ["a", "b"], "reports": ["x", "y"]}),
              Chunk(7, {"studies": ["c"], "reports": ["z"]})]  # fmt: skip
    rows = [{**row, "generated_text": row["report"].upper()} for chunk in chunks
            for row in vqa_job.study_rows(chunk)]  # fmt: skip
    rows[0] = {"chunk": 4, "study": "a", "__inference_error__": "too long"}
    found = dict(vqa_job.regrouped(rows[::-1], chunks))
    assert list(found) == [7, 4]
    lines = [json.loads(line) for line in found[4].splitlines()]
    assert [line["study_id"] for line in lines] == ["a", "b"]
    assert [line["fault"] for line in lines] == ["engine failed on the report", ""]
    assert lines[1]["output"] == "Y"


def test_vllm_is_asked_for_json_of_the_schema_and_goes_on_after_an_error(tmp_path):
    settings = config.VqaSection(max_new_tokens=99)
    asked = vqa_job.request(REPORT, settings)["sampling_params"]
    schema = json.loads(asked["structured_outputs"]["json"])
    assert schema["items"]["required"] == ["question", "answer", "evidence"]
    assert schema["items"]["additionalProperties"] is False
    assert asked["max_tokens"] == 99
    engine = vqa_job.engine_settings(str(tmp_path), settings, Cluster("auto", 3, 2.0))
    assert engine["should_continue_on_error"] is True
    assert (engine["concurrency"], engine["engine_kwargs"]["tensor_parallel_size"]) == (3, 2)
