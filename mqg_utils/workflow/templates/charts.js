// Draws the plotly figures of a page in its colours: notebooks and the report.
"use strict";
(() => {
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 700px)");
const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

// A figure's own template draws for white paper: repaint what is paper, grid or text, not the data.
function repaint(part) {
  for (const [key, value] of Object.entries(part)) {
    if (value && typeof value === "object") repaint(value);
    else if (/^(gridcolor|linecolor|zerolinecolor|tickcolor|outlinecolor)$/.test(key)) part[key] = colour("--line");
    else if (/^(bgcolor|backgroundcolor|(paper|plot)_bgcolor)$/.test(key)) part[key] = "rgba(0,0,0,0)";
  }
}

// On a phone, charts side by side stand one below the other; those that share their rows get labels again.
function stack(layout) {
  const columns = Object.keys(layout).filter((key) => /^xaxis\d*$/.test(key) && layout[key].domain).sort();
  if (columns.length < 2 || columns.every((key) => layout[key].domain[0] === 0)) return;
  const single = layout.height || 420, gap = 80 / (single * columns.length);
  layout.height = single * columns.length;
  columns.forEach((x, i) => {
    const y = x.replace("x", "y");
    layout[x].domain = [0, 1];
    layout[y] = { ...layout.yaxis, ...layout[y], domain: [1 - (i + 1) / columns.length + (i < columns.length - 1 ? gap : 0), 1 - i / columns.length] };
    layout[y].showticklabels = true;
    delete layout[y].matches;
  });
}

function themed(figure, width) {
  const { data, frames, config } = figure;
  const layout = { ...figure.layout, autosize: true, uirevision: "page" };  // uirevision keeps the zoom
  if (narrow.matches && !width) stack(layout);
  delete layout.width;
  if (width) layout.width = width;
  layout.height = layout.height || 420;  // without it, a redrawn chart has no height and is cut in print
  const template = layout.template = layout.template || {};
  template.layout = template.layout || {};
  repaint(template.layout);
  for (const traces of [template.data && template.data.bar, template.data && template.data.barpolar]) {
    (traces || []).forEach((trace) => {
      trace.marker = { ...trace.marker, line: { color: colour("--bg"), width: 0.5 } };
      for (const bars of ["error_x", "error_y"]) if (trace[bars]) trace[bars].color = colour("--mut");
    });
  }
  (template.data && template.data.table || []).forEach((trace) => {
    for (const part of ["header", "cells"]) {
      trace[part] = { fill: { color: colour("--card") }, line: { color: colour("--line") } };
    }
  });
  for (const key of Object.keys(layout)) {
    if (/^[xy]axis\d*$/.test(key)) repaint(layout[key]);
  }
  for (const axis of ["xaxis", "yaxis"]) {
    template.layout[axis] = { ...template.layout[axis], gridcolor: colour("--line"),
      zerolinecolor: colour("--line"), linecolor: colour("--line"), tickcolor: colour("--line") };
  }
  // plotly's own margins leave a third of a small chart empty; a figure that sets margins keeps them
  const titled = Boolean(layout.title && (layout.title.text || typeof layout.title === "string"));
  template.layout.margin = { l: 56, r: 20, t: titled ? 60 : 34, b: 44 };
  template.layout.title = { ...template.layout.title, x: 0, xref: "paper", font: { size: 16 } };
  if (narrow.matches && !layout.legend) layout.legend = { orientation: "h", y: -0.18 };
  layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
  layout.font = { family: 'system-ui, "Segoe UI", Roboto, sans-serif', ...layout.font, color: colour("--fg") };
  layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: colour("--mut"), activecolor: colour("--acc") };
  layout.hoverlabel = { bgcolor: colour("--card"), bordercolor: colour("--line"),
    font: { color: colour("--fg") }, ...layout.hoverlabel };
  const quiet = { responsive: true, displaylogo: false, showLink: false, showSendToCloud: false,
    showEditInChartStudio: false, plotlyServerURL: "", modeBarButtonsToAdd: [SVG], toImageButtonOptions: { scale: 3 } };
  return { data, layout, frames, config: { ...config, ...quiet } };
}

const SVG = { name: "svg", title: "Download plot as an SVG", icon: Plotly.Icons.disk,
  click: (chart) => Plotly.downloadImage(chart, { format: "svg", filename: chart.closest("section")?.id || "chart" }) };

const charts = [...document.querySelectorAll("figure.chart")].map((figure) => {
  const source = figure.querySelector("script").textContent;
  const { title } = JSON.parse(source).layout || {};
  if (!figure.hasAttribute("aria-label")) {
    figure.setAttribute("aria-label", "Chart: " + String(title?.text || title || "untitled").replace(/<[^>]*>/g, " "));
  }
  const target = document.createElement("div");
  figure.append(target);
  return { target, source };  // parsed anew for each drawing: plotly writes into what it is given
});

const draw = (how, width) => charts.forEach(({ target, source }) => how(target, themed(JSON.parse(source), width)));
if (charts.length) {
  draw(Plotly.newPlot);
  dark.addEventListener("change", () => draw(Plotly.react));
  // Paper is light, and about 680 px wide between its margins.
  addEventListener("beforeprint", () => { root.classList.add("paper"); draw(Plotly.react, 680); });
  addEventListener("afterprint", () => { root.classList.remove("paper"); draw(Plotly.react); });
}
})();
