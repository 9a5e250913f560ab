// Draws the charts with Vega-Embed, each when it comes near the window or the page is at rest.
const specs = JSON.parse(document.getElementById("data-charts").textContent);
// `currentColor` lets the page's theme, and the printer's, colour a chart without drawing it again.
const ink = "currentColor";
const axis = {
  labelColor: ink, titleColor: ink, tickColor: ink, domainColor: ink, gridColor: ink, gridOpacity: 0.15,
};
// A name that the canvas knows as well: with it Vega measures how wide a label is.
const font = getComputedStyle(document.body).fontFamily;
const NARROW = 600; // pixels; below this a legend beside the chart leaves no room for it
const WIDEST = 860;

function unpack(columns) {
  const names = Object.keys(columns);
  const length = names.length ? columns[names[0]].length : 0;
  return Array.from({ length }, (_, row) => Object.fromEntries(names.map((name) => [name, columns[name][row]])));
}

function fitted(spec, width) {
  const one = structuredClone(spec);
  one.datasets = Object.fromEntries(Object.entries(one.datasets).map(([name, columns]) => [name, unpack(columns)]));
  const narrow = width < NARROW;
  if (typeof one.width === "number") { // not cells of a fixed size
    const ratio = one.height / one.width; // NaN where the height is so much for each row
    one.width = Math.min(width, WIDEST);
    // A square has its legend inside the width that it gets, at the side or below.
    if (ratio) one.height = one.width * (ratio < 1 ? ratio : narrow ? 1.5 : 0.75);
    one.autosize = { type: ratio ? "fit" : "fit-x", contains: "padding" };
  }
  one.config = {
    ...one.config,
    aria: false, // the caption and the table say it; thousands of marks would not
    background: null,
    font,
    axis,
    axisX: narrow ? { titleAnchor: "end" } : {},
    text: { color: ink },
    legend: { labelColor: ink, titleColor: ink, ...(narrow ? { orient: "bottom", columns: 2 } : {}) },
    view: { ...one.config?.view, stroke: null },
    rule: { color: ink },
    boxplot: { rule: { color: ink }, median: { color: "white" } },
  };
  return one;
}

async function draw(element) {
  if (element.dataset.state || !element.offsetParent) return;
  element.dataset.state = "drawing";
  const width = element.closest(".chart-frame").clientWidth;
  const spec = fitted(specs[element.dataset.chart], width);
  await window.vegaEmbed(element, spec, { actions: false, renderer: "svg", logLevel: 1 });
  element.dataset.state = "drawn";
}

const charts = [...document.querySelectorAll("[data-chart]")];
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
}, { rootMargin: "300px" });
charts.forEach((element) => near.observe(element));

async function drawRest() {
  for (const element of charts) {
    await new Promise((done) => (window.requestIdleCallback ?? setTimeout)(done));
    await draw(element);
  }
}
drawRest();
document.addEventListener("figures-shown", drawRest);

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return; // a phone's address bar changes the height only
  width = innerWidth;
  for (const element of charts) {
    if (element.dataset.state !== "drawn") continue;
    delete element.dataset.state;
    near.unobserve(element);
    near.observe(element);
  }
});
