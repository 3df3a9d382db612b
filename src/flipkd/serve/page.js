"use strict";

const DECISIONS = { match: "✓ match", review: "? review", no_match: "✗ no match" };
const OWN_FIELDS = ["corpus_id", "similarity", "score", "probability", "decision", "truncated", "text", "answer_id"];

// The parts of the page that need the key.
function lock() {
  byId("form").hidden = byId("meaning").hidden = byId("results").hidden = true;
  byId("model").textContent = "";
}

function percent(probability) {
  if (probability > 0.99) return "more than 99 %";
  return probability < 0.01 ? "less than 1 %" : `${Math.round(100 * probability)} %`;
}

function explain({ match, review }) {
  const from = (bound) => `a probability of ${percent(bound.probability)} (a score of ${bound.score.toFixed(3)})`;
  const meanings = { match: `From ${from(match)} on, two texts count as a match.` };
  if (review) meanings.review = `Below that, and from ${from(review)} on, a person should decide.`;
  meanings.no_match = "Below that, they do not count as a match.";
  byId("meaning").querySelector("dl").replaceChildren(...Object.entries(meanings).flatMap(
    ([decision, words]) => [element("dt", DECISIONS[decision], `decision ${decision}`), element("dd", words)]));
}

function offer(examples) {
  byId("examples").hidden = !examples.length;
  byId("examples").replaceChildren(element("span", "Examples from the index:", "hint"), ...examples.map((text) => {
    const button = Object.assign(element("button", text), { type: "button" });
    button.addEventListener("click", () => {
      byId("query").value = text;
      show(searched);
    });
    return button;
  }));
}

async function describe() {
  const info = await call("page.json");
  const size = info.index_size === null ? "" : `, with an index of ${info.index_size.toLocaleString("en")} texts`;
  byId("model").textContent = `Model ${info.model}${size}.`;
  explain(info);
  offer(info.examples);
  byId("search").hidden = !info.index_size;
  byId("forget").hidden = !sessionStorage.getItem(KEY);
  byId("access").hidden = true;
  byId("form").hidden = byId("meaning").hidden = false;
  byId("status").textContent = "";
}

// The server listens before its model is loaded.
async function start() {
  try {
    await describe();
  } catch (error) {
    byId("status").textContent = error.message;
    if (!(error instanceof Unauthorized)) setTimeout(start, 1000);
    return;
  }
  prefill();
}

// A link may name the texts: /?text=...&candidate=...&candidate=..., or /?text=... to search the index
function prefill() {
  const parameters = new URLSearchParams(location.search);
  if (!parameters.has("text")) return byId("query").focus();
  byId("query").value = parameters.get("text");
  byId("others").value = parameters.getAll("candidate").join("\n");
  show(parameters.has("candidate") ? compared : searched);
}

function item(found) {
  const line = element("li"), verdict = element("p", "", "verdict"), kept = element("dl");
  verdict.append(element("span", DECISIONS[found.decision], `decision ${found.decision}`),
    element("small", `probability ${found.probability.toFixed(3)}`), element("small", `score ${found.score.toFixed(3)}`));
  line.append(element("p", found.text, "text"), verdict);
  const names = Object.keys(found).filter((name) => !OWN_FIELDS.includes(name) && found[name] !== null);
  names.sort((a, b) => (b === "answer") - (a === "answer"));
  const words = (value) => typeof value === "object" ? JSON.stringify(value) : String(value);
  kept.append(...names.flatMap((name) => [element("dt", name), element("dd", words(found[name]))]));
  if (names.length) line.append(kept);
  if (found.truncated) line.append(element("p", "A text was too long; the model saw only its beginning.", "hint"));
  return line;
}

async function compared(query) {
  const others = byId("others").value.split("\n").filter((line) => line.trim());
  const { results } = await call("match", { pairs: others.map((other) => [query, other]) });
  results.sort((a, b) => b.score - a.score);
  return results.map(({ index, ...found }) => ({ ...found, text: others[index] }));
}

async function searched(query) {
  return (await call("search", { query, top_k: 10 })).results;
}

async function show(ask) {
  if (byId("form").ariaBusy === "true") return;
  byId("form").ariaBusy = "true"; // disabled buttons would lose the focus of the keyboard
  byId("status").textContent = "The model is working …";
  try {
    const results = await ask(byId("query").value);
    byId("results").replaceChildren(...results.map(item));
    byId("results").hidden = !results.length;
    const count = (decision) => results.filter((found) => found.decision === decision).length;
    const review = count("review") ? `, ${count("review")} to review` : "";
    byId("status").textContent = `${count("match")} of ${results.length} match${review}.`;
  } catch (error) {
    byId("status").textContent = error.message;
  }
  byId("form").ariaBusy = "false";
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  show(compared);
});
byId("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("form").requestSubmit();
});
byId("search").addEventListener("click", () => byId("query").reportValidity() && show(searched));
byId("forget").addEventListener("click", () => {
  askForKey();
  byId("status").textContent = "The key is deleted from this tab.";
});
start();
