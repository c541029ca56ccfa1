"use strict";
// The marking room. Everything that is shown of a class comes from the server with the token; every key saves at once.

const $ = (id) => document.getElementById(id);
const RETRY = 2000, POLL = 3000;

let token = sessionStorage.getItem("token") || "";
let questions = [], current = null, place = 0, state = null;
let pending = null;   // "b" or "e": the next digit belongs to it
let last = null;      // marks of the answer that was marked last, for `r`
const unsaved = new Map();   // question and place -> what the server has not confirmed yet
const answers = new Map();   // question and place -> promise of the answer's HTML

async function ask(path, body) {
  const headers = { Authorization: `Bearer ${token}` };
  const options = body ? { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body) } : { headers };
  const reply = await fetch(path, options);
  const content = await reply.json();
  if (!reply.ok) throw Object.assign(new Error(content.error || reply.statusText), { refused: reply.status < 500 });
  return content;
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made && name !== "list") made[name] = value; else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const points = (value) => String(Math.round(value * 100) / 100);
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

// ---------------------------------------------------------------------------------------------------------------- marks
const answer = () => state.answers[place];
const key = (number = place) => `${current.id}/${number}`;
const mine = () => unsaved.get(key())?.mark ?? answer().mark;

function blank() {
  const old = mine();
  return { criteria: [...(old?.criteria ?? [])], half: [...(old?.half ?? [])], adjust: old?.adjust ?? 0, reason: old?.reason ?? "",
    comment: old?.comment ?? "" };
}

function sum(mark) {
  if (!mark) return null;
  if (mark.points != null) return mark.points;
  if (!mark.criteria) return null;
  let total = mark.adjust || 0;
  for (const one of state.criteria) {
    if (mark.criteria.includes(one.name)) total += one.points;
    if (mark.half.includes(one.name)) total += one.points / 2;
  }
  return Math.min(Math.max(Math.floor(total * 2) / 2, 0), current.points);
}

function seen() {
  return Object.fromEntries(answer().others.map((one) => [one.by, one.when]));
}

let changes = 0;   // a look at the server that began before a change is out of date
function keep(mark) {
  changes += 1;
  const item = { check: current.id, number: place, mark, saw: seen() };
  if (mark && mark.criteria) last = { criteria: mark.criteria, half: mark.half, comment: mark.comment };
  unsaved.set(key(), item);
  show();
  send();
}

let sending = false;
async function send() {
  if (sending) return;
  sending = true;
  try {
    while (unsaved.size) {
      const [name, item] = unsaved.entries().next().value;
      try {
        const found = await ask("/api/mark", item);
        if (unsaved.get(name) === item) unsaved.delete(name);
        take(item.check, found);
        alarm("");
      } catch (error) {
        if (error.refused) unsaved.delete(name);
        alarm(error.refused ? `Not kept: ${error.message}` :
          `Not saved yet: ${plural(unsaved.size, "answer")}. ${error.message}. They stay here and are sent again; leave this page open.`);
        if (!error.refused) await new Promise((done) => setTimeout(done, RETRY));
      }
      show();
    }
  } finally { sending = false; }
}

function take(check, found) {
  if (current && check === current.id) state = found;
  const question = questions.find((one) => one.id === check);
  question.done = found.answers.filter((one) => one.points !== null).length;
  question.count = found.answers.length;
}

function toggle(number) {
  const one = state.criteria[number];
  if (!one) return;
  const mark = blank(), met = mark.criteria.includes(one.name), half = mark.half.includes(one.name);
  mark.criteria = mark.criteria.filter((name) => name !== one.name);
  mark.half = mark.half.filter((name) => name !== one.name);
  if (met) mark.half.push(one.name); else if (!half) mark.criteria.push(one.name);
  keep(mark);
}

function give(share) {
  // what was added while marking is no part of full marks: that is what the rubric asks for
  const asked = state.criteria.filter((one) => one.points > 0 && one.of_rubric).map((one) => one.name);
  keep({ ...blank(), criteria: share === 1 ? asked : [], half: share === 0.5 ? asked : [] });
}

