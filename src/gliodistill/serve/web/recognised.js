// What an upload was taken for, study by study, to be corrected before it is segmented.
import { call } from "./api.js";
import { byId, make, say, select } from "./dom.js";
import { SEQUENCES, seriesWords } from "./words.js";

// Shows the looked-into uploads that nobody has answered yet, or whose studies all failed or were
// cancelled.
export function showRecognised(jobs, models) {
  const place = byId("recognised");
  const open = jobs.filter((job) => job.kind === "inspect" && job.state !== "cancelled"
    && !earlier(job, jobs).some((one) => !["failed", "cancelled"].includes(one.state)));
  const wanted = new Set(open.map((job) => `${job.id} ${job.state}`));
  for (const child of [...place.children]) {
    if (!wanted.has(child.dataset.key)) child.remove();
    wanted.delete(child.dataset.key);
  }
  for (const job of open) {
    if (wanted.has(`${job.id} ${job.state}`)) {
      place.prepend(panel(job, models, earlier(job, jobs).length));
    }
  }
}

const earlier = (job, jobs) => jobs.filter((one) => one.kind === "segment"
  && one.upload === job.upload);

function panel(job, models, tries) {
  const box = make("section", { class: "card", "data-key": `${job.id} ${job.state}`,
    "aria-label": "Recognised" });
  const drop = make("button", { type: "button", onclick: () => discard(job) }, "Discard");
  if (job.state === "queued" || job.state === "running") {
    box.append(make("p", { role: "status" }, "Looking into the files …"), drop);
    return box;
  }
  if (job.state === "failed") {
    box.append(make("p", { class: "bad" }, job.error.message), drop);
    return box;
  }
  const { studies, failed, notes } = job.result;
  const forms = studies.map((study) => studyForm(study));
  let model = models[0];
  const start = make("button", { type: "button", class: "primary",
    onclick: () => submit(job, forms, model, tries, start) },
  studies.length === 1 ? "Segment" : `Segment ${studies.length} studies`);
  box.append(
    make("h2", {}, "Recognised"),
    ...forms.map((form) => form.element),
    ...failed.map((error) => make("p", { class: "bad" }, error.message)),
    ...notes.map((note) => make("p", { class: "quiet" }, note)),
    make("p", { class: "row" },
      models.length > 1 && select("Model", models.map((name) => [name, name]), model,
        (value) => { model = value; }),
      studies.length > 0 && start, drop));
  return box;
}

// One study: a table of its series, each with a choice.
function studyForm(study) {
  const chosen = Object.fromEntries(Object.entries(study.chosen).map(([s, key]) => [key, s]));
  const now = { ...chosen };
  const told = make("p", { class: "quiet", role: "status" });
  const check = () => {
    const used = Object.values(now).filter(Boolean);
    const twice = used.find((one, index) => used.indexOf(one) !== index);
    const absent = SEQUENCES.filter((one) => !used.includes(one));
    told.textContent = twice ? `${twice} is chosen twice.`
      : absent.length ? `Absent: ${absent.join(", ")}.` : "All four sequences are there.";
    return !twice && used.length > 0;
  };
  const options = [["", "not used"], ...SEQUENCES.map((one) => [one, one])];
  const rows = study.series.filter((one) => !one.refused).map((one) => make("tr", {},
    make("td", { "data-label": "Series" }, seriesWords(one)),
    make("td", { "data-label": "Taken for" },
      select("Taken for", options, chosen[one.key] ?? "", (value) => {
        now[one.key] = value;
        check();
      }, { "aria-label": `${one.key} is`, "data-series": one.key })),
    make("td", { "data-label": "Why" }, [one.other, ...one.evidence].filter(Boolean).join("; "),
      one.doubts.length > 0
        && make("span", { class: "bad" }, ` Doubt: ${one.doubts.join("; ")}`))));
  const element = make("div", {},
    make("h3", {}, study.study),
    ...study.problems.map((problem) => make("p", { class: "bad" }, problem)),
    make("div", { class: "wide", tabindex: 0, role: "region",
      "aria-label": `Series of ${study.study}` },
      make("table", {}, make("thead", {}, make("tr", {},
        ...["Series", "Taken for", "Why"].map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, rows))),
    told);
  check();
  const series = () => {
    const picked = Object.entries(now).filter(([, sequence]) => sequence);
    const same = picked.length === Object.keys(chosen).length
      && picked.every(([key, sequence]) => chosen[key] === sequence);
    return same ? {} : Object.fromEntries(picked.map(([key, sequence]) => [sequence, key]));
  };
  return { study, element, check, series };
}

async function submit(job, forms, model, tries, button) {
  if (!forms.every((form) => form.check())) {
    say("Give each sequence to one series of a study, and at least one to each study.");
    return;
  }
  button.disabled = true;
  say("");
  try {
    for (const form of forms) {
      const json = { kind: "segment", upload: job.upload, study: form.study.study,
        series: form.series(), model };
      // The same click twice is the same job.
      await call("POST", "/jobs", { json,
        headers: { "idempotency-key": `page ${tries} ${job.upload} ${form.study.study}`
          .slice(0, 200).replace(/[^\x20-\x7e]/g, "_") } });
    }
  } catch (error) {
    say(error.message);
    button.disabled = false;
  }
}

const discard = (job) => call("DELETE", `/jobs/${job.id}`).catch((error) => say(error.message));
