// One record: what became of one message's Job.

import { follow, get, of, path, seldom, url } from "./api.js";
import { h, show } from "./dom.js";
import { bytes, count, duration, moment } from "./format.js";
import { failed, outcome, recordTable } from "./parts.js";

function fact(name, ...value) {
  return [h("dt", {}, name), h("dd", {}, ...value)];
}

function attempt(a, i) {
  const ended = a.finished ? (a.succeeded ? "succeeded" : "failed") : a.started ? "running" : "starting";
  return h("section", { class: "attempt" },
    h("h3", {}, `Attempt ${i + 1} `, h("span", { class: `badge ${{ succeeded: "good", failed: "bad" }[ended] ?? "run"}` }, ended)),
    h("dl", { class: "facts" },
      fact("Pod", a.pod),
      fact("Node", a.node || "–"),
      fact("Image", a.image || "–", a.imageID && h("div", { class: "quiet" }, a.imageID)),
      fact("Created", moment(a.created)),
      fact("Started", moment(a.started)),
      fact("Finished", moment(a.finished)),
      a.exitCode !== undefined && fact("Exit code", String(a.exitCode), a.signal > 0 && ` (signal ${a.signal})`),
      a.restarts > 0 && fact("Restarts", count(a.restarts)),
      a.reason && fact("Reason", a.reason),
      a.message && fact("Message", a.message),
      (a.cpu > 0 || a.memory > 0) && fact("Requests", `${a.cpu ?? 0} CPU, ${bytes(a.memory ?? 0)}`)),
    a.logTail && [h("h4", {}, "The end of its log"), h("pre", { class: "log", tabindex: "0", "aria-label": "the end of its log" }, a.logTail)]);
}

export async function record(main) {
  const [, namespace, , name, , sequence] = path(6);
  const api = of(namespace, name);
  const whole = h("div");
  const others = h("div");
  const problem = h("div");
  document.title = `${name} ${sequence} · Longhaul`;

  const draw = (r) => show(whole,
    h("h1", {}, r.job, " ", outcome(r)),
    h("p", {}, "Job ", String(r.sequence), " of ", h("a", { href: url(api) }, `${r.namespace}/${r.scaledJob}`), r.trigger ? `, trigger ${r.trigger}` : ""),
    (r.reason || r.message) && h("p", { class: r.outcome === "failed" ? "notice bad" : "notice" }, r.reason && h("strong", {}, r.reason), r.message && ` ${r.message}`),
    h("dl", { class: "figures" }, [["Wait", r.waitSeconds], ["Start-up", r.startUpSeconds], ["Run", r.runSeconds]].map(([what, seconds]) =>
      h("div", { class: "figure" }, h("dt", {}, what), h("dd", {}, duration(seconds))))),
    h("section", { class: "card" }, h("h2", {}, "What became of it"), h("dl", { class: "facts" },
      fact("Message ID", r.messageID || "– (the worker named none)"),
      fact("Seen to wait", moment(r.seen)),
      fact("Created", moment(r.created)),
      fact("Scheduled", moment(r.scheduled)),
      fact("Started", moment(r.started)),
      fact("Finished", moment(r.finished)),
      r.scheduledTime && fact("For the time", moment(r.scheduledTime)),
      r.revision && fact("Template revision", r.revision),
      r.cpuSeconds > 0 && fact("CPU requested", `${count(Math.round(r.cpuSeconds))} core-seconds`),
      r.memoryByteSeconds > 0 && fact("Memory requested", `${bytes(r.memoryByteSeconds / 3600)}-hours`),
      r.result !== undefined && fact("Result", h("pre", {}, JSON.stringify(r.result, null, 2))))),
    h("section", { class: "card" }, h("h2", {}, "Attempts"), (r.attempts ?? []).length > 0 ? r.attempts.map(attempt) : h("p", { class: "nothing" }, "No pod of it was seen.")));
  const load = async () => {
    try {
      const r = await get(`${api}/records/${encodeURIComponent(sequence)}`);
      draw(r);
      show(problem);
      // Until a moment after its creation, so that it is the first itself.
      const until = new Date(Date.parse(r.created) + 1000).toISOString();
      const before = await get(`${api}/records`, { trigger: r.trigger, until, limit: 10 });
      show(others, h("h2", {}, r.trigger ? `Its trigger's Jobs up to it: ${r.trigger}` : "The Jobs up to it"), recordTable(before.items, false),
        h("p", {}, h("a", { href: url(api, { trigger: r.trigger }) }, r.trigger ? "All records of the trigger" : "All records")));
      return r;
    } catch (error) {
      show(problem, failed(error));
      return undefined;
    }
  };
  show(main, problem, whole, h("section", { class: "card" }, others));
  const r = await load();
  if (r?.outcome) return; // nothing changes any more
  const soon = seldom(1000, load);
  const mine = (what) => String(what.sequence) === sequence && soon();
  follow({ namespace, scaledJob: name }, { began: soon, job: ({ job }) => mine(job), record: (event) => mine(event.record) });
}
