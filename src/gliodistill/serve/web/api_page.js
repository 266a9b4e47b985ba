// The calls of the API, from its own description.
import { make } from "./dom.js";

const answer = await fetch("/api/v1/openapi.json");
const place = document.getElementById("calls");
if (answer.ok) {
  const { paths } = await answer.json();
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, call] of Object.entries(methods)) {
      const names = (call.parameters ?? []).map((one) => `${one.name} (${one.in})`).join(", ");
      place.append(
        make("section", {},
          make("h2", {}, make("code", {}, `${method.toUpperCase()} ${path}`)),
          make("p", {}, call.description ?? ""),
          names && make("p", { class: "quiet" }, `Parameters: ${names}`)),
      );
    }
  }
} else {
  place.append(make("p", {}, "Open the page of the app first: the description needs its token."));
}
