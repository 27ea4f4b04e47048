// What pages do beyond being read: copy, ask as a stream, rate. Content becomes text nodes and nothing else.

const root = document.documentElement;
root.classList.add("js");
if (navigator.clipboard) root.classList.add("can-copy"); // only where the page came over TLS or from this machine

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
  } catch {
    button.title = "This browser does not let the page copy";
  }
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const field = document.querySelector('[aria-keyshortcuts="/"]');
  if (!field) return;
  event.preventDefault();
  field.focus();
  field.select();
});

// Filters that are empty do not belong into the address.
document.querySelector("form.filters")?.addEventListener("formdata", (event) => {
  for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
});

const page = document.getElementById("ask");

function askPage() {
  const at = (id) => document.getElementById(id);
  const form = at("question-form");
  const question = at("question");
  const mayTrace = page.dataset.traces === "yes";
  let running = null;

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (question.value.trim()) ask();
  });
  question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") running?.abort();
  });
  at("cancel").addEventListener("click", () => running?.abort());
  page.addEventListener("submit", (event) => {
    if (event.target.matches("form.rate")) rate(event);
  });

  async function ask() {
    running?.abort();
    const mine = (running = new AbortController());
    const answer = new Answer(at, mayTrace);
    answer.begin();
    at("cancel").hidden = false;
    history.replaceState(null, "", `/?q=${encodeURIComponent(question.value.trim())}`);
    document.title = `${question.value.trim()} – rag-service`;
    try {
      const response = await fetch("/ask", {
        method: "POST",
        headers: { "content-type": "application/json", accept: "text/event-stream" },
        body: JSON.stringify(asked()),
        signal: mine.signal,
      });
      if (!response.ok) {
        answer.failed(await response.json().catch(() => null), response.status);
        return;
      }
      for await (const event of events(response.body)) answer.take(event);
      answer.ended();
    } catch (error) {
      if (running !== mine) return; // another question has taken its place
      if (error.name === "AbortError") answer.cancelled();
      else answer.failed(null, 0);
    } finally {
      if (running === mine) {
        running = null;
        at("cancel").hidden = true;
      }
    }
  }

  function asked() {
    const body = { question: question.value.trim(), stream: true };
    if (at("top_k").value) body.top_k = Number(at("top_k").value);
    if (at("min_confidence").value) body.min_confidence = Number(at("min_confidence").value);
    if (at("release").value) body.release = at("release").value;
    if (at("fresh").checked) body.cache = false;
    return body;
  }

  async function rate(event) {
    event.preventDefault();
    const { target, submitter } = event;
    const response = await fetch(target.action, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json" },
      body: JSON.stringify({ rating: submitter.value }),
    }).catch(() => null);
    if (response?.ok) for (const button of target.elements) button.setAttribute("aria-pressed", String(button === submitter));
    const problem = response && !response.ok ? (await response.json().catch(() => null))?.error?.message : null;
    at("said").textContent = response?.ok ? "Thank you: it is kept with the answer." : (problem ?? "This could not be sent.");
  }
}

// Server-sent events out of a stream of bytes, each as the object in its data.
async function* events(body) {
  let rest = "";
  for await (const text of chunks(body.pipeThrough(new TextDecoderStream()))) {
    const frames = (rest + text).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const data = frame.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data) yield JSON.parse(data);
    }
  }
}

async function* chunks(stream) {
  const reader = stream.getReader();
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}

// One answer as it comes in.
class Answer {
  constructor(at, mayTrace) {
    this.at = at;
    this.mayTrace = mayTrace;
    this.text = "";
    this.citations = [];
    this.over = false;
  }

  begin() {
    const { at } = this;
    for (const id of ["reply", "answered"]) at(id).hidden = false;
    for (const id of ["problem", "sources-part", "warnings", "beginning", "trace-link", "rate", "copy-answer"]) if (at(id)) at(id).hidden = true;
    at("answered").querySelector(".answer-foot")?.querySelectorAll("form.rate:not(#rate), a.button:not(#trace-link)").forEach((old) => old.remove());
    at("answer").replaceChildren();
    at("answer").setAttribute("aria-busy", "true");
    at("status").className = "badge";
    at("status").textContent = "searching";
    for (const id of ["timing", "made-by", "said"]) at(id).textContent = "";
  }

  take(event) {
    if (event.type === "sources") this.sources(event.hits);
    else if (event.type === "delta") this.delta(event.text);
    else if (event.type === "citation") this.cite(event);
    else if (event.type === "done") this.done(event);
    else if (event.type === "error") this.failed(event, 200);
  }

  delta(text) {
    this.at("status").textContent = "answering";
    this.text += text;
    this.at("answer").append(text);
  }

  cite(citation) {
    this.citations.push(citation);
    this.show();
    this.at("sources").children[citation.marker - 1]?.classList.add("cited");
  }

