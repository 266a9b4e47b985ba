// The page: who may see it, what is shown, and the jobs that change under it.
import { call, listen } from "./api.js";
import { byId, say, show } from "./dom.js";
import { showJobs, tick } from "./joblist.js";
import { showRecognised } from "./recognised.js";
import { filesOf, send } from "./upload.js";
import { closeViewer, openViewer, jobChanged } from "./viewer.js";

const jobs = new Map();
let models = [];

async function enter() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    history.replaceState(null, "", location.pathname);
    await call("POST", "/session", { json: { token } }).catch((error) => say(error.message));
  }
  try {
    ({ models } = await call("GET", "/models"));
  } catch (error) {
    show(byId("locked"), error.status === 401);
    if (error.status !== 401) say(error.message);
    return;
  }
  show(byId("locked"), false);
  await refresh();
  listen(changed, (lost) => say(lost ? "The server does not answer. Trying again …" : ""));
  addEventListener("hashchange", route);
  route();
}

// Jobs that were removed send no event; the list as a whole says what is left.
async function refresh() {
  const told = await call("GET", "/jobs?most=1000").catch(() => null);
  if (!told) return;
  const there = new Set(told.jobs.map((job) => job.id));
  for (const id of jobs.keys()) if (!there.has(id)) jobs.delete(id);
  for (const job of told.jobs) jobs.set(job.id, job);
  draw();
}

function changed(job) {
  if ((jobs.get(job.id)?.revision ?? -1) >= job.revision) return;
  jobs.set(job.id, job);
  jobChanged(job, jobs);
  draw();
}

let drawing = false;
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const all = [...jobs.values()].sort((one, other) => other.created - one.created);
    showJobs(all);
    showRecognised(all, models);
  });
}

function route() {
  const id = location.hash.match(/^#job\/([0-9a-f]{16})$/)?.[1];
  const job = id && jobs.get(id);
  show(byId("home"), !job);
  show(byId("viewer"), Boolean(job));
  if (job) openViewer(job, jobs, models);
  else closeViewer();
}

function takes(files) {
  if (files.length) send(files).then(refresh);
}

function prepareDrop() {
  const drop = byId("drop");
  for (const kind of ["dragenter", "dragover"]) {
    addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  addEventListener("dragleave", () => drop.classList.remove("over"));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (!byId("home").hidden) takes(await filesOf(event.dataTransfer));
  });
  for (const id of ["pick-folder", "pick-files"]) {
    const input = byId(id);
    input.addEventListener("change", () => {
      takes([...input.files].map((file) => [file.webkitRelativePath || file.name, file]));
      input.value = "";
    });
  }
}

function prepareTheme() {
  const button = byId("theme"), root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = (dark) => {
    root.dataset.theme = dark ? "dark" : "light";
    button.setAttribute("aria-pressed", String(dark));
  };
  apply(system.matches);
  system.addEventListener("change", () => apply(system.matches));
  button.addEventListener("click", () => apply(root.dataset.theme !== "dark"));
}

byId("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = byId("token").value;
  call("POST", "/session", { json: { token } }).then(() => location.reload(),
    (error) => say(error.message));
});
prepareTheme();
prepareDrop();
setInterval(tick, 250);
setInterval(refresh, 5000);
await enter();
