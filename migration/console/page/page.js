"use strict";

const $ = (id) => document.getElementById(id);
const PHASES = [["not_prepared", "not prepared"], ["preparing", "preparing"], ["copying", "copying"], ["replicating", "replicating"], ["completed", "completed"]];
const BESIDE = ["pause", "resume", "throttle", "lift throttle"]; // what may be done while another action runs
const HOUR = 3600; // seconds that are drawn
const SILENT = 30; // seconds without a word from the console: it or the way to it is gone
const DRAWN = 300; // points of a line: one per two pixels
let names = [], points = [], allowed = [], ticket = null, database = "", drawnAt = 0, heardAt = 0, events = null, jobBegan = null;

function column(name) { return names.indexOf(name); }

function thinned(...wanted) {
  const at = column("at"), picks = wanted.map(column);
  const step = Math.max(1, Math.ceil(points.length / DRAWN));
  const found = [];
  for (let end = points.length; end > 0; end -= step) {
    const part = points.slice(Math.max(0, end - step), end);
    found.push([part[part.length - 1][at], ...picks.map((pick) => {
      const some = part.map((point) => point[pick]).filter((value) => value !== null);
      return some.length ? Math.max(...some) : null; // a peak is never lost
    })]);
  }
  return found.reverse();
}

function charts() {
  chart($("chart-lag"), thinned("lag"), ["changes behind"]);
  chart($("chart-rate"), thinned("written", "applied"), ["written", "applied"], { unit: "/s", digits: 1 });
  chart($("chart-rows"), thinned("rows"), ["rows"], { unit: "/s" });
  chart($("chart-pause"), thinned("pause_ms"), ["last pause"], { unit: " ms", dots: true });
}

function side(found) {
  if (!found.reachable) return ["away", "bad"];
  if (!found.prepared) return [found.retired_at_epoch === null ? "not prepared" : "retired, fenced", "quiet"];
  return found.writable ? ["takes writes", "good"] : ["fenced", "quiet"];
}

// What stands where there is nothing to show: nothing may be read as "none" while it is not known.
function nothing(status) {
  if (!status.sides.postgres.reachable) return "Not known while PostgreSQL does not answer.";
  if (status.state === "completed") return "The move has ended.";
  return ["not_prepared", "preparing"].includes(status.state) ? "Nothing is prepared yet." : "Not known in this state.";
}

function limits(found) {
  return [["copy", found.copy_rate], ["verify", found.verify_rate]].filter(([, rate]) => rate).map(([what, rate]) => `${what} ${number(rate)}/s`).join(", ");
}

