// Records, with filters that live in the URL.

import { follow, get, seldom } from "./api.js";
import { h, show } from "./dom.js";
import { failed, recordTable } from "./parts.js";

const outcomes = { "": "any outcome", active: "not ended", succeeded: "succeeded", failed: "failed", cancelled: "cancelled" };
const categories = ["Succeeded", "Failed", "OutOfMemory", "DeadlineExceeded", "Evicted", "ImageError", "NeverStarted", "Cancelled", "Replaced"];
const times = { "": "all time", "1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days", "30d": "last 30 days" };
const names = ["search", "messageID", "outcome", "category", "since", "namespace", "scaledJob", "trigger"];

function choice(name, label, choices, value) {
  const known = { ...choices };
  if (value && !(value in known)) known[value] = value; // as the URL has it
  return h("select", { id: name, name, "aria-label": label },
    Object.entries(known).map(([of, text]) => h("option", { value: of, selected: of === value }, text)));
}

function word(name, label, value) {
  return h("input", { id: name, name, type: "search", value, placeholder: label, "aria-label": label });
}

// records is a part of a page: filters, records of what path leads to, and ways to more of them. Its refresh shows new ones.
export function records(path, several) {
  const form = h("form", { class: "filters", role: "search", "aria-label": "Records" });
  const body = h("div", { "aria-busy": "true" });
  const ways = h("nav", { class: "ways", "aria-label": "Pages of records" });
  let asked = new AbortController();

  const given = () => new URLSearchParams(location.search);
  const go = (change) => {
    const query = given();
    query.delete("cursor");
    for (const [name, value] of Object.entries(change)) {
      if (value) query.set(name, value);
      else query.delete(name);
    }
    const text = query.toString();
    history.pushState(null, "", location.pathname + (text ? `?${text}` : ""));
    drawFilters();
    load();
  };
  const take = (event) => {
    event.preventDefault();
    go(Object.fromEntries(names.filter((n) => form.elements[n]).map((n) => [n, form.elements[n].value.trim()])));
  };
  form.addEventListener("submit", take);
  form.addEventListener("change", take);

  const drawFilters = () => {
    const query = given();
    const value = (name) => query.get(name) ?? "";
    const filtered = names.some((name) => value(name));
    show(form,
      word("search", "words in a record", value("search")),
      word("messageID", "message ID", value("messageID")),
      choice("outcome", "outcome", outcomes, value("outcome")),
      choice("category", "category", { "": "any category", ...Object.fromEntries(categories.map((c) => [c, c])) }, value("category")),
      choice("since", "created", times, value("since")),
      several && word("namespace", "namespace", value("namespace")),
      several && word("scaledJob", "ScaledJob", value("scaledJob")),
      (value("trigger") || several) && word("trigger", "trigger", value("trigger")),
      h("button", { type: "submit" }, "Find"),
      filtered && h("button", { type: "button", class: "plain", onclick: () => go(Object.fromEntries(names.map((n) => [n, ""]))) }, "Clear"));
  };
  const load = async () => {
    asked.abort();
    asked = new AbortController();
    const query = given();
    const parameters = Object.fromEntries([...names, "cursor"].filter((n) => several || !["namespace", "scaledJob"].includes(n)).map((n) => [n, query.get(n)]));
    body.setAttribute("aria-busy", "true");
    try {
      const page = await get(path, { ...parameters, limit: 25 }, asked.signal);
      show(body, recordTable(page.items, several));
      show(ways,
        query.get("cursor") && h("button", { id: "newest", onclick: () => go({}) }, "Newest"),
        page.next && h("button", { id: "older", onclick: () => go({ cursor: page.next }) }, "Older"));
    } catch (error) {
      if (error.name === "AbortError") return;
      show(body, failed(error));
      show(ways);
    }
    body.setAttribute("aria-busy", "false");
  };
  addEventListener("popstate", () => {
    drawFilters();
    load();
  });
  drawFilters();
  return {
    element: h("div", {}, form, body, ways),
    load,
    go,
    // An older page stays as it is: what is new is not on it.
    refresh: () => (given().get("cursor") ? undefined : load()),
  };
}

export async function allRecords(main, user) {
  document.title = "Records · Longhaul";
  if (!user.history) {
    show(main, h("h1", {}, "Records"), h("p", { class: "notice" }, "This manager keeps no history. Run it with --history=sqlite or --history=postgres."));
    return;
  }
  const part = records("records", true);
  show(main, h("h1", {}, "Records"), part.element);
  await part.load();
  const soon = seldom(2000, async () => part.refresh());
  follow({}, { began: soon, record: soon });
}
