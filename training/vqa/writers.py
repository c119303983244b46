"""Who writes the questions: a causal model loaded from a directory, or an endpoint by permission.

Nothing is downloaded: a model is a directory on this machine. A report may not leave it either,
unless the recipe says ``vqa.allow_remote: true``.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training import device
from training.config import VqaSection
from training.errors import VqaError
from training.vqa.parsing import OUTPUT_SCHEMA
from training.vqa.table import LABELS, RULES

Chat = list[dict[str, str]]
Written = tuple[str, str]
"""An output and, where there is none, the reason (else empty)."""
Writer = Callable[[Sequence[Chat]], list[Written]]

TOO_LONG = "report is too long for the model"
REQUEST_TIMEOUT_S = 600.0


def is_endpoint(model: str) -> bool:
    """Tell whether a model is named by an address instead of a directory."""
    return model.lower().startswith(("http://", "https://"))


def check_model(model: str, settings: VqaSection) -> None:
    """Refuse a model that is neither a local directory nor an endpoint that the recipe allows.

    Raises
    ------
    VqaError
        With what to change.
    """
    if is_endpoint(model):
        if not settings.allow_remote:
            raise VqaError(
                f"reports would be sent to {model}",
                hint="name a local directory, or set vqa.allow_remote=true if their licence "
                "and your patients allow it",
            )
        return
    if not (Path(model) / "config.json").is_file():
        raise VqaError(
            f"no language model at {model}",
            hint="name a directory that holds config.json; nothing is downloaded",
        )


def source_name(model: str) -> str:
    """Return the name under which a model's rows stand in the table."""
    name = model.rstrip("/") if is_endpoint(model) else Path(model).resolve().name
    if name in (RULES, LABELS):
        raise VqaError(f"a model cannot be called {name}", hint="rename its directory")
    return name


def plain_chat(chat: Chat) -> str:
    """Lay a chat out for a model whose tokenizer brings no template."""
    return "".join(f"{turn['role']}: {turn['content']}\n\n" for turn in chat) + "assistant: "


class LocalWriter:
    """A causal language model in this process, greedy, in batches padded on the left."""

    def __init__(self, model_dir: Path, settings: VqaSection) -> None:
        self.settings = settings
        self.tokenizer: Any = AutoTokenizer.from_pretrained(
            model_dir, local_files_only=True, padding_side="left"
        )
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model: Any = AutoModelForCausalLM.from_pretrained(model_dir, local_files_only=True)
        self.model.eval().to(device.best())
        positions = self.model.config.max_position_embeddings
        self.longest_prompt = positions - settings.max_new_tokens

    def __call__(self, chats: Sequence[Chat]) -> list[Written]:
        """Return one output a chat, in order; a chat too long for the model gets its reason."""
        prompts = [self.tokenizer(self.laid_out(chat)).input_ids for chat in chats]
        fitting = [i for i, ids in enumerate(prompts) if len(ids) <= self.longest_prompt]
        written: list[Written] = [("", TOO_LONG)] * len(chats)
        for start in range(0, len(fitting), self.settings.batch_size):
            batch = fitting[start : start + self.settings.batch_size]
            for index, output in zip(
                batch, self.generate([prompts[i] for i in batch]), strict=True
            ):
                written[index] = (output, "")
        return written

    def laid_out(self, chat: Chat) -> str:
        """Return a chat as the text that the model was tuned on, up to where it answers."""
        if self.tokenizer.chat_template is None:
            return plain_chat(chat)
        laid_out: str = self.tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=True
        )
        return laid_out

    @torch.no_grad()
    def generate(self, prompts: list[list[int]]) -> list[str]:
        """Return what the model writes after each prompt."""
        padded = self.tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
        padded = padded.to(self.model.device)
        ids = self.model.generate(
            input_ids=padded["input_ids"],
            attention_mask=padded["attention_mask"],
            max_new_tokens=self.settings.max_new_tokens,
            do_sample=False,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        outputs: list[str] = self.tokenizer.batch_decode(
            ids[:, padded["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return outputs


@dataclass(frozen=True)
class EndpointWriter:
    """A server that speaks vLLM's OpenAI-compatible interface, ``base_url`` ending in ``/v1``."""

    base_url: str
    settings: VqaSection

    def __call__(self, chats: Sequence[Chat]) -> list[Written]:
        """Return one output a chat, in order."""
        model = self.exchange("models", None)["data"][0]["id"]
        return [self.ask(str(model), chat) for chat in chats]

    def ask(self, model: str, chat: Chat) -> Written:
        """Return the output for one chat; a chat that the server refuses gets its reason."""
        schema = {"name": "pairs", "schema": OUTPUT_SCHEMA}
        request = {
            "model": model,
            "messages": chat,
            "max_tokens": self.settings.max_new_tokens,
            "temperature": 0.0,
            "response_format": {"type": "json_schema", "json_schema": schema},
        }
        try:
            answer = self.exchange("chat/completions", request)
        except urllib.error.HTTPError as fault:
            fault.close()
            if fault.code in (400, 413, 422):
                return "", TOO_LONG if fault.code == 413 else "endpoint refused the report"
            raise VqaError(f"{self.base_url} answered {fault.code}", hint=RETRY) from fault
        return str(answer["choices"][0]["message"]["content"] or ""), ""

    def exchange(self, path: str, request: dict[str, Any] | None) -> dict[str, Any]:
        """Send one request and return the JSON that comes back.

        Raises
        ------
        VqaError
            The server cannot be reached.
        """
        sent = None if request is None else json.dumps(request).encode()
        call = urllib.request.Request(
            f"{self.base_url.rstrip('/')}/{path}",
            data=sent,
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(call, timeout=REQUEST_TIMEOUT_S) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError as fault:
            raise VqaError(f"no answer from {self.base_url}: {fault.reason}", hint=RETRY) from fault


RETRY = "start the same command again when the server is up; finished studies are kept"


def open_writer(model: str, settings: VqaSection) -> Writer:
    """Return the writer for a model: a directory on this machine or an allowed endpoint."""
    check_model(model, settings)
    if is_endpoint(model):
        return EndpointWriter(model, settings)
    return LocalWriter(Path(model), settings)