function show(state) {
  const status = state.status;
  if (state.light.problem) say($("headline"), state.light.problem);
  if (!status) return;
  database = state.database;
  const word = status.state.replaceAll("_", " ");
  if (!state.light.problem) say($("headline"), `${word}${status.primary ? `, ${status.primary} is primary` : ""}`);
  $("headline").className = status.sides.postgres.reachable && !state.light.problem ? "" : "bad";
  const known = status.state in Object.fromEntries(PHASES) ? status.state : status.phase;
  const here = PHASES.findIndex(([phase]) => phase === known);
  $("phases").replaceChildren(...PHASES.map(([, text], n) =>
    make("li", { class: n === here ? "here" : n < here ? "past" : "", "aria-current": n === here ? "step" : null }, text)));
  const lag = state.light.lag ?? (status.lag && status.lag.entries);
  const verify = status.verify, away = !status.sides.postgres.reachable;
  tiles($("facts"), [
    ["primary", status.primary ?? "–"], ["epoch", status.epoch ?? "–"],
    ["SQLite", ...side(status.sides.sqlite)], ["PostgreSQL", ...side(status.sides.postgres)],
    ["behind", lag === null || lag === undefined ? "–" : `${number(lag)} ${lag === 1 ? "change" : "changes"}`, lag > 10000 ? "bad" : ""],
    ["apply", status.paused ? "paused" : status.apply ?? "–", status.paused ? "warn" : ""],
    ["throttle", status.throttle ? limits(status.throttle) : away ? "–" : "none", status.throttle ? "warn" : ""],
    ["verify", !verify ? away ? "–" : "none" : verify.finished_at === null ? "under way" : verify.clean ? `clean, ${number(verify.rows)} rows` : `${number(verify.mismatches)} differ`, verify && verify.finished_at !== null ? (verify.clean ? "good" : "bad") : ""],
    ["quarantine", status.quarantine ? `${number(status.quarantine.rows)} rows, ${number(status.quarantine.unaccepted)} open` : "–", status.quarantine && status.quarantine.unaccepted ? "bad" : ""],
  ]);
  const moving = status.moving;
  $("moving").hidden = !moving;
  if (moving) {
    $("moving-bar").value = moving.fraction ?? 0;
    $("moving-text").textContent = `${moving.stage}: ${number(moving.done)} of ${number(moving.expected)} rows` +
      (moving.rate ? `, ${number(moving.rate)} rows/s` : "") + (moving.eta_seconds !== null ? `, ${span(moving.eta_seconds)} left` : "");
  }
  renew($("blocks"), status.blocks, () => status.blocks.map((text) => make("li", {}, text)));
  $("next").textContent = state.light.problem ? "not known" : status.next ?? (status.state === "completed" ? "nothing is left to do" : "settle what blocks");
  say($("gates-at"), state.gates_at && state.gates.length ? `Asked at ${clock(state.gates_at)}.` : "");
  gates(state.gates, nothing(status));
  copy(status.copy, moving, nothing(status));
  health(state.health);
  history(state.history);
  const door = state.door;
  $("door").hidden = !door;
  if (door) tiles($("door-facts"), door.error ? [["door", door.error, "bad"]] : [
    ["queue", number(door.queue)], ["groups", number(door.groups)], ["deliveries", number(door.deliveries)],
    ["a group", door.groups ? number(door.deliveries / door.groups, 1) : "–"], ["refused", number(door.refused), door.refused ? "bad" : ""]]);
  const held = status.quarantine ? status.quarantine.rows : 0;
  $("details-count").textContent = verify ? `${number(verify.mismatches)} mismatches, ${number(held)} rows in quarantine` : "";
  jobs(state.jobs);
}

function gates(found, otherwise) {
  renew($("gates"), [found, otherwise], () => [!found || !found.length ? make("p", { class: "quiet" }, otherwise) :
    table([["gate"], [""], ["what was found"], ["what to do"]], found.map((gate) => ({
      cells: [gate.name, make("span", { class: gate.ok ? "good" : "bad" }, gate.ok ? "✓ open" : "✗ closed"), gate.detail, gate.ok ? "" : gate.remedy] })), "Gates")]);
}

function copy(found, moving, otherwise) {
  const rate = moving && moving.stage === "copy" ? moving.rate : null;
  const rows = found ? [...found.tables].sort((a, b) => a.done - b.done || b.expected - a.expected) : [];
  renew($("copy"), [found, rate, otherwise], () => [!found ? make("p", { class: "quiet" }, otherwise) : table([["table"], ["rows", "n"], ["expected", "n"], ["done", "n"], ["left", "n"]], rows.map((one) => ({
    cells: [one.table, number(one.rows), number(one.expected), one.done ? "✓" : one.expected ? `${Math.floor(100 * Math.min(1, one.rows / one.expected))} %` : "–",
      one.done ? "" : rate ? span(Math.max(0, one.expected - one.rows) / rate) : "–"] })), "Copy per table")]);
}

function health(found) {
  if (!found) return;
  renew($("health"), found, () => healthParts(found));
}

function healthParts(found) {
  const ours = found.sqlite, theirs = found.postgres;
  const list = make("dl", { class: "tiles" });
  tiles(list, [["SQLite file", bytes(ours.bytes)], ["its log", bytes(ours.wal_bytes)],
    ["PostgreSQL", theirs ? bytes(theirs.bytes) : "away", theirs ? "" : "bad"],
    ...(theirs ? [["version", theirs.version], ["connections", `${theirs.connections} of ${theirs.max_connections}`],
      ["wait for locks", number(theirs.waiting_for_locks), theirs.waiting_for_locks ? "warn" : ""]] : [])]);
  const slow = theirs && theirs.slow.length ? table([["seconds", "n"], ["who"], ["statement"]], theirs.slow.map((one) => ({
    cells: [number(one.seconds, 1), one.application, one.statement] })), "Slow statements") : make("p", { class: "quiet" }, theirs ? "No statement runs for more than a second." : "");
  return [list, slow];
}

