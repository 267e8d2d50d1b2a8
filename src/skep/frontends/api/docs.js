"use strict";
// Draws /api/openapi.json. Text goes in as text nodes only, so nothing in it can become markup.
const place = document.getElementById("operations");
const find = document.getElementById("find");

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function resolve(schema, doc) {
  if (schema && schema.$ref) return doc.components.schemas[schema.$ref.split("/").pop()];
  return schema;
}

function kind(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.type === "array") return "list of " + kind(schema.items);
  return schema.type || "any";
}

function fields(properties, required) {
  const table = element("table");
  for (const [name, schema] of Object.entries(properties || {})) {
    const fallback = "default" in schema ? " = " + JSON.stringify(schema.default) : "";
    const need = (required || []).includes(name) ? " (required)" : "";
    table.append(element("tr", "", element("td", "", element("code", name)), element("td", kind(schema) + fallback + need),
      element("td", schema.description || "")));
  }
  return table;
}

function described(title, schema, doc) {
  const full = resolve(schema, doc);
  if (!full) return [];
  const parts = [element("p", "", element("strong", title + ": " + kind(schema)))];
  if (full.description) parts.push(element("p", full.description));
  if (full.properties) parts.push(fields(full.properties, full.required));
  return parts;
}

function draw(path, method, operation, doc) {
  const head = element("summary", "", element("span", method.toUpperCase()), element("code", " " + path + " "),
    element("span", " " + operation.summary));
  head.firstChild.className = "method";
  const body = element("div");
  if (operation.description) body.append(element("p", operation.description));
  if (operation["x-skep-scope"]) body.append(element("p", "Scope: " + operation["x-skep-scope"] + (operation["x-skep-admin"] ? ", administrators" : "")));
  if (operation.parameters.length) {
    body.append(element("p", "", element("strong", "Parameters")));
    const table = element("table");
    for (const one of operation.parameters) {
      const fallback = "default" in one.schema ? " = " + JSON.stringify(one.schema.default) : "";
      table.append(element("tr", "", element("td", "", element("code", one.name)), element("td", one.in),
        element("td", kind(one.schema) + fallback + (one.required ? " (required)" : ""))));
    }
    body.append(table);
  }
  for (const [media, content] of Object.entries((operation.requestBody || {}).content || {}))
    body.append(...described("Takes " + media, content.schema, doc));
  for (const [status, response] of Object.entries(operation.responses)) {
    if (status === "default" || status === "401") continue;
    const contents = Object.entries(response.content || {});
    if (!contents.length) body.append(element("p", "", element("strong", status + ": " + response.description)));
    for (const [media, content] of contents) body.append(...described(status + " " + media, content.schema, doc));
  }
  const made = element("details", "", head, body);
  made.dataset.text = (method + " " + path + " " + operation.summary + " " + (operation.description || "")).toLowerCase();
  return made;
}

function filter() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const one of place.querySelectorAll("details")) one.hidden = !words.every((word) => one.dataset.text.includes(word));
  for (const section of place.querySelectorAll("section")) section.hidden = !section.querySelector("details:not([hidden])");
}

async function start() {
  const doc = await (await fetch("/api/openapi.json")).json();
  const sections = new Map();
  for (const [path, methods] of Object.entries(doc.paths))
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags[0];
      if (!sections.has(tag)) sections.set(tag, element("section", "", element("h2", tag)));
      sections.get(tag).append(draw(path, method, operation, doc));
    }
  place.replaceChildren(...sections.values());
  find.addEventListener("input", filter);
}

start().catch((error) => place.replaceChildren(element("p", "The description could not be read: " + error.message)));