function comments() {
  const found = new Map();
  for (const one of state.answers) {
    for (const line of (one.mark?.comment ?? "").split("\n").filter((text) => text.trim())) found.set(line, (found.get(line) ?? 0) + 1);
  }
  return [...found.entries()].sort((one, two) => two[1] - one[1] || one[0].localeCompare(two[0])).slice(0, 9);
}

let bank = [];   // it keeps its order while an answer is on the screen, so that a digit means what is seen
function toggleComment(number) {
  const text = bank[number]?.[0];
  if (text === undefined) return;
  const mark = comment(blank()), lines = mark.comment.split("\n").filter((line) => line.trim());
  mark.comment = (lines.includes(text) ? lines.filter((line) => line !== text) : [...lines, text]).join("\n");
  keep(mark);
}

// a comment alone is no mark: what has no criteria stays open
function comment(mark) {
  const old = mine();
  if (old?.points != null) return { points: old.points, comment: old.comment };
  if (!old || !old.criteria) return { ...mark, criteria: null, half: [] };
  return mark;
}

// ----------------------------------------------------------------------------------------------------------------- page
function alarm(text) {
  $("alert").textContent = text;
  $("alert").hidden = !text;
}

function show() {
  if (!state) return;
  $("questions").replaceChildren(...questions.map((one) => element("button", {
    type: "button", title: one.title, ariaPressed: String(one === current), onclick: () => open(one),
  }, element("b", {}, one.id), ` ${one.done}/${one.count}`)));
  $("saved").textContent = unsaved.size ? "saving" : "saved";
  if (!state.answers.length) return;
  const mark = mine(), total = sum(mark), one = answer();
  const open_ = unsaved.has(key()) ? total === null : one.points === null;
  const counted = !unsaved.has(key()) && one.points !== null ? one.points : total;
  $("points").textContent = counted === null ? "-" : points(counted);
  $("top").textContent = `of ${points(current.points)}`;
  $("standing").textContent = open_ ? { dispute: "two opinions", criterion: "a criterion in dispute", changed: "answer changed since" }[one.why] ?? "open" : "marked";
  $("standing").className = `badge ${open_ ? (one.why ? "could_not_grade" : "needs_manual") : "earned"}`;
  $("criteria").replaceChildren(...state.criteria.map((criterion, number) => criterionRow(criterion, number, mark)));
  $("adjusted").hidden = !mark?.adjust;
  $("adjusted").textContent = mark?.adjust ? `${mark.adjust > 0 ? "+" : ""}${points(mark.adjust)}: ${mark.reason}` : "";
  if (document.activeElement !== $("comment")) $("comment").value = mark?.comment ?? "";
  $("bank").replaceChildren(...bankRows(mark));
  $("others").replaceChildren(...one.others.filter((other) => other.holds).map((other) => otherRow(other, one.why === "dispute")));
  $("place").textContent = `answer ${place + 1} of ${state.answers.length}, group ${one.group} of ${Math.max(...state.answers.map((a) => a.group))}` +
    ` (${plural(state.answers.filter((a) => a.group === one.group).length, "like answer")})`;
}

function criterionRow(one, number, mark) {
  const met = mark?.criteria?.includes(one.name) ?? false, half = mark?.half?.includes(one.name) ?? false;
  const box = element("input", { type: "checkbox", checked: met, onclick: () => toggle(number), id: `criterion-${number}` });
  box.indeterminate = half;
  const worth = half ? `${points(one.points / 2)} of ${points(one.points)}` : points(one.points);
  const row = element("li", { className: met ? "met" : half ? "half" : "" },
    element("kbd", {}, number < 9 ? String(number + 1) : number === 9 ? "0" : ""), box,
    element("label", { htmlFor: box.id }, one.text), element("b", {}, worth));
  if (one.said.length > 1) {
    row.append(element("small", { className: "alert" }, one.said.map((said) => `${said.by}: ${points(said.points)}`).join(", ") + " (decide: e)"));
  }
  return row;
}

