// The plain words of the page.

export const SEQUENCES = ["T1", "T1CE", "T2", "FLAIR"];
export const REGIONS = {
  WT: "whole tumour: oedema, core and all within",
  TC: "tumour core: necrosis and enhancing tumour",
  ET: "enhancing tumour",
  RC: "resection cavity",
  CC: "cyst",
  GTV: "gross tumour volume",
};
// Of a result, in the order of its probabilities.
export const regionsOf = (job) => Object.keys(job.result.summary.volumes_ml);
const TISSUES = {
  NCR: "necrotic core", ED: "oedema", ET: "enhancing tumour", NET: "non-enhancing tumour",
  RC: "resection cavity", CC: "cyst", GTV: "gross tumour volume",
};
export const tissueWords = (name) => TISSUES[name] ?? name;
export const COLOURS = {
  NCR: [214, 69, 65], ED: [86, 180, 120], ET: [240, 196, 60], NET: [90, 130, 220],
  RC: [160, 110, 200], CC: [90, 190, 220],
};
const STAGES = {
  load: "load the model", look: "look into the files", choose: "recognise the sequences",
  read: "read the images", brain: "find the brain", register: "align the sequences",
  resample: "put them on one grid", prepare: "prepare", infer: "run the network",
  return: "carry the labels back", write: "write the results", check: "check",
};
export const stageWords = (name) => STAGES[name] ?? name;
const STATES = {
  queued: "waiting", running: "running", done: "done", failed: "failed", cancelled: "cancelled",
};
export const stateWords = (name) => STATES[name] ?? name;
export const ml = (value) => `${value.toFixed(1)} ml`;
export const seconds = (value) => (value < 60 ? `${value.toFixed(1)} s`
  : `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`);

export function seriesWords(one) {
  const size = one.shape ? `, ${one.shape.join("×")}` : "";
  const step = one.spacing ? `, ${one.spacing.map((side) => side.toFixed(1)).join("×")} mm` : "";
  const name = one.name && one.name !== one.key ? ` ${one.name}` : "";
  return `${one.key}${name}${one.part ? ` [${one.part}]` : ""}${size}${step}`;
}

export function diceWords(value) {
  if (value == null) return "not known";
  const sure = value >= 0.85 ? "good" : value >= 0.7 ? "fair" : "low";
  return `${value.toFixed(2)} (${sure})`;
}
