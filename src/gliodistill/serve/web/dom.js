// Elements without markup in strings: text is always text.

export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child || child === 0));
  return element;
}

export const byId = (id) => document.getElementById(id);

export function select(label, options, chosen, change, attributes = {}) {
  const box = make("select", { onchange: () => change(box.value), ...attributes },
    options.map(([value, text]) => make("option", { value, selected: value === chosen }, text)));
  return make("label", { class: "field" }, make("span", {}, label), box);
}

export function slider(label, value, change, attributes = {}) {
  const input = make("input", { type: "range", min: 0, max: 1, step: 0.05, value,
    oninput: () => change(Number(input.value)), ...attributes });
  return make("label", { class: "field" }, make("span", {}, label), input);
}

export function show(element, visible) {
  element.hidden = !visible;
}

export function say(text) {
  const place = byId("message");
  place.textContent = text ?? "";
  place.hidden = !text;
}
