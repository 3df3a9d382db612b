"use strict";

// For every page: calls of the server with the key, and the form that asks for it. A page defines lock(), which hides what
// needs the key, and start().
const KEY = "flipkd API key"; // in sessionStorage, which the browser deletes with the tab
const byId = (id) => document.getElementById(id);

function element(name, text = "", className = "") {
  return Object.assign(document.createElement(name), { textContent: text, className });
}

class Unauthorized extends Error {}

async function call(path, body) {
  const headers = body ? { "content-type": "application/json" } : {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.authorization = `Bearer ${key}`;
  const request = { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) };
  const response = await fetch(path, request).catch(() => { throw new Error("The server cannot be reached."); });
  const found = await response.json().catch(() => ({ detail: `the server answered with status ${response.status}` }));
  if (response.status === 401) {
    askForKey();
    throw new Unauthorized(key ? "The server did not accept this key." : "");
  }
  if (!response.ok) throw new Error(found.detail);
  return found;
}

function askForKey() {
  sessionStorage.removeItem(KEY);
  byId("access").hidden = false;
  lock();
  byId("key").value = "";
  byId("key").focus();
}

byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, byId("key").value);
  start();
});
