// Sends a film that was dropped or chosen to the rule tester, and shows what would become of it.
"use strict";

(() => {
  const form = document.getElementById("tester");
  const drop = document.getElementById("drop");
  const chosen = document.getElementById("film");
  const outcome = document.getElementById("outcome");

  const say = (text) => {
    const line = document.createElement("p");
    line.className = "refusal";
    line.textContent = text;
    outcome.replaceChildren(line);
  };

  const test = async (film) => {
    if (!film) return;
    outcome.textContent = "…";
    const asked = new URLSearchParams({ calling: form.calling.value, called: form.called.value });
    const headers = { "X-CSRF-Token": form.dataset.csrf, "Content-Type": "application/dicom", Accept: "text/html" };
    try {
      const answer = await fetch(`/rules/test?${asked}`, { method: "POST", body: film, headers });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (answer.ok) outcome.replaceChildren(...page.body.childNodes);
      else say(page.querySelector("main .refusal")?.textContent ?? `The node answered ${answer.status}.`);
    } catch {
      say("The node could not be reached.");
    }
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  chosen.addEventListener("change", () => test(chosen.files[0]));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") test(event.dataTransfer.files[0]);
    });
  }
})();
