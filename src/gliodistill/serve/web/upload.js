// Files of a drop or a choice, sent one by one; a study is one upload.
import { call } from "./api.js";
import { byId, say, show } from "./dom.js";

const TOGETHER = 4;

// All files of a drop, with their place in the folder that was dropped.
export async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => [file.name, file]);
  const found = [];
  for (const entry of entries) await walk(entry, "", found);
  return found;
}

async function walk(entry, folder, found) {
  if (entry.isFile) {
    const file = await new Promise((good, bad) => entry.file(good, bad));
    if (!entry.name.startsWith(".")) found.push([folder + entry.name, file]);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((good, bad) => reader.readEntries(good, bad));
    if (!some.length) return;
    for (const one of some) await walk(one, `${folder}${entry.name}/`, found);
  }
}

export async function send(files) {
  const stop = new AbortController();
  const text = byId("uploading-text"), bar = byId("uploading-bar");
  byId("stop-upload").onclick = () => stop.abort();
  show(byId("uploading"), true);
  say("");
  let id, done = 0;
  const waiting = [...files], total = files.reduce((sum, [, file]) => sum + file.size, 0) || 1;
  let sent = 0;
  const tell = () => {
    text.textContent = `Sending: ${done} of ${files.length} files`;
    bar.value = sent / total;
  };
  const worker = async () => {
    for (let next; (next = waiting.shift()); ) {
      const [name, file] = next;
      const path = `/uploads/${id}/files?name=${encodeURIComponent(name)}`;
      await call("PUT", path, { body: file, signal: stop.signal });
      done += 1;
      sent += file.size;
      tell();
    }
  };
  try {
    ({ id } = await call("POST", "/uploads", { signal: stop.signal }));
    tell();
    await Promise.all(Array.from({ length: TOGETHER }, worker));
    return await call("POST", `/uploads/${id}/inspect`, { signal: stop.signal });
  } catch (error) {
    stop.abort();
    if (id) await call("DELETE", `/uploads/${id}`).catch(() => {});
    say(error.name === "AbortError" ? "The upload was stopped." : error.message);
    return null;
  } finally {
    show(byId("uploading"), false);
  }
}