function history(events) {
  renew($("history"), events, () => [!events || !events.length ? make("p", { class: "quiet" }, "Nothing has happened yet.") : table([["when"], ["what"], ["epoch", "n"], ["who"]], [...events].reverse().map((event) => ({
    cells: [new Date(event.at * 1000).toLocaleString("en-GB"), event.evidence.outcome ? `${event.event}: ${event.evidence.outcome}` : event.event, number(event.epoch), event.actor] })), "History")]);
}

// What takes its time, and what is set meanwhile.
function jobs(found) {
  const work = found.find((one) => !one.beside), setting = found.find((one) => one.beside);
  say($("setting-text"), setting ? ended(setting) : "");
  $("setting-text").className = kind(setting);
  for (const button of document.querySelectorAll("button[data-action]")) {
    const other = BESIDE.includes(button.dataset.action) ? setting : work;
    button.disabled = Boolean(other && !other.outcome);
  }
  job(work);
}

function ended(found) {
  const done = found.outcome, progress = found.progress;
  if (done) return `${found.action}: ${done.outcome}. ${done.message ?? ""}${done.hint ? ` (${done.hint})` : ""}`;
  return `${found.action} is running.` + (progress ? ` ${progress.name} ${progress.fraction === null ? "" : `${Math.floor(100 * progress.fraction)} %`}` : "");
}

function kind(found) { return !found || !found.outcome ? "" : found.outcome.exit_code === 0 ? "good" : "bad"; }

function job(found) {
  $("job").hidden = !found;
  if (!found) return;
  const done = found.outcome;
  say($("job-text"), ended(found));
  $("job-text").className = kind(found);
  say($("job-lines"), [...found.lines, ...((done && done.reasons) || [])].join("\n"));
  $("job-lines").hidden = !$("job-lines").textContent;
  if (done && jobBegan !== null && jobBegan === found.began && !$("details").hidden && $("details").childElementCount) loadDetails();
  jobBegan = done ? null : found.began;
}

async function ask(path, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  const answer = await fetch(path, options);
  let found;
  try { found = await answer.json(); } catch { found = { message: `the console answered ${answer.status}` }; }
  if (!answer.ok) throw new Error(found.message);
  return found;
}

function action(name, row) {
  const button = make("button", { type: "button", "data-action": name, "aria-haspopup": "dialog" }, name);
  button.addEventListener("click", () => plan(name, typeof row === "function" ? row() : row || {}));
  return button;
}

async function plan(name, row) {
  $("plan-title").textContent = row.table ? `${name} ${row.table} ${short(row.key)}` : name;
  $("plan-meaning").textContent = "Asking what it would do";
  for (const id of ["plan-command", "plan-error", "plan-name"]) $(id).textContent = "";
  $("plan-dry").replaceChildren();
  $("typed").value = "";
  $("plan-yes").disabled = true;
  ticket = null;
  $("plan").showModal();
  try {
    const found = await ask("/plan", { action: name, ...row });
    ticket = found.ticket;
    $("plan-meaning").textContent = found.meaning;
    $("plan-command").textContent = short(found.command);
    $("plan-name").textContent = database;
    const dry = found.dry_run;
    if (dry) {
      const lines = [dry.message, ...(dry.steps || []), ...(dry.blocks || [])];
      const closed = (dry.gates || []).filter((gate) => !gate.ok).map((gate) => `${gate.name}: ${gate.detail} (${gate.remedy})`);
      $("plan-dry").replaceChildren(make("ul", {}, ...lines.map((line) => make("li", {}, line)), ...closed.map((line) => make("li", { class: "bad" }, line))));
    }
    ready();
    $("typed").focus();
  } catch (error) { $("plan-error").textContent = error.message; }
}

function ready() { $("plan-yes").disabled = !ticket || $("typed").value !== database; }

