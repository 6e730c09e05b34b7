"use strict";
// --- code: one button for every cell; each cell also opens by itself
const blocks = [...document.querySelectorAll("details.code")];
const toggle = document.getElementById("toggle");
const label = () => {
  toggle.textContent = blocks.every((block) => block.open) ? "Hide code" : "Show code";
};
if (toggle) {
  toggle.addEventListener("click", () => {
    const open = !blocks.every((block) => block.open);
    blocks.forEach((block) => { block.open = open; });
    label();
  });
  blocks.forEach((block) => block.addEventListener("toggle", label));
}

// --- contents: open beside the text, closed above it
const toc = document.getElementById("toc");
const wide = matchMedia("(min-width: 1000px)");
const fold = () => { if (toc) toc.open = wide.matches; };
wide.addEventListener("change", fold);
fold();
