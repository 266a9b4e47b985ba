// The viewer of one result: pictures, tools, keyboard.
import { call, sendAlone } from "./api.js";
import { byId, make, say, select, slider } from "./dom.js";
import { facts, finished } from "./facts.js";
import { LAYOUTS, Picture } from "./picture.js";
import { regionsOf, tissueWords } from "./words.js";

const KEYS = [["1–4", "sequence"], ["V", "layout"], ["O", "outlines"], ["[ ]", "opacity"],
  ["C M B", "crosshair, measure, brush"], ["U", "undo"], ["← → ↑ ↓ PgUp PgDn", "move"]];
let now = null;

export function closeViewer() {
  now?.main.close();
  now?.second?.close();
  now = null;
  byId("viewer").replaceChildren();
}

export function jobChanged(job, jobs) {
  if (now && job.asked.of === now.job.id && job.kind === "correct") drawFacts(jobs);
}

export async function openViewer(job, jobs, models, version = job) {
  if (now?.job.id === job.id && now.version.id === version.id) return;
  closeViewer();
  if (job.state !== "done") {
    location.hash = "";
    return;
  }
  const canvas = screen("Images of the study; arrow keys move the crosshair");
  const values = make("p", { class: "values", id: "values", role: "status" });
  const state = { job, version, models, canvas, main: null, second: null, layout: "three",
    opacity: 0.4, outline: true };
  now = state;
  state.main = new Picture(canvas, (place) => tellValues(state, values, place));
  state.canvases = make("div", { class: "canvases" }, make("div", { class: "screen" }, canvas));
  state.facts = make("div", {});
  state.tools = make("div", { class: "tools" });
  byId("viewer").replaceChildren(
    make("p", {}, make("a", { href: "#" }, "← All studies")),
    make("h1", {}, job.result.study),
    make("div", { class: "sight" },
      make("div", {}, state.canvases, values, state.tools,
        make("p", { class: "quiet" }, "Keys, while the images have the focus: ",
          KEYS.map(([key, what]) => [make("kbd", {}, key), ` ${what}  `]).flat())),
      state.facts));
  drawFacts(jobs);
  byId("main").focus({ preventScroll: true });
  scrollTo(0, 0);
  try {
    await state.main.open(job, version);
  } catch (error) {
    say(`The images cannot be shown: ${error.message}`);
    return;
  }
  if (now !== state) return;
  drawTools(state, jobs);
  canvas.addEventListener("keydown", (event) => key(state, event), true);
  canvas.dataset.ready = "yes";
  globalThis.gliodistillView = state.main; // for tests in a browser
}

function screen(label) {
  return make("canvas", { tabindex: 0, role: "application", "aria-label": label });
}

function drawFacts(jobs) {
  if (!now) return;
  const { job, models } = now;
  now.facts.replaceChildren(facts(job, now.version, jobs, {
    models,
    version: (one) => openViewer(job, jobs, models, one),
    compare: (one) => now?.main.compare(one),
    again: async (model) => {
      const { study, series } = job.asked;
      await call("POST", "/jobs", { json: { kind: "segment", upload: job.upload, study, series,
        model } }).then(() => say(`${study} is in the queue for ${model}.`),
      (error) => say(error.message));
    },
  }));
}

function drawTools(state, jobs) {
  const { main, job } = state;
  const radio = (group, entries, chosen, change) => entries.map(([value, text]) => {
    const button = make("button", { type: "button", "aria-pressed": String(value === chosen),
      "data-group": group, "data-value": value, onclick: () => {
        for (const one of state.tools.querySelectorAll(`[data-group="${group}"]`)) {
          one.setAttribute("aria-pressed", String(one === button));
        }
        change(value);
      } }, text);
    return button;
  });
  const hide = make("input", { type: "checkbox", id: "outline", checked: true,
    onchange: () => main.outline(hide.checked) });
  const turn = make("input", { type: "checkbox", id: "radiological", checked: true,
    onchange: () => {
      main.radiological(turn.checked);
      state.second?.radiological(turn.checked);
      side.textContent = sideWords(turn.checked);
    } });
  const side = make("span", { class: "quiet", id: "side" }, sideWords(true));
  const brush = make("fieldset", { id: "brush", hidden: true });
  drawBrush(state, brush, jobs);
  state.tools.replaceChildren(
    make("fieldset", {}, make("legend", {}, "Sequence"),
      radio("sequence", main.sequences.map((one) => [one, one]), main.chosen,
        (name) => main.sequence(name))),
    make("fieldset", {}, make("legend", {}, "Layout"),
      select("Show", Object.entries(LAYOUTS), state.layout, (name) => {
        state.layout = name;
        main.layout(name);
        state.second?.layout(name);
      }, { id: "layout" }),
      select("Beside it", [["", "nothing"], ...main.sequences.map((one) => [one, one])], "",
        (name) => beside(state, name), { id: "beside" }),
      make("label", { class: "field" }, turn, "radiological view"), side,
      main.slow && make("span", { class: "quiet" },
        "This browser draws without a graphics card: choose 3-D to see it.")),
    make("fieldset", {}, make("legend", {}, "Segmentation"),
      slider("Fill", state.opacity, (value) => {
        state.opacity = value;
        main.fill(value);
      }, { id: "opacity" }),
      make("label", { class: "field" }, hide, "outlines"),
      job.result.probabilities && select("Probability", [["", "none"],
        ...regionsOf(job).map((region) => [region, region])], "", (region) => main.probability(job, region), { id: "probability" })),
    make("fieldset", {}, make("legend", {}, "Tool"),
      radio("tool", [["crosshair", "Crosshair"], ["measure", "Measure"], ["brush", "Brush"]],
        "crosshair", async (name) => {
          if (name === "brush") await main.draw(state.version);
          main.tool(name);
          brush.hidden = name !== "brush";
        })),
    brush);
  main.tool("crosshair");
}