  // Offsets are those of Unicode characters; the strings of JavaScript count in halves of some of them.
  show() {
    const characters = Array.from(this.text);
    const parts = [];
    let from = 0;
    const sorted = [...this.citations].sort((a, b) => a.answer_span[0] - b.answer_span[0] || a.marker - b.marker);
    for (const citation of sorted) {
      const [start, end] = citation.answer_span;
      if (start > from) parts.push(...withCode(characters.slice(from, start).join("")));
      from = Math.max(from, end);
      const link = document.createElement("a");
      link.className = "marker";
      link.href = `${citation.url}&quote=${citation.quote_span.join("-")}#quote`;
      link.title = citation.title || citation.source;
      link.textContent = `[${citation.marker}]`;
      parts.push(link);
    }
    parts.push(...withCode(characters.slice(from).join("")));
    this.at("answer").replaceChildren(...parts);
  }

  sources(hits) {
    const items = hits.map((hit) => {
      const item = this.at("source").content.firstElementChild.cloneNode(true);
      const [title, where, score] = item.children;
      const [place, source] = where.children;
      title.href = hit.url;
      title.textContent = hit.title || hit.source;
      place.textContent = hit.heading_path.filter((heading) => heading !== hit.title).join(" › ");
      source.textContent = hit.source;
      score.textContent = hit.score.toFixed(4);
      item.querySelector(".fill").setAttribute("width", String(Math.max(0, Math.min(1, hit.score)) * 1000));
      return item;
    });
    this.at("sources").replaceChildren(...items);
    this.at("sources-part").hidden = items.length === 0;
  }

  done(reply) {
    const { at } = this;
    this.over = true;
    this.text = reply.answer ?? "";
    this.citations = reply.citations;
    this.show();
    if (reply.status === "abstained") {
      const why = document.createElement("p");
      why.className = "abstained";
      why.textContent = `No answer: ${JSON.parse(page.dataset.why)[reply.abstain_reason] ?? reply.abstain_reason}.`;
      at("answer").replaceChildren(why);
    }
    at("answer").setAttribute("aria-busy", "false");
    at("status").className = `badge ${reply.status === "answered" ? "good" : "weak"}`;
    at("status").textContent = reply.status;
    at("timing").textContent = `${milliseconds(reply.timings_ms.total)}${reply.repeats ? ", from the cache" : ""}`;
    at("copy-answer").dataset.copy = reply.answer ?? "";
    at("copy-answer").hidden = !reply.answer;
    at("warnings").replaceChildren(...reply.warnings.map((warning) => element("li", "text", warning.detail)));
    at("warnings").hidden = reply.warnings.length === 0;
    at("made-by").replaceChildren(element("code", "id", reply.answer_id));
    reply.hits.forEach((hit, place) => at("sources").children[place]?.classList.toggle("left-out", !hit.used));
    if (!this.mayTrace) return;
    if (reply.trace.receipt) {
      at("trace-link").href = `/traces/${reply.answer_id}`;
      at("rate").action = `/traces/${reply.answer_id}/feedback`;
      for (const button of at("rate").elements) button.setAttribute("aria-pressed", "false");
      at("trace-link").hidden = at("rate").hidden = false;
    } else {
      at("said").textContent = `Not recorded: ${reply.trace.unknown.receipt ?? "the service keeps no records"}`;
    }
  }

  ended() {
    if (!this.over) this.failed(null, 0);
  }

  cancelled() {
    this.over = true;
    this.at("answer").setAttribute("aria-busy", "false");
    this.at("status").className = "badge weak";
    this.at("status").textContent = "cancelled";
  }

  failed(body, status) {
    const { at } = this;
    this.over = true;
    const lost = "The connection to the service broke off before the answer was complete.";
    const said = body?.error?.message ?? (status ? `The service said ${status}.` : lost);
    at("answer").setAttribute("aria-busy", "false");
    at("answered").hidden = this.text === "";
    at("status").className = "badge weak";
    at("status").textContent = "broken off";
    at("problem").hidden = false;
    at("problem-text").replaceChildren(said);
    if (status === 401) at("problem-text").append(" ", link("/sign-in", "Sign in"));
    at("problem-trace").textContent = body?.trace_id ?? "not known";
  }
}

// Code apart from text, as the service does it in pages that it makes.
function withCode(text) {
  const parts = [];
  let plain = [];
  let block = null;
  for (const line of text.split("\n")) {
    if (block === null && /^```[^`]*$/.test(line)) block = [line];
    else if (block === null) plain.push(line);
    else if (line.trimEnd() === "```") {
      const before = plain.join("\n").replace(/\n+$/, "");
      parts.push(...withInlineCode(parts.length ? before.replace(/^\n+/, "") : before), element("code", "block", block.slice(1).join("\n")));
      plain = [];
      block = null;
    } else block.push(line);
  }
  const rest = [...plain, ...(block ?? [])].join("\n");
  return [...parts, ...withInlineCode(parts.length ? rest.replace(/^\n+/, "") : rest)];
}

function withInlineCode(text) {
  return text.split(/(?<!`)`([^`\n]+)`(?!`)/).map((piece, place) => (place % 2 ? element("code", "", piece) : piece));
}

function milliseconds(value) {
  return value >= 10000 ? `${(value / 1000).toFixed(1)} s` : `${value.toFixed(value >= 100 ? 0 : value >= 1 ? 1 : 2)} ms`;
}

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function link(href, text) {
  const made = document.createElement("a");
  made.href = href;
  made.textContent = text;
  return made;
}

if (page) askPage(); // last: what stands above is defined then
