"""Tasks: the registry is whole, replies are read and never guessed, errors say what to give."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.cli import DRAFT_STATUS, FAULT, main
from engine.errors import TaskError
from engine.findings import FINDINGS
from engine.pipeline import Engine
from engine.pixels import render_file
from engine.results import Answer as Reply
from engine.results import Provenance
from engine.tasks import TASKS, UNPARSABLE, Tasks
from engine.tasks.answers import READERS, Answer, read
from engine.tasks.phrasing import INSTRUCTIONS
from engine.tasks.registry import SECTIONS, Input
from engine.tasks.terms import PROGRESS, REGION, SEVERITY, SIDE
from engine.tasks.values import Box, Place, as_json
from engine.tasks.words import LETTERS, NOUNS, PLACES, finding_named, listed, spoken
from tests.films import phantom


def test_every_task_has_paraphrases_that_use_what_it_is_given():
    assert INSTRUCTIONS.keys() == TASKS.keys()
    for task in TASKS.values():
        assert 6 <= len(set(task.instructions)) <= 10
        shown = {one: f"<{one.value}>" for one in task.words}
        wanted = [] if task.has_text_block else list(shown.values())
        for phrasing in range(len(task.instructions)):
            assert all(text in task.put(shown, phrasing) for text in wanted)


def test_every_kind_of_answer_has_a_reader_and_a_task():
    assert READERS.keys() == set(Answer)
    assert {task.answer for task in TASKS.values()} == set(Answer)


def test_what_is_missing_or_not_wanted_is_named():
    with pytest.raises(TaskError, match="side needs finding"):
        TASKS["side"].put({})
    with pytest.raises(TaskError, match="view takes no text"):
        TASKS["view"].put({Input.TEXT: "words"})


OPTIONS = ("Pneumonia", "Edema", "Lung edema")
READ = [
    (Answer.YES_NO, "Yes, there is.", True),
    (Answer.YES_NO, "no.", False),
    (Answer.YES_NO, "There is none.", UNPARSABLE),
    (Answer.VIEW, "This is an AP film.", "AP"),
    (Answer.VIEW, "A posterior-to-anterior view", "PA"),
    (Answer.VIEW, "A lateral view.", "lateral"),
    (Answer.VIEW, "PA and lateral.", UNPARSABLE),
    (Answer.VIEW, "A frontal film.", UNPARSABLE),
    (Answer.CHOICE, "(B)", 1),
    (Answer.CHOICE, "B) Edema", 1),
    (Answer.CHOICE, "Option C.", 2),
    (Answer.CHOICE, "Lung edema is seen.", 2),
    (Answer.CHOICE, "Pneumonia or edema.", UNPARSABLE),
    (Answer.CHOICE, "D", UNPARSABLE),
    (Answer.CHOICE, "A film is shown.", UNPARSABLE),
    (Answer.SUBSET, "Pneumonia and lung edema.", frozenset({"Pneumonia", "Lung edema"})),
    (Answer.SUBSET, "(A), (C)", frozenset({"Pneumonia", "Lung edema"})),
    (Answer.SUBSET, "None of these.", frozenset()),
    (Answer.SUBSET, "No pneumonia.", UNPARSABLE),
    (Answer.SUBSET, "", UNPARSABLE),
    (Answer.FINDINGS, "Cardiomegaly, pleural effusion.",
     frozenset({"Cardiomegaly", "Pleural Effusion"})),
    (Answer.FINDINGS, "No finding.", frozenset()),
    (Answer.FINDINGS, "There is a small left pleural effusion. No pneumothorax.",
     frozenset({"Pleural Effusion"})),
    (Answer.FINDINGS, "I cannot tell.", UNPARSABLE),
    (Answer.SIDE, "On the left and on the right.", "bilateral"),
    (Answer.SIDE, "Not on the left.", UNPARSABLE),
    (Answer.REGION, "In the upper lobe and at the base.", UNPARSABLE),
    (Answer.SEVERITY, "It is small.", "mild"),
    (Answer.PLACE, "Right lower lobe.", Place("right", "lower")),
    (Answer.PLACE, "On the left.", Place("left", "")),
    (Answer.PLACE, "Somewhere.", UNPARSABLE),
    (Answer.BOXES, "<|box|>(10,20),(30,40)<|/box|>", (Box(10, 20, 30, 40),)),
    (Answer.BOXES, "(10,20),(30,40); (50,50),(60,60)", (Box(10, 20, 30, 40), Box(50, 50, 60, 60))),
    (Answer.BOXES, "(30,20),(10,40)", UNPARSABLE),
    (Answer.BOXES, "(10,20),(30,140)", UNPARSABLE),
    (Answer.BOXES, "No pneumonia is seen.", ()),
    (Answer.BOXES, "In the left lung.", UNPARSABLE),
    (Answer.PROGRESS, "There is no change.", "stable"),
    (Answer.PROGRESS, "The edema has improved.", "improving"),
    (Answer.PROGRESS, "It is not worse.", UNPARSABLE),
    (Answer.PROGRESS, "Improved on the left, worse on the right.", UNPARSABLE),
    (Answer.SECTION_TEXT, " The lungs\nare clear. ", "The lungs are clear."),
    (Answer.TEXT, " ... ", UNPARSABLE),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "reply", "value"), READ)
def test_a_reply_is_read_or_is_no_answer(kind, reply, value):
    assert read(kind, reply, OPTIONS) == value


UNHURRIED = settings(deadline=None)


@UNHURRIED
@given(st.sampled_from(list(Answer)), st.text(), st.lists(st.text(min_size=1), max_size=4))
def test_no_reply_whatever_breaks_a_reader(kind, reply, options):
    value = read(kind, reply, options)
    json.dumps(as_json(value))
    if kind is Answer.CHOICE and value is not UNPARSABLE:
        assert options[value]
    if kind is Answer.SUBSET and value is not UNPARSABLE:
        assert value <= set(options)


@UNHURRIED
@given(st.sets(st.sampled_from(FINDINGS[1:])))
def test_spoken_findings_read_back(names):
    assert read(Answer.FINDINGS, spoken(names)) == names


@UNHURRIED
@given(st.lists(st.sampled_from([n.singular for n in NOUNS.values()]), min_size=2, max_size=8,
                unique=True), st.data())  # fmt: skip
def test_options_read_back_by_letter_and_by_text(options, data):
    place = data.draw(st.integers(0, len(options) - 1))
    assert read(Answer.CHOICE, f"({LETTERS[place]})", options) == place
    assert read(Answer.CHOICE, f"{options[place]}.", options) == place
    some = data.draw(st.sets(st.sampled_from(options), min_size=1))
    assert read(Answer.SUBSET, ", ".join(some), options) == some
    assert f"({LETTERS[place]}) {options[place]}" in listed(options)


@UNHURRIED
@given(st.sampled_from(["left", "right", "bilateral"]), st.sampled_from(sorted(PLACES)))
def test_a_place_in_words_reads_back(side, region):
    assert read(Answer.PLACE, f"{side} {PLACES[region]}") == Place(side, region)


@pytest.mark.parametrize(
    ("kind", "terms"),
    [(Answer.SIDE, SIDE), (Answer.REGION, REGION), (Answer.SEVERITY, SEVERITY),
     (Answer.PROGRESS, PROGRESS)],
)  # fmt: skip
def test_every_term_reads_as_itself(kind, terms):
    plain = {"upper": "upper lung", "middle": "middle lung", "lower": "lower lung"}
    assert all(read(kind, plain.get(term, term)) == term for term in terms)


EDGE = st.integers(0, 100)


@UNHURRIED
@given(EDGE, EDGE, EDGE, EDGE)
def test_boxes_read_back_and_overlap_is_between_nothing_and_all(a, b, c, d):
    box, film = Box(min(a, c), min(b, d), max(a, c), max(b, d)), Box(0, 0, 100, 100)
    value = read(Answer.BOXES, str(box))
    assert value == ((box,) if box.is_proper else UNPARSABLE)
    assert 0 <= box.overlap(film) <= 1
    if box.is_proper:
        assert box.overlap(box) == pytest.approx(1)


def test_a_finding_is_known_by_its_name_and_by_its_noun():
    assert finding_named(" pulmonary  edema ") == finding_named("Edema") == "Edema"
    with pytest.raises(TaskError, match="gout") as caught:
        finding_named("gout")
    assert "Cardiomegaly" in caught.value.hint


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.dcm"
    phantom().save_as(path, enforce_file_format=True)
    return path


@pytest.fixture(scope="module")
def engine():
    return Engine.load(num_threads=1)


def test_every_call_answers_with_its_provenance(engine, film):
    image, tasks = render_file(film, engine.transform), Tasks(engine)
    options = ("edema", "pneumothorax")
    calls = [
        tasks.view(image), tasks.has(image, "edema"), tasks.findings(image),
        tasks.which(image, options), tasks.which_of(image, options),
        tasks.which_set(image, options), tasks.statement(image, options),
        tasks.side(image, "edema"), tasks.location(image, "edema"),
        tasks.severity(image, "edema"), tasks.localise(image, "edema"),
        tasks.write_findings(image), tasks.write_findings(image, "Cough."),
        tasks.write_section(image, SECTIONS[0]), tasks.write_impression(image),
        tasks.summarise("The lungs are clear."), tasks.findings_in("There is edema."),
        tasks.matches(image, "The lungs are clear."), tasks.select(image, options),
        tasks.yes_or_no(image, "Is there edema?"), tasks.ask(image, "Is there edema?"),
    ]  # fmt: skip
    for answer in calls:
        assert answer.provenance.bundle_digest == engine.digest
        assert read(TASKS[answer.task].answer, answer.text, answer.options) == answer.value
        assert json.loads(json.dumps(answer.as_json()))["parsed"] is answer.is_parsed


def test_a_choice_is_always_one_of_the_options(engine, film):
    image, tasks = render_file(film, engine.transform), Tasks(engine)
    texts = ("The heart is enlarged, as before.", "B. (see A)", "Yes", "Yes, and no.")
    for options in (texts, texts[::-1]):
        answer = tasks.select(image, options)
        assert answer.text == options[answer.value]
    assert tasks.select(image, texts).text == tasks.select(image, texts).text


def test_two_films_too_few_options_and_unknown_sections_are_refused(engine, film):
    image, tasks = render_file(film, engine.transform), Tasks(engine)
    with pytest.raises(TaskError, match="two films"):
        tasks.progression(image, image, "edema")
    with pytest.raises(TaskError, match="takes one film"):
        tasks.run("view", image, other=image)
    with pytest.raises(TaskError, match="2 to 8 options"):
        tasks.which(image, ["edema"])
    with pytest.raises(TaskError, match="2 to 8 options"):
        tasks.which(image, ["edema", " "])
    with pytest.raises(TaskError, match="no section is called 'liver'"):
        tasks.write_section(image, "liver")
    with pytest.raises(TaskError, match="takes no film"):
        tasks.run("findings-in-text", image, {Input.TEXT: "Edema."})


PROVENANCE = Provenance("two", "1", "ab", "1", "none", None, 1.0)


@dataclass
class Compares:
    """A model that was taught to compare films, and says what it was shown."""

    shown: dict[str, object] = field(default_factory=dict)
    taught: frozenset[str] = frozenset({"view-matching", "progression"})

    def follow(self, instruction, image=None, *, text="", options=(), max_new_tokens=64, **beside):
        self.shown = {name: film for name, film in beside.items() if name != "advance"}
        return Reply(instruction, "Yes, it is worsening.", PROVENANCE)


def test_a_task_of_two_films_shows_the_other_by_its_name():
    model, first, other = Compares(), np.zeros((1, 8, 8)), np.ones((1, 8, 8))
    assert Tasks(model).same_study(first, other).value is True
    assert model.shown == {"second": other}
    assert Tasks(model).progression(first, other, "edema").value == "worsening"
    assert model.shown == {"earlier": other}
    with pytest.raises(TaskError, match="needs a second film") as caught:
        Tasks(model).run("view-matching", first)
    assert "--second" in caught.value.hint


def test_a_prompt_that_compares_films_holds_the_codes_of_both(engine, film):
    image = render_file(film, engine.transform)
    prompt = engine.prompt_on(image, "Same?", second=np.ascontiguousarray(image[:, :, ::-1]))
    codes = engine.films.codes
    first, second = codes(image), codes(np.ascontiguousarray(image[:, :, ::-1]))
    vocabulary = engine.bundle.vocabulary
    seen = [token - vocabulary.num_text for token in prompt.ids if token in vocabulary.image_range]
    assert seen == [*first.tolist(), *second.tolist()]


def test_a_task_from_the_command_line_as_words_and_as_json(film, capsys):
    call = ["ask", str(film), "--force", "--task", "view"]
    assert main(call) == 0
    shown = capsys.readouterr()
    assert shown.out.strip()
    assert DRAFT_STATUS in shown.err
    assert main([*call, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["task"] == "view"
    assert told["status"] == DRAFT_STATUS
    assert told["value"] == shown.out.strip() or not told["parsed"]


def test_a_second_film_that_is_none_is_said(film, tmp_path, capsys):
    Image.linear_gradient("L").save(tmp_path / "ramp.png")
    call = ["ask", str(film), "--force", "--task", "view", "--second", str(tmp_path / "ramp.png")]
    assert main(call) == FAULT
    told = capsys.readouterr().err
    assert "the second film does not look like a chest film" in told
    assert "view takes one film" in told


def test_a_task_on_a_text_needs_no_film(capsys):
    call = ["ask", "--task", "findings-in-text", "--text", "There is edema.", "--json"]
    assert main(call) == 0
    assert "inspection" not in json.loads(capsys.readouterr().out)


def test_the_tasks_are_listed_with_what_they_take(capsys):
    assert main(["ask", "--list-tasks"]) == 0
    assert "film --finding -> yes or no" in capsys.readouterr().out
    assert main(["ask", "--list-tasks", "--json"]) == 0
    assert [task["name"] for task in json.loads(capsys.readouterr().out)] == list(TASKS)


ERRORS = {
    "no task is called 'mood'": ["--task", "mood"],
    "no finding is called 'gout'": ["--task", "side", "--finding", "gout"],
    "side needs finding": ["--task", "side"],
    "two films": ["--task", "progression", "--finding", "edema"],
    "no task is named": ["--finding", "edema"],
    "a task and a question": ["Why?", "--task", "view"],
}


@pytest.mark.parametrize("message", ERRORS)
def test_a_wrong_call_is_one_line_and_a_hint(message, film, capsys):
    assert main(["ask", str(film), "--force", *ERRORS[message]]) == FAULT
    error = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
    assert message in error[0]
    assert error[1].startswith("hint: ")


def test_a_question_may_stand_behind_the_options(film, capsys):
    assert main(["ask", str(film), "--force", "--json", "Is there edema?"]) == 0
    assert json.loads(capsys.readouterr().out)["question"] == "Is there edema?"
