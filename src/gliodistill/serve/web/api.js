// Calls of the server. The cookie proves who we are; an error carries the server's own sentence.

const ROOT = "/api/v1";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function call(method, path, { json, body, headers, signal } = {}) {
  const answer = await fetch(ROOT + path, {
    method,
    signal,
    headers: { ...(json ? { "content-type": "application/json" } : {}), ...headers },
    body: json ? JSON.stringify(json) : body,
  });
  if (answer.status === 204) return null;
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    throw new Refused(answer.status, told.error?.message ?? `the server answered ${answer.status}`);
  }
  return told;
}

export const fileOf = (job, name) => `${ROOT}/jobs/${job.id}/files/${encodeURIComponent(name)}`;
export const imageOf = (job, name) => `${ROOT}/jobs/${job.id}/images/${name}.nii.gz`;
export const archiveOf = (job) => `${ROOT}/jobs/${job.id}/archive`;

// Every change of a job, from now on; the browser reconnects by itself and misses nothing.
export function listen(change, lost) {
  const source = new EventSource(`${ROOT}/events`);
  source.addEventListener("job", (event) => change(JSON.parse(event.data)));
  source.addEventListener("error", () => lost(true));
  source.addEventListener("open", () => lost(false));
  return source;
}

// One file as an upload of its own, for a corrected label map or a reference.
export async function sendAlone(name, body) {
  const { id } = await call("POST", "/uploads");
  await call("PUT", `/uploads/${id}/files?name=${encodeURIComponent(name)}`, { body });
  return id;
}
