// All ScaledJobs and ScaledDeployments at a glance.

import { follow, get, of, ofDeployment, poll, seldom, url } from "./api.js";
import { h, show } from "./dom.js";
import { count, rate } from "./format.js";
import { badge, cell, failed, figure, slots, when } from "./parts.js";

const key = (job) => `${job.namespace}/${job.name}`;

function row(job) {
  return h("tr", { class: job.deleted ? "quiet" : "", "data-name": key(job) },
    cell("ScaledJob", h("a", { id: `to-${key(job)}`, href: url(of(job.namespace, job.name)) }, job.name), h("span", { class: "quiet" }, ` ${job.namespace}`)),
    cell("State", badge(job)),
    cell("Waiting", count(job.waiting)),
    cell("Slots busy", job.deleted ? "–" : slots(job)),
    cell("Done / min", rate(job.lastHour.perMinute)),
    cell("Failed, last hour", job.lastHour.failed > 0 ? h("span", { class: "bad" }, count(job.lastHour.failed)) : "0"),
    cell("Last dispatch", when(job.lastDispatch)),
    h("td", { class: "why", "data-label": "Why" }, job.why ?? ""));
}

function deploymentRow(d) {
  return h("tr", { "data-deployment": key(d) },
    cell("ScaledDeployment", h("a", { href: url(ofDeployment(d.namespace, d.name)) }, d.name), h("span", { class: "quiet" }, ` ${d.namespace}`)),
    cell("State", badge(d)),
    cell("Waiting", count(d.waiting)),
    cell("Replicas", `${count(d.replicas)} / ${count(d.maxReplicas)}`),
    cell("Busy", count(d.busy)),
    cell("Idle", count(d.idle)),
    cell("Last scale", when(d.lastScale)),
    h("td", { class: "why", "data-label": "Why" }, d.why ?? ""));
}

export async function overview(main) {
  const given = new URLSearchParams(location.search);
  const all = new Map();
  let deployments = [];
  const figures = h("dl", { class: "figures" });
  const list = h("div", { "aria-live": "off" });
  const fleet = h("section");
  const problem = h("div");
  const words = h("input", { id: "words", type: "search", value: given.get("q") ?? "", placeholder: "name or namespace" });
  const deleted = h("input", { id: "deleted", type: "checkbox", checked: given.get("deleted") === "true" });

  const drawDeployments = () => {
    const sought = words.value.trim().toLowerCase();
    const found = deployments.filter((d) => key(d).toLowerCase().includes(sought));
    show(fleet, found.length > 0 && [h("h2", {}, "ScaledDeployments"), h("table", { class: "rows" },
      h("thead", {}, h("tr", {}, ["ScaledDeployment", "State", "Waiting", "Replicas", "Busy", "Idle", "Last scale", "Why there are as many replicas"]
        .map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, found.map(deploymentRow)))]);
  };
  const draw = () => {
    const sought = words.value.trim().toLowerCase();
    const jobs = [...all.values()].filter((j) => key(j).toLowerCase().includes(sought))
      .sort((a, b) => (key(a) < key(b) ? -1 : 1));
    const sum = (of) => jobs.reduce((n, j) => n + (of(j) ?? 0), 0);
    show(figures,
      figure("Waiting", count(sum((j) => j.waiting))),
      figure("Starting", count(sum((j) => j.starting))),
      figure("Running", count(sum((j) => j.running))),
      figure("Done, last hour", count(sum((j) => j.lastHour.succeeded))),
      figure("Failed, last hour", count(sum((j) => j.lastHour.failed)), sum((j) => j.lastHour.failed) > 0 ? "bad" : ""));
    if (jobs.length === 0) {
      show(list, h("p", { class: "nothing" }, all.size > 0 ? "No name has this in it."
        : "There is no ScaledJob that you may see. Apply one, such as config/samples/transcode.yaml, or ask for the role view in its namespace."));
      return;
    }
    show(list, h("table", { class: "rows" },
      h("thead", {}, h("tr", {}, ["ScaledJob", "State", "Waiting", "Slots busy", "Done / min", "Failed, last hour", "Last dispatch", "Why it does or does not dispatch"]
        .map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, jobs.map(row))));
  };
  const loadDeployments = async () => {
    try {
      deployments = (await get("scaleddeployments")).items;
      drawDeployments();
    } catch (error) {
      if (error.status !== 403) show(problem, failed(error));
    }
  };
  const load = async () => {
    try {
      const found = await get("scaledjobs", { deleted: deleted.checked });
      all.clear();
      for (const job of found.items) all.set(key(job), job);
      show(problem);
      draw();
    } catch (error) {
      show(problem, failed(error));
    }
  };
  const remember = () => history.replaceState(null, "", url("", { q: words.value.trim(), deleted: deleted.checked }));
  words.addEventListener("input", () => {
    remember();
    draw();
    drawDeployments();
  });
  deleted.addEventListener("change", () => {
    remember();
    load();
  });

  document.title = "ScaledJobs · Longhaul";
  show(main, h("h1", {}, "ScaledJobs"), figures,
    h("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
      h("label", { for: "words" }, "Find"), words, h("label", { class: "check" }, deleted, " deleted ones, of which the history is left")),
    problem, list, fleet);
  await Promise.all([load(), loadDeployments()]);
  poll(loadDeployments, 3000);
  const soon = seldom(500, async () => draw());
  follow({}, {
    began: seldom(1000, load),
    scaledjob: ({ scaledJob }) => {
      all.set(key(scaledJob), scaledJob);
      soon();
    },
    gone: seldom(1000, load),
  });
}
