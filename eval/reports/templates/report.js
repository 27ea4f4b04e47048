"use strict";
// Draws the questions of a report from the JSON beside it. Texts come from documents, models and users: they are only ever set as text.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const AT_ONCE = 50;
  const LISTED_FLIPS = 10;
  const STATUS = { answered: "answered", abstained: "abstained", error: "error", not_asked: "not asked" };

  // One question: its place in the file, then what `embedded.py` writes.
  const rows = data.rows.map(([id, question, answers, answerable, tags, gold, sides], place) => ({
    place, id, question, answers, answerable, gold,
    tags: tags.map((tag) => data.tags[tag]),
    sides: sides.map(([status, why, answer, label, evidence, right, passages, scores, numbers]) => ({
      status, why, answer, label: data.labels[label], evidence, right, passages, scores, numbers,
    })),
  }));

  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) if (value !== false && value != null) made.setAttribute(name, value);
    made.append(...children.flat().filter((child) => child != null && child !== false && child !== ""));
    return made;
  }

  const words = (label) => label.replaceAll("_", " ");
  const number = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) >= 10 ? 1 : 4).replace(/0+$/, "").replace(/\.$/, ""));
  const counted = (n, one) => `${n.toLocaleString("en-GB")} ${one}${n === 1 ? "" : "s"}`;

  // 2: right under one and wrong under the other, worse now; 1: the same, better now; 0 neither.
  const turn = ({ sides: [a, b] }) => (!b || a.right < 0 || b.right < 0 || a.right === b.right ? 0 : a.right > b.right ? 2 : 1);

  // Words that two answers do not share, by a longest common subsequence. Long answers, and those that share little, are shown as they are.
  function difference(a, b) {
    const cut = (text) => text.match(/\s*(?:[\p{L}\p{N}]+|[^\s\p{L}\p{N}])|\s+/gu) || [];
    const [one, other] = [cut(a), cut(b)];
    if (one.length * other.length > 400000) return null;
    const width = other.length + 1;
    const longest = new Uint16Array((one.length + 1) * width);
    for (let i = one.length - 1; i >= 0; i--)
      for (let j = other.length - 1; j >= 0; j--)
        longest[i * width + j] = one[i] === other[j] ? longest[(i + 1) * width + j + 1] + 1 : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    if (longest[0] < 0.3 * Math.min(one.length, other.length)) return null;
    const pieces = [[], []];
    const add = (side, shared, text) => {
      const last = pieces[side].at(-1);
      if (last && last[0] === shared) last[1] += text;
      else pieces[side].push([shared, text]);
    };
    let [i, j] = [0, 0];
    while (i < one.length || j < other.length) {
      if (i < one.length && j < other.length && one[i] === other[j]) { add(0, true, one[i++]); add(1, true, other[j++]); }
      else if (j >= other.length || (i < one.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1])) add(0, false, one[i++]);
      else add(1, false, other[j++]);
    }
    return pieces;
  }

  function answer(side, pieces) {
    if (side.answer == null) {
      const said = side.status === "abstained" ? "No answer: the service abstained." : side.status === "error" ? "No answer: it failed." : "No answer was asked for.";
      return element("p", { class: "answer no" }, said);
    }
    const parts = pieces ? pieces.map(([shared, text]) => (shared ? text : element("span", { class: "own" }, text))) : [side.answer];
    return element("p", { class: "answer text" }, parts);
  }

  function marked(text, places, quotes) {
    const ends = [...new Set([0, text.length, ...places.flat(), ...quotes.flat()].filter((end) => end <= text.length))].sort((a, b) => a - b);
    const inside = (spans, at) => spans.some(([start, end]) => start <= at && at < end);
    return ends.slice(0, -1).map((start, which) => {
      const piece = text.slice(start, ends[which + 1]);
      const quoted = inside(quotes, start) ? element("mark", { class: "quote" }, piece) : piece;
      return inside(places, start) ? element("mark", {}, quoted) : quoted;
    });
  }

  function passage([chunk, rank, poolRank, score, mark, shown = 0, places = [], quotes = []]) {
    const [document_, start, end, text] = data.chunks[chunk];
    const badges = element("span", { class: "badges" },
      mark === 2 && element("span", { class: "badge better" }, "relevant"),
      mark === 1 && element("span", { class: "badge" }, "its document"),
      shown === 2 && element("span", { class: "badge" }, "cited"),
      !shown && element("span", { class: "away" }, rank ? "not in the prompt" : `rank ${poolRank} of the pool`));
    const before = shown && poolRank && poolRank !== rank ? ` · ${poolRank} of the pool` : "";
    const parts = [
      element("span", { class: "rank" }, rank ? `${rank}` : "–"),
      element("span", { class: "where" }, data.documents[document_], element("span", { class: "away" }, ` ${start}–${end} · ${number(score)}${before}`)),
      badges,
    ];
    if (!shown || text == null) return element("li", {}, element("div", { class: "place" }, parts));
    const details = element("details", {}, element("summary", {}, parts));
    details.addEventListener("toggle", () => details.childElementCount === 1 && details.append(element("pre", { class: "text" }, marked(text, places, quotes))));
    return element("li", {}, details);
  }

  function scores(side) {
    const cells = data.metrics.flatMap((metric, which) => {
      const value = side.scores[which];
      if (value === null) return [];
      return [element("div", {}, element("dt", {}, metric), element("dd", {}, typeof value === "string" ? data.whys[Number(value)] : number(value)))];
    });
    const [confidence, prompt, completion, took] = side.numbers;
    const facts = [["confidence", confidence, ""], ["prompt", prompt, " tokens"], ["answer", completion, " tokens"], ["took", took, " ms"]];
    const more = facts.filter(([, value]) => value != null).map(([name, value, unit]) => element("div", {}, element("dt", {}, name), element("dd", {}, number(value) + unit)));
    return element("details", {}, element("summary", { class: "small" }, "Numbers"), element("dl", { class: "numbers" }, more, cells));
  }

  const tone = (side) => (side.right > 0 ? "better" : side.right === 0 ? "worse" : "");

  function sideOf(row, which, pieces) {
    const side = row.sides[which];
    return element("article", { class: `side ${which ? "b" : "a"}` },
      element("div", { class: "side-head" },
        element("h3", { class: "text" }, data.sides[which]),
        element("span", { class: `badge ${tone(side)}` }, words(side.label)),
        element("span", { class: "small quiet" }, STATUS[side.status] + (side.why ? `: ${side.why}` : ""))),
      answer(side, pieces && pieces[which]),
      element("p", { class: "small quiet text" }, side.evidence),
      side.passages.length ? element("ol", { class: "passages", "aria-label": "Passages, best first" }, side.passages.map(passage)) : null,
      scores(side));
  }

  function gold(row) {
    const said = row.answerable === 0 ? ["Right is to abstain: no document answers it."]
      : row.answers.length ? ["Right: ", row.answers.map((text, which) => [which ? " or " : "", element("q", { class: "text" }, text)]).flat()].flat()
      : ["No right answer is known."];
    const places = row.gold.map(([document_, start, end]) => data.documents[document_] + (end === undefined ? "" : ` ${start}–${end}`));
    return element("p", { class: "gold" }, said, places.length ? element("span", { class: "quiet text" }, ` · in ${places.join("; ")}`) : null);
  }

  function more(row) {
    const [a, b] = row.sides;
    const pieces = b && a.answer != null && b.answer != null && a.answer !== b.answer ? difference(a.answer, b.answer) : null;
    return element("div", { class: "more" },
      gold(row),
      element("p", { class: "small quiet" }, element("span", { class: "id" }, row.id), row.tags.length ? ` · ${row.tags.join(", ")}` : ""),
      element("div", { class: b ? "sides" : "sides alone" }, row.sides.map((_, which) => sideOf(row, which, pieces))));
  }

  let unique = 0;
  function item(row) {
    const id = `q${(unique += 1)}`;
    const said = (side, which) => element("span", { class: `said ${which ? "" : "first "}${side.right > 0 ? "right" : side.right === 0 ? "wrong" : ""}` },
      element("span", { class: "unseen" }, `${data.sides[which]}: `), side.right > 0 ? "✓" : side.right === 0 ? "✕" : "·", element("b", {}, words(side.label)));
    const turned = turn(row);
    const button = element("button", { class: row.sides.length > 1 ? "row" : "row alone", type: "button", "aria-expanded": "false", "aria-controls": id },
      element("span", { class: "turn", "aria-hidden": "true" }),
      element("span", { class: "asked" }, row.question),
      row.sides.map(said),
      element("span", { class: `turned small n ${turned === 2 ? "worse" : turned === 1 ? "better" : ""}` }, turned === 2 ? "▼ worse" : turned === 1 ? "▲ better" : ""));
    const made = element("li", {}, button);
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!open));
      if (!open && !made.querySelector(".more")) { const below = more(row); below.id = id; made.append(below); }
      else made.querySelector(".more").hidden = open;
    });
    return made;
  }

  // A list that draws so many rows at a time.
  function list(target, button) {
    let shown = [];
    let drawn = 0;
    function draw(upTo) {
      target.append(...shown.slice(drawn, upTo).map(item));
      drawn = Math.min(upTo, shown.length);
      button.hidden = drawn >= shown.length;
      button.textContent = `Show ${Math.min(AT_ONCE, shown.length - drawn)} more of ${shown.length.toLocaleString("en-GB")}`;
    }
    button.addEventListener("click", () => {
      const first = target.childElementCount;
      draw(drawn + AT_ONCE);
      target.children[first]?.querySelector("button").focus();
    });
    return (found, first = AT_ONCE) => { shown = found; drawn = 0; target.replaceChildren(); draw(first); };
  }

  const flips = document.getElementById("flip-rows");
  if (flips) {
    const show = list(flips, document.getElementById("more-flips"));
    const turned = rows.filter(turn).sort((a, b) => turn(b) - turn(a) || a.place - b.place);
    const which = document.getElementById("flip-kind");
    const draw = () => show(turned.filter((row) => !which.value || String(turn(row)) === which.value), LISTED_FLIPS);
    which.addEventListener("change", draw);
    draw();
  }

  const form = document.getElementById("filters");
  const field = (name) => form.elements.namedItem(name);
  const found = document.getElementById("found");
  const showQuestions = list(document.getElementById("question-rows"), document.getElementById("more-questions"));
  const haystacks = rows.map((row) => [row.id, row.question, ...row.answers, ...row.sides.map((side) => side.answer || "")].join("\n").toLowerCase());
  const KINDS = {
    "": () => true,
    worse: (row) => turn(row) === 2,
    better: (row) => turn(row) === 1,
    right: (row) => row.sides.every((side) => side.right > 0),
    wrong: (row) => row.sides.every((side) => side.right === 0),
    some: (row) => row.sides.some((side) => side.right === 0),
  };
  const ORDERS = {
    asked: (a, b) => a.place - b.place,
    change: (a, b) => turn(b) - turn(a) || a.place - b.place,
    label: (a, b) => a.sides.at(-1).label.localeCompare(b.sides.at(-1).label) || a.place - b.place,
    confidence: (a, b) => (b.sides.at(-1).numbers[0] ?? -1) - (a.sides.at(-1).numbers[0] ?? -1) || a.place - b.place,
    question: (a, b) => a.question.localeCompare(b.question),
  };

  function filter() {
    const text = field("text").value.trim().toLowerCase();
    const [status, label, tag, kind, order] = ["status", "label", "tag", "kind", "order"].map((name) => field(name).value);
    const shown = rows.filter((row, which) =>
      (!text || haystacks[which].includes(text)) && (!tag || row.tags.includes(tag)) && KINDS[kind](row)
      && (!status || row.sides.some((side) => side.status === status)) && (!label || row.sides.some((side) => side.label === label)));
    shown.sort(ORDERS[order]);
    found.textContent = shown.length === rows.length ? counted(rows.length, "question") : `${shown.length.toLocaleString("en-GB")} of ${counted(rows.length, "question")}`;
    document.getElementById("no-questions").hidden = shown.length > 0;
    showQuestions(shown);
  }

  const options = (select, values, shown = (value) => value) => select.append(...values.map((value) => element("option", { value }, shown(value))));
  options(field("label"), [...data.labels].sort(), words);
  options(field("tag"), [...data.tags].sort((a, b) => a.localeCompare(b)));
  field("tag").closest("div").hidden = !data.tags.length;
  field("kind").querySelectorAll("option[data-two]").forEach((option) => data.sides.length > 1 || option.remove());
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  filter();

  // A label or tag that stands elsewhere on the page leads to its questions.
  for (const link of document.querySelectorAll("a[data-filter]"))
    link.addEventListener("click", () => {
      form.reset();
      const choice = field(link.dataset.filter);
      if ([...choice.options].some((option) => option.value === link.dataset.value)) choice.value = link.dataset.value;
      filter();
      form.elements.namedItem(link.dataset.filter).focus({ preventScroll: true });
    });
  document.documentElement.classList.add("js");
})();
