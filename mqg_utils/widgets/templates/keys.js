// Sends the keys pressed anywhere in a box to the kernel with the screen they were meant for; shows a clock.
const TYPING = 'textarea, select, input:not([type="checkbox"]):not([type="radio"])';
const shown = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s) % 60).padStart(2, "0")}`;

function listen(model, box) {
  box.tabIndex = -1; // a click on the box gives it the keys
  box.dataset.lmSuppressShortcuts = "true"; // else a letter is a command of JupyterLab: "x" would cut the cell
  const pressed = (event) => {
    if (event.altKey || event.metaKey || (event.ctrlKey && event.key !== "Enter")) return;
    const typing = event.target.matches(TYPING);
    const save = event.ctrlKey && event.key === "Enter";
    if (typing && event.key !== "Escape" && !save) return;
    if (typing) event.target.blur(); // the text goes to the kernel before the key does
    if (!save && event.key.length > 1 && event.key !== "Escape") return;
    if (event.key === " ") return; // presses the button that has the focus
    model.send({ key: save ? "Save" : event.key.toLowerCase(), token: model.get("token") });
    event.preventDefault();
  };
  box.addEventListener("keydown", pressed, true); // first: a text field of ipywidgets hands on no key
  return () => box.removeEventListener("keydown", pressed, true);
}

function arrange(box, model) {
  const aim = model.get("aim");
  const pane = box.querySelector(".passage");
  const mark = pane && pane.querySelector("mark");
  if (mark) pane.scrollTop = mark.offsetTop - pane.offsetTop - pane.clientHeight / 3;
  const now = document.activeElement;
  // a button that went away leaves the focus nowhere; what is out of sight takes none
  if (now === document.body || (box.contains(now) && !now.matches(TYPING))) box.focus({ preventScroll: true });
  const target = aim && box.contains(document.activeElement) && box.querySelector(aim);
  if (target) target.scrollIntoView({ block: "nearest" });
  box.dataset.ready = model.get("token");
}

function render({ model, el }) {
  let begun = performance.now(), unlisten = () => {}, box = null;
  const clock = document.createElement("span");
  clock.className = "clock";
  el.append(clock);
  const tick = () => {
    const s = (performance.now() - begun) / 1000, before = model.get("seconds_before");
    clock.textContent = before < 0 ? "" : `${shown(s)} on this question · ${shown(before + s)} in all`;
  };
  const renewed = () => {
    begun = performance.now();
    tick();
    if (box) setTimeout(arrange, 60, box, model); // when the texts that came with it are on screen
  };
  const attach = () => {
    box = el.closest(".mqg-keybox");
    if (!box) return; // JupyterLab puts it into the page later, perhaps only when it is scrolled to
    unlisten = listen(model, box);
    renewed();
  };
  attach();
  const timer = setInterval(() => { if (!box) attach(); tick(); }, 250);
  model.on("change:token", renewed);
  return () => { clearInterval(timer); unlisten(); model.off("change:token", renewed); };
}

export default { render };
