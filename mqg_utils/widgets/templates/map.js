// The map of chains: a strip of squares each, one chosen by click or by the arrow keys. Text only, never HTML.
const SIGNS = { 1: "", 5: "½", 2: "·", 0: "×", "-": "" };
const WORDS = { 1: "all points", 5: "half the points", 2: "few points", 0: "no points", "-": "not asked" };

function square(sign) {
  const made = document.createElement("i");
  made.className = `p${sign}`;
  made.textContent = SIGNS[sign];
  return made;
}

function strip([name, signs, words], index) {
  const made = document.createElement("div");
  made.setAttribute("role", "option");
  made.tabIndex = -1;
  made.dataset.index = index;
  made.title = `${name}: ${[...signs].map((m, i) => `question ${i + 1} ${WORDS[m]}`).join(", ")}. ${words}`;
  made.setAttribute("aria-label", made.title);
  made.append(...[...signs].map(square));
  return made;
}

function legend() {
  const made = document.createElement("div");
  made.className = "mqg mqg-map mqg-key";
  made.append("points of a question:");
  for (const [sign, words] of [["1", "all"], ["5", "half or more"], ["2", "fewer"], ["0", "none"]]) {
    const entry = document.createElement("span");
    entry.append(square(sign), ` ${words}`);
    made.append(entry);
  }
  return made;
}

function render({ model, el }) {
  const box = document.createElement("div");
  box.className = "mqg mqg-map";
  box.setAttribute("role", "listbox");
  box.setAttribute("aria-label", "cases, the worst first");
  box.dataset.lmSuppressShortcuts = "true"; // else JupyterLab takes the arrow keys
  const at = () => model.get("rows").findIndex(([name]) => name === model.get("chosen"));
  const show = () => {
    const now = at();
    for (const [i, option] of [...box.children].entries()) {
      option.setAttribute("aria-selected", i === now);
      option.tabIndex = i === Math.max(now, 0) ? 0 : -1;
    }
  };
  const draw = () => { box.replaceChildren(...model.get("rows").map(strip)); show(); };
  const choose = (index) => {
    const row = model.get("rows")[index];
    if (!row) return;
    model.set("chosen", row[0]);
    model.save_changes();
    box.children[index].focus();
  };
  const vertical = (index, step) => { // the nearest strip of the line above or below
    const here = box.children[index];
    const lines = [...box.children].filter((o) => step * (o.offsetTop - here.offsetTop) > 0);
    const top = step * Math.min(...lines.map((o) => step * o.offsetTop));
    const line = lines.filter((o) => o.offsetTop === top);
    line.sort((a, b) => Math.abs(a.offsetLeft - here.offsetLeft) - Math.abs(b.offsetLeft - here.offsetLeft));
    return line.length ? Number(line[0].dataset.index) : index;
  };
  box.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) choose(Number(option.dataset.index));
  });
  box.addEventListener("keydown", (event) => {
    const now = Math.max(at(), 0);
    const moves = {
      ArrowRight: () => now + 1, ArrowLeft: () => now - 1, Home: () => 0, End: () => box.children.length - 1,
      ArrowDown: () => vertical(now, 1), ArrowUp: () => vertical(now, -1), Enter: () => now, " ": () => now,
    };
    if (!moves[event.key] || !box.children.length) return;
    event.preventDefault();
    choose(moves[event.key]());
  });
  model.on("change:rows", draw);
  model.on("change:chosen", show);
  el.append(legend(), box);
  draw();
}

export default { render };
