"use strict";

const byId = (id) => document.getElementById(id);

async function said(response) {
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail);
  return body;
}

async function describe() {
  const info = await said(await fetch("info"));
  const model = byId("model");
  model.textContent = `${info.model_id}, from a score of ${info.threshold.toPrecision(3)} on it is a match`;
}

// The server listens before its model is loaded.
async function introduce() {
  try {
    await describe();
  } catch (error) {
    byId("model").textContent = error.message;
    setTimeout(introduce, 1000);
  }
}

function row(text, found) {
  const cells = [text, found.probability.toFixed(3), found.score.toFixed(2), found.decision.replace("_", " ")];
  const line = document.createElement("tr");
  line.append(...cells.map((words) => Object.assign(document.createElement("td"), { textContent: words })));
  return line;
}

// A link may name the texts: /?text=...&candidate=...&candidate=...
function prefill() {
  const asked = new URLSearchParams(location.search);
  if (!asked.has("text")) return;
  byId("query").value = asked.get("text");
  byId("others").value = asked.getAll("candidate").join("\n");
  byId("form").requestSubmit();
}

async function compare() {
  const query = byId("query").value;
  const others = byId("others").value.split("\n").filter((line) => line.trim());
  byId("status").textContent = "…";
  try {
    const body = JSON.stringify({ pairs: others.map((other) => [query, other]) });
    const headers = { "content-type": "application/json" };
    const { results } = await said(await fetch("match", { method: "POST", headers, body }));
    results.sort((a, b) => b.score - a.score);
    byId("results").tBodies[0].replaceChildren(...results.map((found) => row(others[found.index], found)));
    byId("results").hidden = false;
    byId("status").textContent = results.some((found) => found.truncated) ? "Long texts were cut." : "";
  } catch (error) {
    byId("status").textContent = error.message;
  }
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  compare();
});
prefill();
introduce();
