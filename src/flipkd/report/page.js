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
