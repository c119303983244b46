import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig

from engine.labeler import label
from tests.training.reports import film
from training.cli import main
from training.config import VqaSection
from training.errors import JobError, VqaError
from training.jobs.vqa_job import VqaJob
from training.vqa import prompted, table, writers
from training.vqa.parsing import Pair, Unreadable, pair, parse
from training.vqa.prompted import Completion

REPORT = "There is a small left pleural effusion. The heart is normal in size."
GOOD = {
    "question": "How large is the pleural effusion?",
    "answer": "It is a small effusion on the left.",
    "evidence": "There is a small left pleural effusion.",
}
YES = {
    "question": "Is there a pleural effusion?",
    "answer": "Yes, a small one on the left.",
    "evidence": "small left pleural effusion",
}


def read(*items, output=None, case=None):
    """Read one output of a study and return the table that comes of it."""
    case = case or film(findings=REPORT, split="val")
    written = Completion(case.study_id, json.dumps(items) if output is None else output)
    return prompted.collect([written], {case.study_id: case}, label, "some-llm")


def test_a_sound_pair_becomes_a_row_of_the_film_s_split():
    (row,) = read(GOOD).rows
    assert (row.kind, row.finding, row.answer_key) == ("severity", "Pleural Effusion", "mild")
    assert (row.split, row.source, row.evidence) == ("val", "some-llm", GOOD["evidence"])


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", "output is not JSON"),
        ("Here you are: []", "output is not JSON"),
        (f"```json\n{json.dumps([GOOD])}\n```", "output is not JSON"),
        (json.dumps([GOOD]) + "\nI hope this helps!", "output is not JSON"),
        (json.dumps([GOOD])[:-3], "output is not JSON"),
        (str([GOOD]), "output is not JSON"),
        ("__import__('os').system('true')", "output is not JSON"),
        ("[NaN]", "output is not JSON"),
        ("9" * 5000, "output is not JSON"),
        (json.dumps(GOOD), "output is not an array"),
        ("null", "output is not an array"),
        ("[]", "output is an empty array"),
        (json.dumps([GOOD] * 21), "output has too many pairs"),
        ("[" * 9000 + "]" * 9000, "output is nested too deeply"),
        (" " * 20_001, "output is too long"),
        ('[{"question": "Is it?", "question": "Is it not?"}]', "output names a key twice"),
    ],
)
def test_an_output_that_is_not_an_array_of_pairs_costs_its_study_and_is_counted(output, reason):
    made = read(output=output)
    assert made.rows == []
    assert made.dropped == {f"study: {reason}": 1}


SHAPE = "pair: not exactly question, answer and evidence"


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("text", SHAPE),
        ({**GOOD, "id": 3}, SHAPE),
        ({k: v for k, v in GOOD.items() if k != "evidence"}, SHAPE),
        ({**GOOD, "answer": 1}, SHAPE),
        ({**GOOD, "answer": None}, SHAPE),
        ({**GOOD, "answer": ["x"]}, SHAPE),
        ({**GOOD, "question": "x" * 301}, SHAPE),
        ({**GOOD, "answer": "\ud800"}, SHAPE),
        ({**GOOD, "evidence": "There is a large left effusion."},
         "pair: evidence is not in the report"),
        ({**GOOD, "evidence": "there is a small left pleural effusion."},
         "pair: evidence is not in the report"),
        ({**GOOD, "answer": "Small, unchanged since the last study."},
         "pair: speaks of another examination"),
        ({**GOOD, "question": "What follow-up does the effusion need?"},
         "pair: speaks of what should be done next"),
        ({**YES, "answer": "No, there is none."}, "pair: evidence contradicts the answer"),
    ],
)  # fmt: skip
def test_a_bad_pair_is_dropped_and_its_neighbour_stays(item, reason):
    made = read(item, GOOD)
    assert [row.question for row in made] == [GOOD["question"]]
    assert made.dropped == {reason: 1}


def test_duplicates_go_and_a_study_of_which_nothing_is_left_is_counted():
    again = {**GOOD, "question": "how large is the pleural effusion"}
    assert read(GOOD, again).dropped == {"pair: same question twice in a study": 1}
    lost = read({**GOOD, "evidence": "Invented."})
    assert lost.dropped == {"pair: evidence is not in the report": 1, "study: no pair left": 1}


@given(st.text())
def test_no_text_makes_the_reader_fail_otherwise_than_by_a_reason(text):
    try:
        items = parse(text)
    except Unreadable:
        return
    assert isinstance(items, list)
    assert all(isinstance(pair(item), Pair | None) for item in items)


def test_the_model_is_shown_the_cleaned_report_and_nothing_else_of_the_study():
    case = film("secret-study", findings="Clear lungs. Unchanged from XXXX. New effusion.")
    chat = prompted.messages(prompted.shown(case), 5)
    spoken = " ".join(turn["content"] for turn in chat)
    assert "Findings: Clear lungs." in spoken
    assert "XXXX" not in spoken
    assert "New effusion" not in spoken
    assert "secret" not in spoken
    assert "Write 5 questions" in spoken