function bankRows(mark) {
  const lines = (mark?.comment ?? "").split("\n");
  return bank.map(([text, count], number) => element("button", {
    type: "button", className: lines.includes(text) ? "used" : "", onclick: () => toggleComment(number),
  }, element("kbd", {}, "b"), element("kbd", {}, String(number + 1)), ` ${text} `, element("small", {}, String(count))));
}

function otherRow(one, dispute) {
  const names = [...(one.criteria ?? []).map((name) => label(name)), ...(one.half ?? []).map((name) => `half of ${label(name)}`)];
  const words = [one.sum === null ? "no points" : `${points(one.sum)} points`, names.join(", "), one.adjust ? `${one.adjust} (${one.reason})` : "", one.comment];
  return element("p", { className: "other" }, element("b", {}, one.by), `: ${words.filter(Boolean).join("; ")} `,
    ...(dispute ? [element("small", {}, element("kbd", {}, "t"), " take over ", element("kbd", {}, "m"), " keep mine")] : []));
}

const label = (name) => state.criteria.find((one) => one.name === name)?.text ?? name;

function load(number) {
  const name = key(number);
  if (!answers.has(name)) {
    const asked = ask(`/api/answer/${encodeURIComponent(current.id)}/${number}`);
    asked.catch(() => answers.delete(name));
    answers.set(name, asked);
  }
  return answers.get(name);
}

async function go(number) {
  if (!state.answers.length) { $("place").textContent = "nobody has to be marked here"; return; }
  place = Math.min(Math.max(number, 0), state.answers.length - 1);
  bank = comments();
  show();
  const name = key();
  $("texts").replaceChildren();   // nobody marks an answer by the text of another; most are there already, and no blank is seen
  $("note").textContent = "";
  try {
    const found = await load(place);
    if (name !== key()) return;
    // the server has cleaned this HTML: a few tags without attributes, and pictures that it made itself
    $("texts").replaceChildren(...found.texts.map((html) => element("div", { className: "written", innerHTML: html })));
    $("note").textContent = found.note;
    document.querySelector(".paper").scrollTop = 0;
    scrollTo(0, 0);
    if (place + 1 < state.answers.length) load(place + 1).catch(() => {});
  } catch (error) { alarm(error.message); }
}

function nextOpen() {
  const count = state.answers.length;
  for (let step = 1; step <= count; step++) {
    const number = (place + step) % count;
    if (state.answers[number].points === null && !unsaved.has(key(number))) return go(number);
  }
  const other = questions.find((one) => one !== current && one.done < one.count);
  return other ? open(other) : alarm("Everything is marked.");
}

let opening = false;   // a key that is pressed now would belong to an answer that is leaving the screen
async function open(question) {
  if (!question || opening) return;
  opening = true;
  $("texts").replaceChildren();
  $("note").textContent = "";
  try {
    const found = await ask(`/api/state/${encodeURIComponent(question.id)}`);
    current = question; state = found;
    take(question.id, found);
    $("title").textContent = question.title;
    $("scheme-text").innerHTML = question.scheme;   // rendered by the server, like an answer
    $("scheme").hidden = !question.scheme;
    const first = state.answers.findIndex((one) => one.points === null);
    await go(first < 0 ? 0 : first);
  } catch (error) { alarm(error.message); } finally { opening = false; }
}

// -------------------------------------------------------------------------------------------------------------- dialogs
function dialogue(id, values, done) {
  const box = $(id), form = box.querySelector("form");
  for (const [name, value] of Object.entries(values)) form.elements[name].value = value;
  box.returnValue = "";
  box.onclose = () => {
    if (box.returnValue === "keep") done(Object.fromEntries(Object.keys(values).map((name) => [name, form.elements[name].value])));
  };
  box.showModal();
  form.elements[Object.keys(values)[0]].select();
}

function adjust() {
  const mark = blank();
  dialogue("adjust", { points: mark.adjust || "", reason: mark.reason }, (found) => {
    const change = Number(found.points);
    if (change && !found.reason.trim()) return alarm("Not kept: an adjustment needs its reason.");
    keep({ ...mark, adjust: change, reason: change ? found.reason.trim() : "" });
  });
}

