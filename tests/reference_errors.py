"""The page of errors, refusals and log events, read from the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT = Path(__file__).parents[1]
_PACKAGES: Final = ("engine", "node", "training", "export")
_EVENT: Final = re.compile(r"[a-z]+(?:_[a-z]+)*\.[a-z]+(?:_[a-z]+)*")
_NO_EVENTS: Final = re.compile(r"(?:node|engine|outputs|peers|cxr_node)\..*|.*\.(?:jsonl?|sqlite)")
_REFUSING: Final = {"Refusal": 1, "IntakeRefused": 1, "DraftRefused": 0}
"""What carries a reason for the one who is turned away, and at which place."""
_VERDICTS: Final = ("engine/guard.py", "node/rules.py")
_HEAD: Final = """# Errors, refusals and log events

Made by `make docs` from the source; a test holds it current. … stands for what varies. Every error
that a program ends with is printed as `error: …`, its cure below it as `hint: …`.
"""


@dataclass(frozen=True)
class Source:
    """One module of the project."""

    name: str
    tree: ast.Module


def sources(*packages: str) -> list[Source]:
    """Return the modules of some packages."""
    paths = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return [
        Source(".".join(path.relative_to(ROOT).with_suffix("").parts), ast.parse(path.read_text()))
        for path in paths
    ]


def errors_page() -> str:
    """Return the whole page."""
    ours = sources(*_PACKAGES)
    inside = [source for source in ours if source.name.startswith("node.")]
    verdicts = [one for one in ours if one.name.replace(".", "/") + ".py" in _VERDICTS]
    parts = [
        _HEAD,
        "\n## Errors\n\n| error | is a | message | hint |\n|---|---|---|---|\n",
        *_errors(ours),
        "\n## Turned away\n\nAssociations and images that are refused, and studies without a "
        "draft; `cxr-node explain` shows them.\n\n| reason | hint |\n|---|---|\n",
        *sorted({row for source in inside for row in _refusals(source.tree)}),
        "\n## No draft from this film\n\nWhat the node makes is not taken in; a study of which no "
        "film can be drafted from is SKIPPED.\n\n",
        *sorted({f"* {text}\n" for source in verdicts for text in _verdicts(source.tree)}),
        "\n## Log events\n\nA line is `time LEVEL event field=value …`, or one JSON object with "
        "`node.log_format: json`.\n\n| event | level | fields | module |\n|---|---|---|---|\n",
        *sorted({row for source in inside for row in _events(source)}),
    ]
    return "".join(parts)


def _errors(ours: list[Source]) -> Iterator[str]:
    """Yield a row for each class below CxrError that a program can end with."""
    known = {"CxrError"}
    classes = [
        (source, one)
        for source in ours
        for one in ast.walk(source.tree)
        if isinstance(one, ast.ClassDef)
    ]
    while found := {one.name for _, one in classes if _bases(one) & known} - known:
        known |= found
    for source, one in sorted(classes, key=lambda pair: (pair[0].name, pair[1].name)):
        if one.name in known and one.name != "CxrError":
            message = (ast.get_docstring(one) or "").splitlines()[0]
            (base, *_) = sorted(_bases(one) & known)
            yield f"| `{source.name}.{one.name}` | {base} | {message} | {_hint(one)} |\n"


def _bases(one: ast.ClassDef) -> set[str]:
    return {base.id for base in one.bases if isinstance(base, ast.Name)}


def _hint(one: ast.ClassDef) -> str:
    for statement in one.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="default_hint")], value=value):
                return _cell(_text(value))
    return ""


def _refusals(tree: ast.Module) -> Iterator[str]:
    for one in ast.walk(tree):
        match one:
            case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if (
                name in _REFUSING and len(args) > _REFUSING[name]
            ):
                rest = args[_REFUSING[name] + 1 :]
                named = [word.value for word in keywords if word.arg == "hint"]
                reason, hint = _text(args[_REFUSING[name]]), _text(*[*rest, *named][:1])
            case ast.Tuple(elts=[ast.Lambda(), ast.Constant() as first, ast.Constant() as second]):
                reason, hint = _text(first), _text(second)
            case _:
                continue
        if reason.strip("… "):
            yield f"| {_cell(reason)} | {_cell(hint)} |\n"


def _verdicts(tree: ast.Module) -> Iterator[str]:
    """Yield the sentences that a module returns, or keeps beside the test that they explain."""
    for one in ast.walk(tree):
        match one:
            case ast.Return(value=ast.IfExp(body=first, orelse=second)):
                found = [_text(first), _text(second)]
            case ast.Return(value=ast.Constant() | ast.JoinedStr() as value):
                found = [_text(value)]
            case ast.Tuple(elts=[ast.Constant() as first, ast.Name()]):
                found = [_text(first)]
            case _:
                continue
        yield from (text for text in found if " " in text and "(none)" not in text)


def _events(source: Source) -> Iterator[str]:
    """Yield the events of a module that logs; one that is looked up has no fields here."""
    calls = [
        one
        for one in ast.walk(source.tree)
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id == "say"
    ]
    told = set[str]()
    for call in calls:
        level, fields = "info", list[str]()
        for word in call.keywords:
            if word.arg == "level":
                level = word.value.attr.lower() if isinstance(word.value, ast.Attribute) else "…"
            else:
                fields.append(f"`{word.arg}`" if word.arg else "…")
        for event in _said(call):
            told.add(event)
            yield f"| `{event}` | {level} | {', '.join(fields)} | `{source.name}` |\n"
    for event in set(_events_in(source.tree) if calls else ()) - told:
        yield f"| `{event}` | … | | `{source.name}` |\n"


def _said(call: ast.Call) -> Iterator[str]:
    """Yield what a call says, as far as the source tells."""
    for event in call.args[1:2]:
        text = _text(event)
        yield from [text] if "." in text else _events_in(event)


def _events_in(tree: ast.AST) -> Iterator[str]:
    for one in ast.walk(tree):
        match one:
            case ast.Constant(value=str(text)) if _EVENT.fullmatch(text):
                if not _NO_EVENTS.fullmatch(text):
                    yield text


def _text(*nodes: ast.expr) -> str:
    """Return a string of the source, with … for what is filled in."""
    match nodes:
        case (ast.Constant(value=str(text)),):
            return text
        case (ast.JoinedStr(values=parts),):
            return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in parts)
        case (_,):
            return "…"
    return ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
