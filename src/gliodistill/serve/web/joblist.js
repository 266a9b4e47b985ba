// The list of studies: what runs, what waits, what there is.
import { call } from "./api.js";
import { byId, make, say, show } from "./dom.js";
import { ml, seconds, stageWords, stateWords } from "./words.js";

const rows = new Map();

export function showJobs(jobs) {
  const list = byId("jobs");
  const shown = jobs.filter((job) => job.kind === "segment");
  show(byId("empty"), shown.length === 0);
  for (const [id, row] of rows) {
    if (!shown.some((job) => job.id === id)) {
      row.element.remove();
      rows.delete(id);
    }
  }
  // The newest first; rows that did not change keep their focus.
  shown.forEach((job, index) => {
    const known = rows.get(job.id);
    if (known?.revision === job.revision) return;
    const element = row(job);
    if (known) known.element.replaceWith(element);
    else list.insertBefore(element, list.children[index] ?? null);
    rows.set(job.id, { element, revision: job.revision });
  });
}

function row(job) {
  const name = job.asked.study;
  const act = (text, action, attributes = {}) => make("button", { type: "button",
    "aria-label": `${text} ${name}`, onclick: action, ...attributes }, text);
  const buttons = [];
  if (job.state === "done") {
    buttons.push(make("a", { class: "button primary", href: `#job/${job.id}`,
      "aria-label": `Open ${name}` }, "Open"));
  }
  if (job.state === "queued" || job.state === "running") {
    buttons.push(act("Cancel", () => attempt(call("POST", `/jobs/${job.id}/cancel`))));
  } else {
    buttons.push(act("Remove", () => {
      if (confirm(`Remove ${name}, its images and its results?`)) {
        attempt(call("DELETE", `/jobs/${job.id}`));
      }
    }));
  }
  return make("li", { class: `job ${job.state}`, "data-id": job.id },
    make("div", {}, make("strong", {}, name),
      make("span", { class: "quiet" }, ` ${job.asked.model}`)),
    make("div", { class: "told" }, told(job)),
    make("div", { class: "row" }, buttons));
}

function told(job) {
  if (job.state === "failed") return make("span", { class: "bad" }, job.error.message);
  if (job.state === "done") {
    const volumes = Object.entries(job.result.summary.volumes_ml)
      .map(([region, value]) => `${region} ${ml(value)}`).join(", ");
    return `${volumes}; ${seconds(job.ended - job.began)}`;
  }
  if (job.state !== "running") return stateWords(job.state);
  const stages = job.stages.map(([name, began], index) => {
    const next = job.stages[index + 1]?.[1];
    return make("li", { class: next ? "over" : "now" }, stageWords(name), " ",
      make("span", { class: "seconds", "data-since": next ? null : began },
        next ? seconds(next - began) : ""));
  });
  return make("ol", { class: "stages", "aria-label": "Stages" }, stages);
}

// The seconds of the stage that runs.
export function tick() {
  for (const place of document.querySelectorAll("[data-since]")) {
    place.textContent = seconds(Math.max(0, Date.now() / 1000 - Number(place.dataset.since)));
  }
}

const attempt = (promise) => promise.then(() => say(""), (error) => say(error.message));