const sideWords = (radiological) => (radiological
  ? "The patient’s left is on the right side." : "The patient’s left is on the left side.");

function drawBrush(state, place, jobs) {
  const { main } = state;
  const codes = Object.entries(main.codes);
  let code = Number(codes[0][0]), size = 4;
  const pen = () => main.pen(code, size);
  const save = make("button", { type: "button", class: "primary", id: "save", onclick: async () => {
    save.disabled = true;
    say("");
    try {
      const bytes = await main.drawing();
      const upload = await sendAlone("corrected.nii", bytes);
      const done = await finished(await call("POST", "/jobs", { json: { kind: "correct",
        of: state.job.id, upload } }), jobs);
      if (done.state !== "done") throw new Error(done.error?.message ?? done.state);
      drawFacts(jobs);
      say("");
      told.textContent = "Saved as a new version; it is under Versions.";
    } catch (error) {
      say(error.message);
    }
    save.disabled = false;
  } }, "Save as a new version");
  const told = make("span", { role: "status" });
  place.append(make("legend", {}, "Brush"),
    select("Paint", [...codes.map(([value, tissue]) => [value, tissueWords(tissue)]),
      ["0", "erase"]], String(code), (value) => {
      code = Number(value);
      pen();
    }, { id: "pen" }),
    slider("Size", size, (value) => {
      size = value;
      pen();
    }, { id: "pen-size", min: 1, max: 15, step: 1 }),
    make("button", { type: "button", id: "undo", onclick: () => main.undo() }, "Undo"), save, told);
  pen();
}

// A second sequence beside the first, which moves with it.
async function beside(state, name) {
  state.second?.close();
  state.second = null;
  state.canvases.classList.toggle("two", Boolean(name));
  while (state.canvases.children.length > 1) state.canvases.lastChild.remove();
  if (!name) {
    state.main.view.broadcastTo([]);
    return;
  }
  const canvas = screen(`${name}, beside the first sequence`);
  state.canvases.append(make("div", { class: "screen" }, canvas));
  state.second = new Picture(canvas, () => {});
  await state.second.open(state.job, state.version);
  state.second.sequence(name);
  state.second.layout(state.layout);
  state.main.view.broadcastTo([state.second.view], { "2d": true, "3d": true });
  state.second.view.broadcastTo([state.main.view], { "2d": true, "3d": true });
}

function tellValues(state, place, told) {
  const values = Object.fromEntries((told.values ?? []).map((one) => [
    one.name.replace(".nii.gz", ""), one.value]));
  const parts = (state.main?.sequences ?? []).filter((name) => name in values)
    .map((name) => `${name} ${Number(values[name]).toFixed(0)}`);
  const tissue = state.main?.codes?.[Math.round(values.labels)];
  if ("labels" in values) parts.push(tissue ? tissueWords(tissue) : "no tumour");
  if ("probability" in values) parts.push(`probability ${Number(values.probability).toFixed(2)}`);
  const [x, y, z] = told.mm ?? [0, 0, 0];
  const side = x < -0.5 ? "left" : x > 0.5 ? "right" : "middle";
  place.textContent = `${Math.abs(x).toFixed(0)} mm ${side}, ${y.toFixed(0)} mm front, `
    + `${z.toFixed(0)} mm up: ${parts.join(", ")}`;
}

const STEPS = { ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 1, 0],
  ArrowDown: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1] };

function key(state, event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const { main, tools } = state;
  const press = (group, value) => tools.querySelector(
    `[data-group="${group}"][data-value="${value}"]`)?.click();
  const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (STEPS[pressed]) main.view.moveCrosshairInVox(...STEPS[pressed]);
  else if ("1234".includes(pressed)) press("sequence", main.sequences[Number(pressed) - 1]);
  else if (pressed === "o") byId("outline").click();
  else if (pressed === "[" || pressed === "]") {
    const input = byId("opacity");
    input.value = Number(input.value) + (pressed === "]" ? 0.1 : -0.1);
    input.dispatchEvent(new Event("input"));
  } else if (pressed === "v") {
    const box = byId("layout");
    box.selectedIndex = (box.selectedIndex + 1) % box.options.length;
    box.dispatchEvent(new Event("change"));
  } else if (pressed === "c") press("tool", "crosshair");
  else if (pressed === "m") press("tool", "measure");
  else if (pressed === "b") press("tool", "brush");
  else if (pressed === "u") main.undo();
  else return;
  event.preventDefault();
  event.stopPropagation();
}