function edit(number) {
  const one = number === null ? null : state.criteria[number];
  if (one === undefined) return;
  const uses = one ? state.answers.filter((a) => a.mark?.criteria?.includes(one.name) || a.mark?.half?.includes(one.name)).length : 0;
  $("uses").textContent = one ? `${plural(uses, "answer")} so far; all follow.` : "It counts where you tick it.";
  dialogue("criterion", { text: one?.text ?? "", points: one?.points ?? "" }, async (found) => {
    const saw = one ? Object.fromEntries(one.said.map((said) => [said.by, said.when])) : {};
    try {
      take(current.id, await ask("/api/criterion", { check: current.id, name: one?.name ?? "", text: found.text.trim(), points: Number(found.points), saw }));
      alarm("");
      show();
    } catch (error) { alarm(`Not kept: ${error.message}`); }
  });
}

// ----------------------------------------------------------------------------------------------------------------- keys
const KEYS = {
  n: () => go(place + 1), ArrowRight: () => go(place + 1), p: () => go(place - 1), ArrowLeft: () => go(place - 1),
  u: nextOpen, Enter: nextOpen, f: () => give(1), h: () => give(0.5), z: () => give(0),
  r: () => last && keep({ ...blank(), ...last }),
  c: () => { $("comment").focus(); }, a: adjust, k: () => edit(null),
  t: () => { const other = answer().others.find((one) => one.holds); if (other) keep(copy(other)); },
  m: () => { const mark = mine(); if (mark && sum(mark) !== null) keep(copy(mark)); },
  x: () => keep(null), s: () => { $("scheme").open = !$("scheme").open; },
  q: () => open(questions[questions.indexOf(current) + 1]), Q: () => open(questions[questions.indexOf(current) - 1]),
  "?": () => $("help").showModal(), b: () => { pending = "b"; }, e: () => { pending = "e"; },
};

function copy(mark) {
  const kept = { adjust: mark.adjust, reason: mark.reason, comment: mark.comment };
  return mark.points != null ? { points: mark.points, comment: mark.comment } : { ...kept, criteria: mark.criteria, half: mark.half };
}

addEventListener("keydown", (event) => {
  if (!state || opening || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target === $("comment")) {
    if (event.key === "Escape") { $("comment").blur(); event.preventDefault(); }
    return;
  }
  const onButton = event.target.matches?.("button, summary, input") && (event.key === "Enter" || event.key === " ");
  const before = pending, digit = /^[0-9]$/.test(event.key) ? (Number(event.key) + 9) % 10 : -1;
  pending = null;
  if (onButton) return;
  if (digit >= 0) (before === "b" ? toggleComment : before === "e" ? edit : toggle)(digit);
  else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  document.body.dataset.pending = pending ?? "";
  event.preventDefault();
});

$("comment").addEventListener("input", () => keep({ ...comment(blank()), comment: $("comment").value }));
$("comment").addEventListener("blur", () => { bank = comments(); show(); });
$("open-help").addEventListener("click", () => $("help").showModal());
document.querySelectorAll("[data-key]").forEach((button) => button.addEventListener("click", () => { if (state) KEYS[button.dataset.key](); }));
addEventListener("beforeunload", (event) => { if (unsaved.size) event.preventDefault(); });

setInterval(async () => {
  if (document.hidden || !current || unsaved.size) return;
  const check = current.id, before = changes;
  try {
    const found = await ask(`/api/state/${encodeURIComponent(check)}`);
    if (changes === before && current.id === check) { take(check, found); show(); }
  } catch { /* the next key or the next look says what is wrong */ }
}, POLL);

(async () => {
  if (location.hash.length > 1) {
    token = location.hash.slice(1);
    sessionStorage.setItem("token", token);
    history.replaceState(null, "", "/");
  }
  try {
    const found = await ask("/api/class");
    questions = found.questions;
    document.title = `Marking room, ${found.person}`;
    await open(questions.find((one) => one.done < one.count) ?? questions[0]);
  } catch (error) { alarm(error.message); }
})();
