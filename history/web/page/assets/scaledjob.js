// One ScaledJob: what waits and runs, now and over time, and its records.

import { activityChart, histogramChart } from "./charts.js";
import { follow, get, of, path, seldom, url } from "./api.js";
import { h, show } from "./dom.js";
import { ago, count, duration, rate } from "./format.js";
import { badge, cell, conditions, failed, figure, slots, when } from "./parts.js";
import { records } from "./records.js";
import { timeline } from "./timeline.js";

const ranges = { "15m": "15 min", "1h": "1 hour", "6h": "6 hours", "24h": "24 hours", "7d": "7 days", "30d": "30 days" };
const kinds = { run: "run time", wait: "wait", startUp: "start-up" };

function active(jobs) {
  if (jobs.length === 0) return h("p", { class: "nothing" }, "No Job is starting or running.");
  return h("table", { class: "rows" },
    h("thead", {}, h("tr", {}, ["Job", "State", "Since", "Progress", "Pod", "Node"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, jobs.map((j) => h("tr", {},
      cell("Job", h("a", { href: url(of(j.namespace, j.scaledJob, "records", j.sequence)) }, j.name)),
      cell("State", h("span", { class: `badge ${j.state === "Running" ? "run" : "start"}` }, j.state), j.attempts > 1 && ` attempt ${j.attempts}`,
        j.message && h("div", { class: "why" }, j.message)),
      cell("Since", ago(j.started ?? j.created)),
      cell("Progress", j.progress === undefined ? "–" : [h("progress", { value: j.progress, max: 1, "aria-label": "progress" }), ` ${Math.round(j.progress * 100)} %`]),
      cell("Pod", j.pod ?? "–"), cell("Node", j.node ?? "–")))));
}

function spread(categories, choose) {
  const all = Object.entries(categories).filter(([name]) => name !== "Succeeded").sort((a, b) => b[1] - a[1]);
  if (all.length === 0) return h("p", { class: "nothing" }, "Nothing failed or was cancelled in this time.");
  const most = all[0][1];
  return h("ul", { class: "categories" }, all.map(([name, n]) => h("li", {},
    h("button", { class: "plain", onclick: () => choose(name) }, name), h("progress", { value: n, max: most, class: "bad", "aria-label": name }), ` ${count(n)}`)));
}

export async function scaledJob(main, user) {
  const [, namespace, , name] = path(4);
  document.title = `${name} · Longhaul`;
  const api = of(namespace, name);
  const query = new URLSearchParams(location.search);
  let created; // when it was applied
  // Without a choice it is the last hour, or as long as there is the ScaledJob.
  const since = () => {
    const chosen = new URLSearchParams(location.search).get("range");
    return chosen ?? (created && Date.now() - Date.parse(created) < 3600e3 ? created : "1h");
  };

  const head = h("div");
  const figures = h("dl", { class: "figures" });
  const why = h("p", { class: "why", "aria-live": "polite" });
  const more = h("details", {}, h("summary", {}, "Triggers and conditions"));
  const details = h("div");
  more.append(details);
  const running = h("div");
  const problem = h("div");
  const chart = h("div", { class: "chart" });
  const bars = h("div", { class: "timeline" });
  const barsNote = h("p", { class: "quiet" });
  const spreadOf = h("select", { id: "duration", "aria-label": "of what" }, Object.entries(kinds).map(([k, text]) => h("option", { value: k }, text)));
  const histogram = h("div", { class: "chart" });
  const percentiles = h("p", { class: "quiet" });
  const categories = h("div");
  const outcomes = h("p", { class: "quiet" });
  const drawActivity = activityChart(chart);
  const drawTimeline = timeline(bars, namespace, name);
  const drawHistogram = histogramChart(histogram);
  const part = user.history ? records(`${api}/records`, false) : undefined;
  let stats;

  const drawOne = (job) => {
    created = job.created;
    show(head, h("h1", {}, job.name, " ", badge(job)), h("p", { class: "quiet" }, `namespace ${job.namespace}`,
      job.created ? `, applied ${ago(job.created)}` : "", job.lastDispatch ? `, last dispatch ${ago(job.lastDispatch)}` : ""));
    show(why, job.why ?? "");
    more.hidden = Boolean(job.deleted);
    show(details, conditions(job));
    show(figures, job.deleted ? [] : [figure("Waiting", count(job.waiting)), job.held !== undefined && figure("Held by workers", count(job.held)),
      figure("Slots busy", slots(job)), figure("Starting", count(job.starting)), figure("Running", count(job.running))],
      figure("Done / min", rate(job.lastHour.perMinute)), figure("Failed, last hour", count(job.lastHour.failed), job.lastHour.failed > 0 ? "bad" : ""));
  };
  const drawStats = () => {
    if (!stats) return;
    const d = stats[spreadOf.value];
    drawHistogram(d);
    show(percentiles, d.count === 0 ? "Nothing in this time." : `${count(d.count)} Jobs: half at most ${duration(d.p50)}, 95 % at most ${duration(d.p95)}, 99 % at most ${duration(d.p99)}`);
    show(categories, spread(stats.categories, (category) => part.go({ category, outcome: "" })));
    show(outcomes, `${count(stats.outcomes.succeeded ?? 0)} succeeded, ${count(stats.outcomes.failed ?? 0)} failed, ${count(stats.outcomes.cancelled ?? 0)} cancelled`);
  };
  const guarded = (work) => async () => {
    try {
      await work();
      show(problem);
    } catch (error) {
      show(problem, failed(error));
    }
  };
  const loadOne = guarded(async () => drawOne(await get(api)));
  const loadActive = guarded(async () => show(running, active((await get(`${api}/jobs`, { progress: true })).items)));
  const loadTimes = guarded(async () => {
    const [activity, line] = await Promise.all([get(`${api}/activity`, { since: since() }), get(`${api}/timeline`, { since: since(), limit: 200 })]);
    drawActivity(activity.points);
    drawTimeline(line.items, activity.points[0].time, activity.points.at(-1).time);
    show(barsNote, line.items.length === 0 ? "No Job in this time." : line.more ? `The newest ${count(line.items.length)} Jobs of this time.` : `${count(line.items.length)} Jobs.`);
  });
  const loadStats = guarded(async () => {
    stats = await get(`${api}/stats`, { since: since(), histogram: true });
    drawStats();
  });

  const choose = h("fieldset", { class: "ranges" }, h("legend", { class: "hidden" }, "Time"), Object.entries(ranges).map(([value, text]) =>
    h("label", {}, h("input", { type: "radio", name: "range", value, checked: value === (query.get("range") ?? "1h") }), h("span", {}, text))));
  choose.addEventListener("change", (event) => {
    const now = new URLSearchParams(location.search);
    now.set("range", event.target.value);
    history.replaceState(null, "", `${location.pathname}?${now}`);
    loadTimes();
    loadStats();
  });
  spreadOf.addEventListener("change", drawStats);

  show(main, head, why, figures, problem,
    h("section", { class: "card" }, h("h2", {}, "Jobs now"), running, more),
    part && [
      h("div", { class: "bar-of" }, h("h2", {}, "Over time"), choose),
      h("section", { class: "card" }, h("h2", {}, "Waiting and running"), chart),
      h("section", { class: "card" }, h("h2", {}, "Timeline of Jobs"),
        h("p", { class: "key" }, ["wait", "start", "run", "succeeded", "failed", "cancelled"].map((k) =>
          h("span", { class: k }, { wait: "wait", start: "start-up", run: "running" }[k] ?? k))),
        bars, barsNote),
      h("div", { class: "two" },
        h("section", { class: "card" }, h("h2", {}, "How long it took: ", spreadOf), histogram, percentiles),
        h("section", { class: "card" }, h("h2", {}, "Why it ended otherwise"), categories, outcomes)),
      h("section", { class: "card" }, h("h2", {}, "Records"), part.element),
    ],
    !part && h("p", { class: "notice" }, "This manager keeps no history. Run it with --history=sqlite or --history=postgres."));

  drawOne(await get(api));
  await Promise.all([loadActive(), ...(part ? [loadTimes(), loadStats(), part.load()] : [])]);

  const soonOne = seldom(1000, loadOne);
  const soonActive = seldom(1000, loadActive);
  const soonTimes = seldom(2000, async () => part && loadTimes());
  const soonRecords = seldom(2000, async () => part && Promise.all([loadStats(), part.refresh()]));
  follow({ namespace, scaledJob: name }, {
    began: () => [soonOne, soonActive, soonTimes, soonRecords].forEach((f) => f()),
    scaledjob: (event) => drawOne(event.scaledJob),
    gone: soonOne,
    job: () => [soonActive, soonTimes].forEach((f) => f()),
    record: () => [soonOne, soonActive, soonTimes, soonRecords].forEach((f) => f()),
  });
  // Time goes on where nothing else happens, and so do workers.
  setInterval(() => document.hidden || [soonOne, soonActive, soonTimes].forEach((f) => f()), 5000);
}