async function go() {
  $("plan-yes").disabled = true;
  try {
    await ask("/do", { ticket, typed: $("typed").value });
    $("plan").close();
  } catch (error) { $("plan-error").textContent = error.message; }
}

function short(key) { return key.length > 200 ? `${key.slice(0, 200)}…` : key; }

function first(what, some, all) {
  return some < all ? [make("p", { class: "warn" }, `The first ${number(some)} of ${number(all)} ${what}`)] : [];
}

async function loadDetails() {
  try {
    const found = await ask("/details");
    const parts = [...first("mismatches", found.mismatches.length, found.mismatches_in_all)];
    parts.push(...found.mismatches.map((one) => make("article", {}, make("h3", {}, `${one.table} ${short(one.key)}: ${one.kind}`),
      table([["column"], ["SQLite"], ["PostgreSQL"]], one.values.map((value) => ({ kind: value.differs ? "differs" : "", cells: [value.column, value.sqlite ?? "no row", value.postgres ?? "no row"] })), `${one.table} ${short(one.key)}`))));
    parts.push(...first("rows in quarantine", found.quarantine.length, found.quarantine_in_all));
    for (const one of found.quarantine) {
      const buttons = ["retry", "accept"].filter((name) => allowed.includes(name)).map((name) => action(name, { table: one.table, key: one.key }));
      parts.push(make("article", {}, make("h3", {}, `${one.table} ${short(one.key)} in quarantine: ${one.reason}`), make("p", { class: "quiet" }, one.accepted_by ? `accepted by ${one.accepted_by}` : `held by ${one.side}`),
        table([["column"], ["value"]], one.values.map((value) => ({ kind: value.column === one.column ? "differs" : "", cells: [value.column, value.value] })), `${one.table} ${short(one.key)}`), ...buttons));
    }
    if (!parts.length) parts.push(make("p", { class: "good" }, "No row differs and none is in quarantine."));
    const here = $("details").contains(document.activeElement);
    $("details").replaceChildren(...parts);
    if (here) $("load-details").focus();
  } catch (error) { $("details").replaceChildren(make("p", { class: "bad" }, error.message)); }
}

function linked(good) {
  say($("link"), good ? "live" : "no connection");
  $("link").className = `pill ${good ? "good" : "bad"}`;
}

// What came while this page or its computer slept is asked for again.
function listen() {
  if (events) events.close();
  events = new EventSource("/events");
  heardAt = performance.now(); // a clock that nobody sets
  events.onopen = async () => {
    linked(true);
    try { points = (await ask("/points")).points; } catch { linked(false); }
  };
  events.onerror = () => linked(false);
  events.onmessage = (event) => {
    const state = JSON.parse(event.data);
    heardAt = performance.now();
    linked(true);
    const at = column("at");
    while (points.length && points[points.length - 1][at] > state.point[at]) points.pop(); // the console's clock was set back
    points.push(state.point);
    while (points[0][at] < state.point[at] - HOUR) points.shift();
    show(state);
    if (!document.hidden && performance.now() - drawnAt > 900) { drawnAt = performance.now(); charts(); }
  };
}

function watch() {
  if (performance.now() - heardAt < 1000 * SILENT) return;
  linked(false);
  listen();
}

async function begin() {
  const found = await ask("/points");
  names = found.names; points = found.points; allowed = found.actions;
  const buttons = allowed.filter((name) => !["retry", "accept", "throttle", "lift throttle"].includes(name));
  $("actions").hidden = !buttons.length;
  $("buttons").replaceChildren(...buttons.map((name) => action(name)));
  if (allowed.includes("throttle")) $("rates").append(action("throttle", () => ({ copy_rate: $("copy-rate").value.trim(), verify_rate: $("verify-rate").value.trim() })), action("lift throttle"));
  $("load-details").addEventListener("click", loadDetails);
  $("plan-no").addEventListener("click", () => $("plan").close());
  $("plan-yes").addEventListener("click", go);
  $("typed").addEventListener("input", ready);
  $("typed").addEventListener("keydown", (event) => { if (event.key === "Enter" && !$("plan-yes").disabled) go(); });
  listen();
  setInterval(watch, 5000);
}

begin().catch((error) => { $("headline").textContent = error.message; linked(false); });
