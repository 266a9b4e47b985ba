// What is known of a result, in plain words, and what can be done with it.
import { archiveOf, call, fileOf, sendAlone } from "./api.js";
import { make, say, select } from "./dom.js";
import { COLOURS, REGIONS, diceWords, ml, seconds, tissueWords } from "./words.js";

export function facts(job, result, jobs, actions) {
  const told = result.result.summary, main = job.result.summary;
  const dice = main.quality.predicted_dice ?? {};
  const flags = main.quality.flags;
  return make("aside", { class: "facts", "aria-label": "Facts" },
    make("h2", {}, "Volumes"),
    make("ul", {}, Object.entries(told.volumes_ml).map(([region, value]) => make("li", {},
      make("strong", {}, `${region} ${ml(value)}`), ` ${REGIONS[region] ?? ""}`,
      result === job && make("div", { class: "quiet" },
        `predicted Dice ${diceWords(dice[region])}`)))),
    result !== job && make("p", {}, `Corrected by hand: ${told.voxels_changed} voxels changed.`),
    make("h2", {}, "To be checked"),
    flags.length ? make("ul", {}, flags.map((flag) => make("li", {}, flag.text)))
      : make("p", {}, "No flag was raised; this does not mean that the segmentation is right."),
    make("h2", {}, "Colours"),
    make("ul", {}, Object.entries(main.labels.codes).map(([code, tissue]) => make("li", {},
      swatch(tissue), `${code}: ${tissueWords(tissue)}`))),
    make("h2", {}, "Images"),
    make("p", {}, `Given: ${main.preprocessing.form}. Preprocessing: ${main.preprocessing.done}.`),
    make("ul", {}, Object.entries(main.sequences.used).map(([sequence, file]) => make("li", {},
      `${sequence}: ${file ?? "in memory"}`)),
    main.sequences.absent.map((name) => make("li", {}, `${name}: absent`))),
    make("h2", {}, "Versions"),
    versions(job, result, jobs, actions),
    make("h2", {}, "Download"),
    make("ul", { class: "files" }, Object.keys(result.result.files).map((name) => make("li", {},
      make("a", { href: fileOf(result, name), download: name.endsWith(".html") ? null : name,
        target: name.endsWith(".html") ? "_blank" : null, rel: "noopener" }, name)))),
    make("p", {}, make("a", { class: "button", href: archiveOf(result) }, "All as a zip")),
    make("h2", {}, "Compare"),
    compare(job, result, jobs, actions),
    make("h2", {}, "Made by"),
    make("p", { class: "quiet" },
      `${main.model.name}, SHA-256 ${main.model.sha256.slice(0, 12)}…; `,
      `${seconds(Object.values(main.seconds).reduce((sum, one) => sum + one, 0))}. `, main.notice));
}

function swatch(tissue) {
  const dot = make("span", { class: "swatch", "aria-hidden": "true" });
  dot.style.backgroundColor = `rgb(${(COLOURS[tissue] ?? [200, 200, 200]).join(" ")})`;
  return dot;
}

function versions(job, result, jobs, actions) {
  const found = [job, ...[...jobs.values()].filter((one) => one.kind === "correct"
    && one.asked.of === job.id).sort((one, other) => one.created - other.created)];
  return make("ul", { class: "versions" }, found.map((one, index) => make("li", {},
    one === result ? make("strong", {}, versionName(index))
      : one.state === "done" ? make("button", { type: "button",
        onclick: () => actions.version(one) }, versionName(index)) : versionName(index),
    one.state !== "done"
      && ` ${one.state === "failed" ? one.error.message : "is being written"}`)));
}

const versionName = (index) => (index ? `corrected ${index}` : "as segmented");

function compare(job, result, jobs, actions) {
  const others = [...jobs.values()].filter((one) => one.state === "done" && one.id !== result.id
    && ((one.kind === "segment" && one.upload === job.upload
      && one.asked.study === job.asked.study)
      || (one.kind === "correct" && one.asked.of === job.id)));
  const told = make("p", { role: "status", class: "scores" });
  const scored = async (asked) => {
    told.textContent = "Comparing …";
    try {
      const done = await finished(await call("POST", "/jobs", { json: { kind: "score",
        of: result.id, ...asked } }), jobs);
      told.textContent = done.state === "done"
        ? Object.entries(done.result.dice).map(([region, value]) => `${region} Dice ${value == null
          ? "not defined" : value.toFixed(3)}`).join(", ")
        : done.error?.message ?? done.state;
    } catch (error) {
      told.textContent = error.message;
    }
  };
  const input = make("input", { type: "file", accept: ".nii,.gz", id: "reference",
    class: "hidden-input", onchange: async () => {
      const [file] = input.files;
      if (!file) return;
      try {
        await scored({ upload: await sendAlone(file.name, file) });
      } catch (error) {
        say(error.message);
      }
    } });
  const elsewhere = actions.models.filter((name) => name !== job.asked.model);
  return make("div", {},
    others.length > 0 && select("With", [["", "nothing"], ...others.map((one) => [one.id,
      one.kind === "correct" ? "a corrected version" : one.asked.model])], "", (id) => {
      actions.compare(jobs.get(id));
      if (id) scored({ other: id });
      else told.textContent = "";
    }),
    make("p", { class: "row" }, make("label", { class: "button", for: "reference" },
      "Load a reference"), input,
    elsewhere.map((model) => make("button", { type: "button", onclick: () => actions.again(model) },
      `Segment with ${model}`))),
    told);
}

export async function finished(job, jobs) {
  for (;;) {
    const now = jobs.get(job.id) ?? job;
    if (!["queued", "running"].includes(now.state)) return now;
    await new Promise((done) => setTimeout(done, 100));
  }
}
