"use strict";

const NAME = "flipkd annotator"; // in sessionStorage
const KEYS = { m: "match", n: "no_match", s: "skip" };
const WORDS = { match: "match", no_match: "no match", skip: "skipped" };
let pair = null, busy = false;

function lock() {
  byId("person").hidden = byId("work").hidden = byId("tools").hidden = true;
  byId("progress").textContent = "";
  pair = null;
}

function show({ pair: next, progress }, said) {
  pair = next;
  byId("access").hidden = byId("person").hidden = true;
  byId("tools").hidden = false;
  byId("work").hidden = !pair;
  byId("again").hidden = Boolean(pair);
  byId("undo").hidden = !progress.own;
  byId("text1").textContent = pair ? pair.text1 : "";
  byId("text2").textContent = pair ? pair.text2 : "";
  const count = (name) => progress[name].toLocaleString("en");
  byId("progress").textContent = `${count("done")} of ${count("pairs")} pairs are done. Labelled by you: ${count("own")}.`;
  byId("status").textContent = pair ? said : `${said} No pair is left for you now.`.trim();
  if (pair) byId("pair").focus({ preventScroll: true }); // a screen reader reads the new texts
}

// One call at a time: a second key press must not label a pair that was not seen.
async function ask(path, body, said = "") {
  if (busy) return;
  busy = true;
  byId("work").ariaBusy = "true";
  try {
    show(await call(path, { annotator: sessionStorage.getItem(NAME), ...body }), said);
  } catch (error) {
    byId("status").textContent = error.message;
  }
  byId("work").ariaBusy = "false";
  busy = false;
}

function label(name) {
  if (pair) ask("review/vote", { key: pair.key, label: name }, `Stored: ${WORDS[name]}.`);
}

function undo() {
  if (!byId("undo").hidden) ask("review/undo", {}, "The last label is deleted.");
}

function start() {
  if (sessionStorage.getItem(NAME)) return ask("review/next", {});
  byId("access").hidden = true;
  byId("person").hidden = false;
  byId("name").focus();
}

byId("person").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(NAME, byId("name").value.trim());
  start();
});
for (const button of byId("labels").children) button.addEventListener("click", () => label(button.dataset.label));
byId("undo").addEventListener("click", undo);
byId("again").addEventListener("click", start);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.matches("input")) return;
  const key = event.key.toLowerCase();
  if (key in KEYS) label(KEYS[key]);
  if (key === "u") undo();
});
start();