def test_one_film_a_study_is_asked_about_the_frontal_one_first():
    lateral = film("s1", findings=REPORT, image_id="s1_0", view="lateral")
    frontal = film("s1", findings=REPORT)
    assert prompted.asked_films([lateral, frontal, film("s2")]) == [frontal]


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/v1", "HTTPS://example.org/v1"])
def test_an_address_is_refused_unless_the_recipe_allows_it(address, tmp_path):
    job = VqaJob(tmp_path, [film(findings=REPORT)], address, VqaSection())
    with pytest.raises(VqaError, match="would be sent") as caught:
        job.questions("vllm", None)
    assert "vqa.allow_remote=true" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_a_directory_and_never_a_download(tmp_path, base_dir):
    with pytest.raises(VqaError, match="no language model at databricks/dolly-v2-3b"):
        writers.open_writer("databricks/dolly-v2-3b", VqaSection())
    (tmp_path / "labels").mkdir()
    with pytest.raises(VqaError, match="cannot be called labels"):
        writers.source_name(str(tmp_path / "labels"))


def test_vllm_that_is_not_installed_is_named_with_its_cure(base_dir, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    job = VqaJob(tmp_path, [film(findings=REPORT)], str(base_dir), VqaSection())
    with pytest.raises(JobError, match="vllm, which is not installed") as caught:
        job.questions("vllm", None)
    assert "pip install" in caught.value.hint


SMALL = ["--set", "vqa.max_new_tokens=8", "--set", "vqa.studies_per_chunk=3"]


def test_a_model_that_babbles_costs_every_study_and_loses_none(films_dir, base_dir, tmp_path):
    """End to end with a real causal model: random weights write no JSON."""
    run = str(tmp_path / "run")
    assert main(["catalog", "--run", run, "--films", str(films_dir)]) == 0
    command = ["vqa", "--run", run, "--generator", "transformers", "--model", str(base_dir)]
    assert main([*command, *SMALL]) == 0
    made = table.read(tmp_path / "run" / "vqa.parquet")
    assert made.rows == []
    assert sum(made.dropped.values()) == 12
    assert all(reason.startswith("study: ") for reason in made.dropped)


def test_a_second_run_asks_no_model_and_a_killed_one_asks_only_for_the_rest(
    base_dir, tmp_path, monkeypatch
):
    films = [film(f"s{n}", findings=REPORT) for n in range(5)]
    settings = VqaSection(max_new_tokens=4, studies_per_chunk=2)
    job = VqaJob(tmp_path, films, str(base_dir), settings)
    asked = []
    generate = writers.LocalWriter.generate

    def watched(self, prompts):
        asked.append(len(prompts))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return generate(self, prompts)

    monkeypatch.setattr(writers.LocalWriter, "generate", watched)
    with pytest.raises(KeyboardInterrupt):
        job.questions("transformers", None)
    first = job.questions("transformers", None)
    assert asked == [2, 2, 2, 1]
    assert job.questions("transformers", None) == first
    assert asked == [2, 2, 2, 1]
    kept = [c.study_id for c in job.run("transformers", None)]
    assert kept == [f.study_id for f in films]


def test_a_report_too_long_for_the_model_is_counted_as_such(base_dir):
    longest = AutoConfig.from_pretrained(base_dir).max_position_embeddings
    writer = writers.LocalWriter(base_dir, VqaSection(max_new_tokens=2))
    assert writer.longest_prompt == longest - 2
    writer.longest_prompt = 60
    chats = [prompted.messages(REPORT, 5), [{"role": "user", "content": "Hi"}]]
    (_, too_long), (_, fine) = writer(chats)
    assert too_long == "report is too long for the model"
    assert fine == ""


class Server(BaseHTTPRequestHandler):
    """Answers as vLLM's OpenAI-compatible server does; refuses reports of cardiomegaly."""

    def do_GET(self):
        self.answer(200, {"data": [{"id": "served"}]})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert request["model"] == "served"
        assert request["response_format"]["type"] == "json_schema"
        if "ardiomegaly" in request["messages"][1]["content"]:
            self.answer(400, {"error": "refused"})
            return
        content = json.dumps([GOOD, YES])
        self.answer(200, {"choices": [{"message": {"content": content}}]})

    def answer(self, status, body):
        sent = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *arguments):
        """Keep the test's output clean."""


@pytest.fixture
def endpoint():
    server = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_allowed_endpoint_is_asked_and_its_refusals_are_counted(endpoint, tmp_path):
    films = [film("s1", findings=REPORT), film("s2", findings="Cardiomegaly.")]
    job = VqaJob(tmp_path, films, endpoint, VqaSection(allow_remote=True))
    made = job.questions("vllm", None)
    assert [row.kind for row in made] == ["severity", "presence"]
    assert made.dropped == {"study: endpoint refused the report": 1}
    with pytest.raises(VqaError, match="loads a directory"):
        job.questions("transformers", None)


def test_an_endpoint_that_is_down_stops_the_job_with_nothing_lost(tmp_path):
    settings = VqaSection(allow_remote=True)
    job = VqaJob(tmp_path, [film(findings=REPORT)], "http://127.0.0.1:1/v1", settings)
    with pytest.raises(VqaError, match="no answer from") as caught:
        job.questions("vllm", None)
    assert "finished studies are kept" in caught.value.hint
