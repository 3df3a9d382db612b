"use strict";

const byId = (id) => document.getElementById(id);

async function parsed(response) {
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail);
  return body;
}

async function post(path, body) {
  const headers = { "content-type": "application/json" };
  return parsed(await fetch(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

async function describe() {
  const info = await parsed(await fetch("info"));
  byId("model").textContent = `${info.model_id}, from a score of ${info.threshold.toPrecision(3)} on it is a match`;
  byId("search").hidden = !info.index_size;
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
  line.append(...cells.map((value) => Object.assign(document.createElement("td"), { textContent: value })));
  return line;
}

// A link may name the texts: /?text=...&candidate=...&candidate=..., or /?text=... to search the index
function prefill() {
  const parameters = new URLSearchParams(location.search);
  if (!parameters.has("text")) return;
  byId("query").value = parameters.get("text");
  byId("others").value = parameters.getAll("candidate").join("\n");
  show(parameters.has("candidate") ? compared : searched);
}

async function compared(query) {
  const others = byId("others").value.split("\n").filter((line) => line.trim());
  const { results } = await post("match", { pairs: others.map((other) => [query, other]) });
  results.sort((a, b) => b.score - a.score);
  return results.map((found) => ({ ...found, text: others[found.index] }));
}

async function searched(query) {
  return (await post("search", { query, top_k: 10 })).results;
}

async function show(ask) {
  byId("status").textContent = "…";
  try {
    const results = await ask(byId("query").value);
    byId("results").tBodies[0].replaceChildren(...results.map((found) => row(found.text, found)));
    byId("results").hidden = false;
    byId("status").textContent = results.some((found) => found.truncated) ? "Long texts were cut." : "";
  } catch (error) {
    byId("status").textContent = error.message;
  }
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  show(compared);
});
byId("search").addEventListener("click", () => show(searched));
prefill();
introduce();
