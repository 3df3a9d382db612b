// Draws each chart from the spec beside it; `ast` makes Vega interpret its expressions, so that no eval is needed.
for (const place of document.querySelectorAll("[data-chart]")) {
  const spec = JSON.parse(document.getElementById("spec-" + place.dataset.chart).textContent);
  vegaEmbed(place, spec, { mode: "vega-lite", renderer: "svg", actions: false, ast: true })
    .then(() => place.setAttribute("data-drawn", "yes"))
    .catch((error) => {
      place.setAttribute("data-drawn", "no");
      place.textContent = "This chart could not be drawn: " + error.message;
    });
}

// The threshold explorer: counts of pairs and matches from each threshold on are in the page, the rest is arithmetic.
function startExplorer() {
  const { pairs, matches, systems, shown } = JSON.parse(document.getElementById("explorer-data").textContent);
  const [box, choice, upper, lower] = ["", "-system", "-match", "-review"].map((name) => document.getElementById("explorer" + name));
  const share = (part, whole) => (whole ? (part / whole).toFixed(3) : "–");
  function show() {
    const system = systems[choice.selectedIndex], from = Number(upper.value), review = Number(lower.value);
    const called = system.called[from], hits = system.hits[from];
    const left = pairs - system.called[review], missed = matches - system.hits[review], reviewed = system.called[review] - called;
    const figures = {
      precision: share(hits, called), recall: share(hits, matches), f1: share(2 * hits, called + matches),
      review: share(reviewed, pairs), accuracy: share(hits + left - missed, pairs - reviewed),
      found: hits, alarms: called - hits, missed: missed, rejected: left - missed,
    };
    for (const [name, value] of Object.entries(figures)) box.querySelector(`[data-figure="${name}"]`).textContent = value;
    document.getElementById("explorer-match-value").textContent = system.cuts[from];
    document.getElementById("explorer-review-value").textContent = system.cuts[review];
  }
  function choose() {
    const system = systems[choice.selectedIndex];
    upper.max = lower.max = system.cuts.length - 1;
    upper.value = system.own;
    lower.value = system.review;
    show();
  }
  for (const system of systems) choice.add(new Option(system.name));
  choice.addEventListener("change", choose);
  upper.addEventListener("input", () => { if (Number(lower.value) > Number(upper.value)) lower.value = upper.value; show(); });
  lower.addEventListener("input", () => { if (Number(lower.value) > Number(upper.value)) upper.value = lower.value; show(); });
  choice.selectedIndex = shown;
  choose();
  box.hidden = false;
}

// The table of pairs: a click on a column's head sorts by it, the two fields above hide the other rows.
function startPairs(table) {
  const [find, choice, count] = ["find", "show", "count"].map((name) => document.getElementById("pairs-" + name));
  const rows = [...table.tBodies[0].rows], heads = [...table.tHead.rows[0].cells];
  function filter() {
    const text = find.value.toLowerCase();
    for (const row of rows) {
      const wrong = row.dataset.wrong.split(" ");
      const fits = !choice.value || (choice.value === "all" ? wrong.length === heads.length - 3 : wrong.includes(choice.value));
      row.hidden = !(fits && (row.cells[0].textContent + "\n" + row.cells[1].textContent).toLowerCase().includes(text));
    }
    count.textContent = rows.filter((row) => !row.hidden).length + " of " + rows.length + " pairs";
  }
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const descending = head.ariaSort === "ascending", value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    rows.sort((a, b) => value(a).localeCompare(value(b)) * (descending ? -1 : 1));
    table.tBodies[0].append(...rows);
  }));
  find.addEventListener("input", filter);
  choice.addEventListener("change", filter);
  filter();
}

if (document.getElementById("explorer")) startExplorer();
if (document.getElementById("pairs")) startPairs(document.getElementById("pairs"));
