// Parts that several pages have.

import { of, url } from "./api.js";
import { h } from "./dom.js";
import { ago, count, duration, time, moment } from "./format.js";

// failed shows what went wrong.
export function failed(error) {
  return h("p", { class: "notice bad", role: "alert" }, error.message);
}

// badge says in a word how a ScaledJob is.
export function badge(job) {
  if (job.deleted) return h("span", { class: "badge gone" }, "Deleted");
  if (job.suspended) return h("span", { class: "badge rest" }, "Suspended");
  if (job.ready === "True") return h("span", { class: "badge good" }, "Ready");
  const bad = (job.conditions ?? []).find((c) => c.type === "Ready");
  return h("span", { class: "badge bad", title: bad?.message }, bad?.reason ?? "Unknown");
}

// conditions tells what each trigger showed, and all conditions.
export function conditions(job) {
  return [
    h("h3", {}, "Triggers"),
    h("ul", {}, (job.triggers ?? []).map((t) => h("li", {}, h("strong", {}, t.name), ` (${t.kind}): `,
      t.message ? h("span", { class: "bad" }, t.message) : `${count(t.waiting)} waiting${t.held === undefined ? "" : `, ${count(t.held)} held`}, read ${ago(t.lastRead)}`))),
    h("h3", {}, "Conditions"),
    h("ul", {}, (job.conditions ?? []).map((c) => h("li", {}, h("strong", {}, `${c.type}: ${c.status}`), ` ${c.reason ?? ""} ${c.message ?? ""} `, h("span", { class: "quiet" }, `since ${time(c.since)}`)))),
  ];
}

// outcome says how a Job ended, and why.
export function outcome(record) {
  if (!record.outcome) return h("span", { class: "badge run" }, record.started ? "Running" : "Starting");
  const kind = { succeeded: "good", failed: "bad", cancelled: "gone" }[record.outcome] ?? "rest";
  return h("span", { class: `badge ${kind}` }, record.category ?? record.outcome);
}

// slots shows how many of the slots are busy.
export function slots(job) {
  const busy = job.starting + job.running;
  const most = job.maxParallelism ?? 0;
  return h("span", { class: "slots" },
    h("progress", { value: Math.min(busy, most), max: Math.max(1, most), "aria-label": "slots busy" }), ` ${count(busy)} / ${count(most)}`);
}

// when is a time as a reader reads it, whole where one points at it.
export function when(text) {
  return text ? h("time", { datetime: text, title: moment(text) }, time(text)) : "–";
}

// figure is a number and what it counts.
export function figure(name, value, kind = "") {
  return h("div", { class: `figure ${kind}` }, h("dt", {}, name), h("dd", {}, value));
}

// cell is a cell of a table that knows its column, for screens that are too narrow for columns.
export function cell(name, ...content) {
  return h("td", { "data-label": name }, ...content);
}

const columns = ["Job", "Message", "Outcome", "Created", "Wait", "Start-up", "Run", "Attempts"];

// recordTable is records as rows. Where they are of several ScaledJobs, it says of which.
export function recordTable(records, several) {
  if (records.length === 0) return h("p", { class: "nothing" }, "No records. They begin with the first Job that is dispatched; a filter may hide some.");
  const heads = several ? ["ScaledJob", ...columns] : columns;
  return h("table", { class: "rows records" },
    h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, records.map((r) => h("tr", {},
      several && cell("ScaledJob", h("a", { href: url(of(r.namespace, r.scaledJob)) }, `${r.namespace}/${r.scaledJob}`)),
      cell("Job", h("a", { href: url(of(r.namespace, r.scaledJob, "records", r.sequence)) }, r.job)),
      cell("Message", r.messageID || "–"),
      cell("Outcome", outcome(r)),
      cell("Created", when(r.created)),
      cell("Wait", duration(r.waitSeconds)),
      cell("Start-up", duration(r.startUpSeconds)),
      cell("Run", duration(r.runSeconds)),
      cell("Attempts", count((r.attempts ?? []).length))))));
}
