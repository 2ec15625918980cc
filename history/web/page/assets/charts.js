// Charts over time and of durations, by uPlot, in the page's own colours.

import uPlot from "./vendor/uplot/uPlot.js";
import { count, duration } from "./format.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

// colour is one of the style sheet's.
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function axis(more) {
  return { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, font: "12px system-ui, sans-serif", ...more };
}

// chart draws with options made anew for each size and colour scheme, in an element that says in words what there is to see.
function chart(element, options) {
  let plot;
  let drawn;
  const build = () => {
    plot?.destroy();
    plot = undefined;
    if (drawn && element.clientWidth > 0) {
      plot = new uPlot({ width: element.clientWidth, height: 200, cursor: { y: false, drag: { x: false, y: false } }, ...options(drawn) }, drawn.data, element);
    }
  };
  new ResizeObserver(() => plot ? plot.setSize({ width: element.clientWidth, height: 200 }) : build()).observe(element);
  dark.addEventListener("change", build);
  element.setAttribute("role", "img");
  return (next, words) => {
    const alike = plot && JSON.stringify(drawn.labels) === JSON.stringify(next.labels);
    drawn = next;
    element.setAttribute("aria-label", words);
    if (alike) plot.setData(next.data);
    else build();
  };
}

// activityChart draws how much waited and ran over time. What waits can be far more than what runs: it has an axis of its own.
export function activityChart(element) {
  const draw = chart(element, () => ({
    series: [
      {},
      { label: "waiting", scale: "waiting", stroke: colour("wait-line"), width: 2, dash: [5, 3], points: { show: false }, value: (_, v) => count(v) },
      { label: "starting", scale: "y", stroke: colour("start"), width: 2, points: { show: false }, value: (_, v) => count(v) },
      { label: "running", scale: "y", stroke: colour("run"), width: 2, fill: colour("run-soft"), points: { show: false }, value: (_, v) => count(v) },
    ],
    scales: {
      y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] },
      waiting: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] },
    },
    axes: [
      axis({ space: 70, incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000], values: (_, at) => at.map((t) => label(t, at)) }),
      axis({ scale: "y", incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000], size: 45, values: (_, at) => at.map(count) }),
      axis({ scale: "waiting", side: 1, grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7], size: 55, values: (_, at) => at.map(count), stroke: colour("wait-line") }),
    ],
  }));
  return (points) => {
    const last = points.at(-1);
    const most = (of) => points.reduce((n, p) => Math.max(n, p[of]), 0);
    draw({ data: [points.map((p) => Date.parse(p.time) / 1000), points.map((p) => p.waiting), points.map((p) => p.starting), points.map((p) => p.running)] },
      `Now ${count(last.waiting)} waiting, ${count(last.starting)} starting, ${count(last.running)} running; ` +
      `at most ${count(most("waiting"))} waiting and ${count(most("running"))} running in this time.`);
  };
}

const hours = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const seconds = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const days = new Intl.DateTimeFormat("en-GB", { month: "short", day: "2-digit" });

// label writes a moment on an axis as finely as those beside it are apart.
export function label(t, all) {
  const step = all.length > 1 ? all[1] - all[0] : 60;
  const at = new Date(t * 1000);
  if (step >= 86400 || (step >= 3600 && at.getHours() === 0 && at.getMinutes() === 0)) return days.format(at);
  return (step < 60 ? seconds : hours).format(at);
}

const bins = 24;

// binned puts a histogram's many narrow buckets into few wide ones, each wider than the one before by the same factor.
function binned(buckets) {
  if (buckets.length === 0) return [];
  const least = Math.max(0.001, buckets[0].to);
  const most = Math.max(least * 1.5, buckets.at(-1).to);
  const wide = Math.log(most / least) / bins;
  const all = Array.from({ length: bins }, (_, i) => ({ from: i === 0 ? 0 : least * Math.exp(wide * i), to: least * Math.exp(wide * (i + 1)), count: 0 }));
  for (const b of buckets) {
    const at = Math.floor(Math.log(Math.max(b.to, least) / least) / wide - 1e-9);
    all[Math.min(bins - 1, Math.max(0, at))].count += b.count;
  }
  return all;
}

// histogramChart draws how durations are spread.
export function histogramChart(element) {
  const draw = chart(element, ({ labels }) => ({
    legend: { show: false },
    series: [{}, { stroke: colour("run"), fill: colour("run-soft"), paths: uPlot.paths.bars({ size: [0.9], align: 1 }), points: { show: false } }],
    scales: { x: { time: false, range: [0, bins] }, y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] } },
    axes: [
      axis({ incrs: [4, 6, 8, 12], space: 60, values: (_, at) => at.map((i) => labels[i] ?? "") }),
      axis({ incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 1e4, 1e5, 1e6], size: 50, values: (_, at) => at.map(count) }),
    ],
  }));
  return (durations) => {
    const all = binned(durations.histogram ?? []);
    const labels = [...all.map((b) => duration(b.from)), all.length > 0 ? duration(all.at(-1).to) : ""];
    draw({ labels, data: [[...all.keys()], all.map((b) => b.count)] }, durations.count === 0 ? "Nothing in this time."
      : `${count(durations.count)} durations; half took at most ${duration(durations.p50)}, 95 % at most ${duration(durations.p95)}, 99 % at most ${duration(durations.p99)}.`);
  };
}
