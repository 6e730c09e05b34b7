"use strict";
const byId = (name) => document.getElementById(name);

// Every text of the exam goes through here, and so through textContent: nothing in it can be markup.
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key === "text") made.textContent = value;
    else if (key === "onclick") made.addEventListener("click", value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

// A text of pages scrolls in a box of its own, by keyboard too.
const block = (tag, name, text) => el(tag, text.length > 2500 ? { class: `${name} long`, tabindex: "0", text } : { class: name, text });

const ROWS = 80;  // chains of the map shown at once
const CARDS = 1;  // chains in full shown at once
const state = { rows: ROWS, cards: CARDS, only: null, list: [] };
let data;

async function unpack() {
  const bytes = Uint8Array.from(atob(byId("data").textContent), (c) => c.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(plain).text());
}

// --- what a chain is like under a condition
const points = (e) => e === null ? "no points" : `${e} point${e === 1 ? "" : "s"}`;
const mark = (e) => e === null ? ["–", "p0"] : e >= 1 ? ["●", "p1"] : e >= 0.5 ? ["◐", "p5"] : e > 0 ? ["◔", "p2"] : ["○", "p0"];
const right = (p, c) => p.a[c][0] !== null && p.a[c][1] === p.g;
// A chain's title: the first words of its case, or of its first question.
const title = (chain) => { const words = (chain.case || chain.qs[0].s).split(/\s+/); return words.slice(0, 9).join(" ").slice(0, 80) + (words.length > 9 ? " …" : ""); };
const perfect = (chain, c) => chain.qs.every((q) => q.p.every((p) => right(p, c)));
const mean = (chain, c) => chain.qs.reduce((sum, q) => sum + (q.e[c] ?? 0), 0) / chain.qs.length;

const STATUS = {
  failing: ["with an error", (x, c) => !x.perfect[c]],
  all: ["all chains", () => true],
  right: ["all right", (x, c) => x.perfect[c]],
  fixed: ["fixed against the reference", (x, c) => x.perfect[c] && !x.perfect[data.references[c]]],
  broken: ["broken against the reference", (x, c) => !x.perfect[c] && x.perfect[data.references[c]]],
  progressive: ["progressive", (x) => x.dp],
  independent: ["independent", (x) => !x.dp],
};
const SORTS = {
  worst: ["fewest points first", (a, b, c) => a.mean[c] - b.mean[c]],
  sure: ["most confident mistake first", (a, b, c) => b.sure[c] - a.sure[c]],
  best: ["most points first", (a, b, c) => b.mean[c] - a.mean[c]],
  name: ["by name", () => 0],
  length: ["most questions first", (a, b) => b.qs.length - a.qs.length],
  case: ["longest case first", (a, b) => b.case.length - a.case.length],
};

function prepare() {
  for (const chain of data.chains) {
    // a person may have answered only part of the exam
    chain.sat = data.conditions.map((_, c) => chain.qs.every((q) => q.e[c] !== null));
    chain.perfect = data.conditions.map((_, c) => perfect(chain, c));
    chain.sure = data.conditions.map((_, c) => Math.max(0, ...chain.qs.flatMap((q) => q.p.map((p) => right(p, c) || p.a[c][0] === null ? 0 : Math.abs(p.a[c][0] - 1000 * p.g)))));
    chain.mean = data.conditions.map((_, c) => mean(chain, c));
    const texts = [chain.id, chain.case];
    for (const q of chain.qs) { texts.push(q.s); for (const p of q.p) texts.push(p.x); }
    chain.words = texts.join("\n").toLowerCase();
  }
  const names = new Intl.Collator(undefined, { numeric: true });
  data.chains.sort((a, b) => names.compare(a.id, b.id));
  data.byId = new Map(data.chains.map((chain) => [chain.id, chain]));
}

// --- filters
const chosen = (name) => byId(`f-${name}`).value;
const condition = () => Number(chosen("condition"));

const searched = () => chosen("text").toLowerCase().split(/\s+/).filter(Boolean);

// Whether a question is one that the filters are about: of the cause chosen, with all words searched.
function marked(q, c) {
  const tag = chosen("tag"), words = searched();
  const text = words.length ? [q.s, ...q.p.map((p) => p.x)].join("\n").toLowerCase() : "";
  return (tag !== "" || words.length > 0) && (tag === "" || q.t[c].includes(Number(tag))) && words.every((word) => text.includes(word));
}

function fill(name, options) {
  byId(`f-${name}`).replaceChildren(...options.map(([value, text]) => el("option", { value, text })));
}

function fillFilters() {
  fill("condition", data.conditions.map((text, i) => [i, text]));
  fill("status", Object.entries(STATUS).map(([key, [text]]) => [key, text]));
  fill("tag", [["", "any"], ...data.tags.map((text, i) => [i, text])]);
  fill("sort", Object.entries(SORTS).map(([key, [text]]) => [key, text]));
  defaults();
}

function defaults() {
  byId("f-text").value = "";
  byId("f-condition").value = data.focus;
  byId("f-status").value = "failing";
  byId("f-tag").value = "";
  byId("f-sort").value = "worst";
}

function apply() {
  const c = condition();
  const words = searched();
  const [, keep] = STATUS[chosen("status")];
  const tag = chosen("tag");
  state.list = data.chains.filter((chain) =>
    chain.sat[c] && keep(chain, c)
    && (tag === "" || chain.qs.some((q) => q.t[c].includes(Number(tag))))
    && words.every((word) => chain.words.includes(word)));
  const [, order] = SORTS[chosen("sort")];
  state.list.sort((a, b) => b.dp - a.dp || order(a, b, c));  // stable: equal ones stay by name
  state.rows = ROWS;
  state.cards = CARDS;
  drawMap();
  drawCards();
}

// --- the map
const address = (chain, q) => `#chain=${encodeURIComponent(chain.id)}` + (q ? `&question=${encodeURIComponent(q.id)}` : "");

function row(chain) {
  const c = condition();
  const marks = chain.qs.map((q, i) => {
    const [sign, shade] = mark(q.e[c]);
    return el("span", { class: `m ${shade}${marked(q, c) ? " hit" : ""}`, text: sign, "data-q": i, title: `question ${i + 1}: ${points(q.e[c])}` });
  });
  const said = chain.qs.map((q) => q.e[c] ?? "none").join(", ");
  return el("a", { class: "row", href: address(chain), "data-id": chain.id },
    el("span", { class: "id", text: title(chain), title: chain.id.slice(0, 200) }), el("span", { class: "hidden", text: `: points ${said}; mean ` }),
    el("span", { class: "marks", "aria-hidden": "true" }, ...marks), el("span", { class: "mean", text: chain.mean[c].toFixed(2) }));
}

function drawMap() {
  const { list, rows } = state;
  byId("rows").replaceChildren(...list.slice(0, rows).map(row));
  byId("count").textContent = list.length
    ? `${list.length} of ${data.chains.length} chains`
    : "No chain matches. Clear a filter to see more.";
  const more = byId("more-rows");
  more.hidden = list.length <= rows;
  more.textContent = `Show all ${list.length} rows`;
  const c = condition(), sat = data.chains.filter((chain) => chain.sat[c]);
  const clean = sat.filter((chain) => chain.perfect[c]).length;
  byId("map-read").textContent = `Under ${data.conditions[c]}, ${clean} of ${sat.length} chains are all right.`;
}

// --- a chain in full
function said(p, c) {
  const [thousandths, tick] = p.a[c];
  const others = p.h[c].map((other, i) => other === null ? "" : `${data.histories[i + 1]} ${other === Boolean(p.g) ? "✓" : "✗"}`).filter(Boolean);
  const below = others.length ? el("span", { class: "other", text: others.join(" · "), title: "the same question under other histories" }) : "";
  if (tick === "missing") return [el("span", { text: "– not asked" })];
  if (thousandths === null) return [el("span", { class: "said wrong", text: `✗ ${tick}` })];
  const good = right(p, c);
  const shown = (thousandths / 1000).toFixed(2);
  return [
    el("span", { class: `said ${good ? "right" : "wrong"}`, text: `${good ? "✓" : "✗"} ${tick ? "true" : "false"} ${shown}` }),
    el("span", { class: `bar said ${good ? "right" : "wrong"}`, title: `P(true) = ${shown}` }, el("i", { style: `width:${thousandths / 10}%` })),
    below,
  ].filter(Boolean);
}

function because(p) {
  if (!p.b && !p.q) return null;
  return el("details", { class: "because" }, el("summary", { text: "Why" }), p.b ? `${p.b} ` : "", p.q ? el("q", { text: p.q }) : "",
    p.s && p.q ? el("span", {}, " ", passageLink(p.s, "in its passage")) : "");
}

function passageLink(id, words) {
  const passage = data.passages.find((known) => known.id === id);
  return passage ? el("button", { type: "button", class: "link", text: words || passage.at, onclick: () => openPassage(id) }) : "";
}

function propositions(q) {
  const heads = ["proposition", "key", ...data.conditions];
  const sizes = ["", "w-key", ...data.conditions.map(() => "w-said")];
  const cells = (p) => [
    el("td", {}, block("div", "text", p.x + (p.w === "normal" ? "" : ` (${p.w})`)), because(p)),
    el("td", { "data-label": "key", text: p.g ? "true" : "false" }),
    ...data.conditions.map((name, c) => el("td", { "data-label": name }, ...said(p, c))),
  ];
  return el("table", {},
    el("thead", {}, el("tr", {}, ...heads.map((text, i) => el("th", { scope: "col", class: sizes[i] || null, text: text.replace(/[+:]/g, "$&\u200b") })))),
    el("tbody", {}, ...q.p.map((p) => el("tr", {}, ...cells(p)))));
}

// What a student read: the trunk that a question's propositions share, then each of these by itself.
function prompt(chain, at, c) {
  if (!data.students[c]) return null;
  const words = data.wordings[chain.lang], fill = (form, text) => form.replace("{}", () => text.trim()), [shown] = data.histories;
  const answer = (q) => q.p.filter((p) => shown === "gold" ? p.g : p.a[c][1] === 1).map((p) => p.x.trim()).join("; ") || words.nothing;
  const earlier = shown === "none" ? [] : chain.qs.slice(0, at).map((q) => fill(words.stem, q.s) + fill(words.answer, answer(q)));
  const trunk = (chain.case.trim() && fill(words.case, chain.case)) + earlier.join("") + fill(words.stem, chain.qs[at].s);
  const ends = chain.qs[at].p.map((p) => `${words.before} ${p.x.trim()}`);
  const open = /open-book$/.test(data.conditions[c]) ? "Before the question it also read a passage of the book. " : "";
  return el("details", { class: "links" }, el("summary", { text: `What ${data.conditions[c]} read` }),
    el("p", { class: "note", text: `${open}Where this is longer than its context, the oldest answers and the end of the case are cut.` }),
    el("pre", { text: trunk }), el("p", { class: "note", text: "Then each of these by itself:" }), el("pre", { text: ends.join("\n") }));
}

function links(q) {
  if (!q.np.length && !q.nl.length) return null;
  const items = [
    ...q.np.map((i) => el("li", {}, "passage: ", passageLink(data.passages[i].id))),
    ...q.nl.map((i) => {
      const question = data.training_questions[i];
      return el("li", {}, `generated question: ${question.s} `, passageLink(question.from, "from its passage"));
    }),
  ];
  return el("details", { class: "links" }, el("summary", { text: "Nearest in the book and among the training questions" }), el("ul", {}, ...items));
}

function card(chain) {
  const c = condition();
  const at = state.list.indexOf(chain);
  const step = (to, words) => to ? el("a", { href: address(to), class: "tag", text: words }) : "";
  const box = el("article", { class: "card", tabindex: "-1", "aria-label": `Chain ${chain.id.slice(0, 200)}` },
    el("h3", {}, el("span", { text: title(chain) }), block("span", "id tag", chain.id),
      el("span", { class: "tag", text: chain.dp ? `progressive, ${chain.qs.length} questions` : "independent" }),
      el("span", { class: "tag", text: `${chain.mean[c].toFixed(2)} points a question` }),
      el("a", { href: address(chain), class: "tag", text: "link" }),
      el("button", { type: "button", class: "tag", text: "print", title: "this case alone, on paper or as PDF", onclick: () => printCase(box) }),
      step(state.list[at - 1], "← previous"), step(state.list[at + 1], "next →")),
    chain.case ? block("p", "case", chain.case) : null);
  // in a list, only the first question with an error is open, and those that the filters are about
  const first = Math.max(0, chain.qs.findIndex((q) => q.p.some((p) => !right(p, c))));
  chain.qs.forEach((q, i) => {
    const [sign, shade] = mark(q.e[c]);
    const fold = el("details", { open: state.only === chain || i === first || marked(q, c) });
    fold.append(el("summary", {}, el("h4", { "data-question": q.id, class: marked(q, c) ? "hit" : null }, el("span", { class: `m ${shade}`, text: sign, "aria-hidden": "true" }),
      `Question ${i + 1}: ${points(q.e[c])}`,
      ...q.t[c].map((t) => el("span", { class: "tag bad", text: data.tags[t], title: data.meanings[t] })))));
    fold.append(block("p", "stem", q.s), propositions(q), prompt(chain, i, c) || "", links(q) || "");
    box.append(fold);
  });
  return box;
}

function drawCards() {
  const shown = state.only ? [state.only] : state.list.slice(0, state.cards);
  byId("cards").replaceChildren(...shown.map(card));
  byId("chosen").replaceChildren(state.only
    ? el("button", { type: "button", text: "Back to all chains", onclick: () => { location.hash = "#chains"; } })
    : `Shown here: ${shown.length} of ${state.list.length} chains, in the order of the map.`);
  const left = state.only ? 0 : state.list.length - shown.length;
  for (const [name, words] of [["more", `Show ${Math.min(left, 20)} more`], ["all", `Show all ${state.list.length}`]]) {
    byId(name).hidden = left <= 0;
    byId(name).textContent = words;
  }
}

// --- a passage, what was asked about it, and the test questions near it
function openPassage(id) {
  const index = data.passages.findIndex((passage) => passage.id === id);
  if (index < 0) return;
  const passage = data.passages[index], c = condition();
  const generated = data.training_questions.filter((question) => question.from === id);
  const tests = data.chains.flatMap((chain) => chain.qs.map((q, i) => [chain, q, i]).filter(([, q]) => q.np.includes(index) || q.p.some((p) => p.s === id)));
  const list = (items) => items.length ? el("ul", {}, ...items) : el("p", { class: "note", text: "none" });
  byId("passage-body").replaceChildren(
    el("h2", { id: "passage-title", text: passage.at }),
    el("p", { class: "text", text: passage.x + (passage.cut ? " …" : "") }),
    el("h3", { text: "Training questions generated from it, nearest to a test question" }),
    list(generated.map((question) => el("li", {}, question.s, list(question.p.map(([text, truth]) => el("li", { text: `${truth ? "✓" : "✗"} ${text}` })))))),
    el("h3", { text: "Test questions nearest to it or naming it" }),
    list(tests.map(([chain, q, i]) => {
      const [sign] = mark(q.e[c]);
      return el("li", {}, `${sign} `, el("a", { href: address(chain, q), text: `${chain.id.slice(0, 80)}, question ${i + 1}` }), ` ${q.s.slice(0, 160)}`);
    })));
  const box = byId("passage");
  if (!box.open) box.showModal();
  box.scrollTop = 0;
}

// --- addresses: #chain=..., #chain=...&question=..., #passage=...
function follow() {
  const asked = new URLSearchParams(location.hash.slice(1).replaceAll("+", "%2B"));
  if (asked.has("passage")) return openPassage(asked.get("passage"));
  byId("passage").close();
  byId(location.hash.slice(1))?.closest("details.fold")?.setAttribute("open", "");
  const chain = data.byId.get(asked.get("chain"));
  if (!chain && !state.only) return;
  state.only = chain || null;
  drawCards();
  if (!chain) return document.getElementById(location.hash.slice(1))?.scrollIntoView({ behavior: "instant" });
  const box = byId("cards").firstElementChild;
  const wanted = asked.get("question");
  const target = [...box.querySelectorAll("h4")].find((head) => head.dataset.question === wanted) || box;
  target.scrollIntoView({ behavior: "instant" });
  box.focus({ preventScroll: true });
}

// --- tables as CSV; an estimate becomes its parts
function csv(table) {
  const quoted = (text) => {
    const safe = /^[=@\t]|^[+-](?!\s*[\d.])/.test(text) ? `'${text}` : text;  // not a formula of a spreadsheet
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const body = [...table.tBodies[0].rows];
  const wide = [...table.tHead.rows[0].cells].map((_, i) => body.some((line) => line.cells[i].dataset.value !== undefined));
  const parts = ["value", "low", "high", "n"];
  const heads = [...table.tHead.rows[0].cells].flatMap((cell, i) => wide[i] ? parts.map((part) => part === "value" ? cell.textContent : `${cell.textContent} ${part}`) : [cell.textContent]);
  const lines = body.map((line) => [...line.cells].flatMap((cell, i) => {
    if (!wide[i]) return [cell.textContent];
    return cell.dataset.value === undefined ? [cell.textContent, "", "", ""] : parts.map((part) => cell.dataset[part].replace("nan", ""));
  }));
  return [heads, ...lines].map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";
}

function download(button) {
  const url = URL.createObjectURL(new Blob(["\ufeff", csv(byId(button.dataset.table))], { type: "text/csv" }));
  const link = el("a", { href: url, download: `${button.dataset.name}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
for (const button of document.querySelectorAll(".csv")) button.addEventListener("click", () => download(button));

// a chart drawn in a closed section has no width of its own
for (const fold of document.querySelectorAll("details")) {
  fold.addEventListener("toggle", () => { if (fold.open) fold.querySelectorAll(".js-plotly-plot").forEach((chart) => Plotly.Plots.resize(chart)); });
}

// a case alone on paper, its questions open
function printCase(box) {
  box.querySelectorAll(":scope > details").forEach((question) => { question.open = true; });
  box.classList.add("printed");
  document.body.classList.add("one-case");
  addEventListener("afterprint", () => { document.body.classList.remove("one-case"); box.classList.remove("printed"); }, { once: true });
  print();
}

// on paper the sections are open; tables and cases stay as they were left
let opened = [];
addEventListener("beforeprint", () => { opened = [...document.querySelectorAll("details.fold:not([open])")]; opened.forEach((fold) => { fold.open = true; }); });
addEventListener("afterprint", () => opened.forEach((fold) => { fold.open = false; }));

const toc = byId("toc");
const wide = matchMedia("(min-width: 1000px)");
const fold = () => { toc.open = wide.matches; };
wide.addEventListener("change", fold);
fold();

async function start() {
  data = await unpack();
  prepare();
  fillFilters();
  byId("app").hidden = false;
  apply();
  let waiting;
  byId("f-text").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(apply, 60); });
  byId("filters").addEventListener("change", (event) => { if (event.target.id !== "f-text") apply(); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", (event) => { event.preventDefault(); defaults(); apply(); });
  byId("more-rows").addEventListener("click", () => { state.rows = Infinity; drawMap(); });
  byId("more").addEventListener("click", () => { state.cards += 20; drawCards(); });
  byId("all").addEventListener("click", () => { state.cards = Infinity; drawCards(); });
  byId("rows").addEventListener("click", (event) => {
    const line = event.target.closest(".row"), asked = event.target.dataset.q;
    if (!line || asked === undefined) return;
    event.preventDefault();
    const chain = data.byId.get(line.dataset.id);
    location.hash = address(chain, chain.qs[Number(asked)]);
  });
  byId("rows").addEventListener("keydown", (event) => {
    const line = event.target.closest(".row");
    const to = { ArrowDown: line?.nextElementSibling, ArrowUp: line?.previousElementSibling }[event.key];
    if (to) { event.preventDefault(); to.focus(); }
  });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, select, dialog")) { event.preventDefault(); byId("f-text").focus(); }
  });
  // following the same link twice does not change the address
  addEventListener("click", (event) => { const to = event.target.closest?.("a")?.getAttribute("href"); if (to && to === location.hash) follow(); });
  addEventListener("hashchange", follow);
  follow();
  document.documentElement.dataset.ready = "true";
}
start().catch((error) => {
  byId("chosen").textContent = `The chains could not be opened (${error.message}). They need a browser from 2023 or later.`;
  throw error;
});
