// The chat of the page at /, and the line about the KV caches.
const at = (id) => document.getElementById(id);
// Each has its own server path, chat, and line about its caches; the second is there with `serve --compare`.
const lanes = [{ base: "", messages: [] }];
let running = null; // the AbortController of the answer under way

function headers() {
  const key = at("key").value.trim();
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

function mebibytes(n) {
  return `${(n / 2 ** 20).toFixed(n < 2 ** 20 ? 2 : 1)} MiB`;
}

function specOf(c) {
  const spec = c.type_k === c.type_v ? c.type_k : `${c.type_k}, ${c.type_v}`;
  return c.calibration === null ? spec : `${spec} (calibrated)`;
}

function cacheLine(c) {
  const parts = [`${specOf(c)}: ${c.tokens} tokens in ${mebibytes(c.bytes)} (f16: ${mebibytes(c.f16_bytes)})`];
  if (c.bits_per_entry !== null) parts.push(`${c.bits_per_entry.toFixed(2)} bits per entry`);
  if (c.hit_rate !== null) parts.push(`hit rate ${(100 * c.hit_rate).toFixed(0)} %`);
  parts.push(`${c.running} running, ${c.waiting} waiting`);
  return `KV cache ${parts.join(" · ")}`;
}

async function refresh() {
  try {
    const lines = [];
    for (const lane of lanes) {
      const answer = await fetch(`${lane.base}cache`, { headers: headers() });
      if (answer.status === 401) lines.push("KV cache: an API key is needed (Settings)");
      else if (answer.ok) {
        lane.cache = await answer.json();
        lines.push(cacheLine(lane.cache));
      }
    }
    at("cache").textContent = lines.join("\n");
    if (lanes[0].cache && !at("model").textContent) await begin();
  } catch {
    at("cache").textContent = "KV cache: the server does not answer";
  }
}

// The model's name, and whether there is a second cache type.
async function begin() {
  const models = await (await fetch("v1/models", { headers: headers() })).json();
  at("model").textContent = models.data[0].id;
  if (models.data[0].meta.compare && lanes.length === 1) {
    lanes.push({ base: "compare/", messages: [] });
    document.body.classList.add("pair");
    refresh();
  }
}

function show(role, text, place = at("chat")) {
  const item = document.createElement("article");
  item.className = role;
  item.textContent = text;
  place.append(item);
  at("chat").scrollTop = at("chat").scrollHeight;
  return item;
}

// Gives the data of each server-sent event.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    held += value;
    for (let end; (end = held.indexOf("\n\n")) >= 0; held = held.slice(end + 2))
      for (const line of held.slice(0, end).split("\n")) if (line.startsWith("data: ")) yield line.slice(6);
  }
}

async function answer(lane, item) {
  const system = at("system").value.trim();
  const body = {
    messages: [...(system ? [{ role: "system", content: system }] : []), ...lane.messages],
    temperature: Number(at("temperature").value),
    max_tokens: Number(at("longest").value) || 512,
    stream: true,
    stream_options: { include_usage: true },
  };
  const text = document.createTextNode("");
  const note = document.createElement("small");
  item.append(text, note);
  try {
    const options = { method: "POST", headers: headers(), body: JSON.stringify(body), signal: running.signal };
    const response = await fetch(`${lane.base}v1/chat/completions`, options);
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const data of events(response)) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      text.data += chunk.choices[0]?.delta.content ?? "";
      const took = chunk.timings;
      if (took)
        note.textContent =
          `${took.predicted_n} tokens, ${took.predicted_per_second.toFixed(1)} per second; ` +
          `prompt: ${took.prompt_n} read, ${took.cache_n} kept`;
      at("chat").scrollTop = at("chat").scrollHeight;
    }
  } catch (error) {
    if (error.name !== "AbortError") show("error", error.message);
  } finally {
    if (text.data) lane.messages.push({ role: "assistant", content: text.data });
  }
}

// One after the other, so that neither slows the other down.
async function ask(text) {
  running = new AbortController();
  at("send").textContent = "Stop";
  show("user", text);
  const row = document.createElement("div");
  row.className = "answers";
  at("chat").append(row);
  for (const lane of lanes) {
    lane.messages.push({ role: "user", content: text });
    const item = show("assistant", "", row);
    if (lanes.length > 1) {
      const title = document.createElement("strong");
      title.textContent = lane.cache ? specOf(lane.cache) : "";
      item.append(title);
    }
    await answer(lane, item);
    await refresh();
  }
  running = null;
  at("send").textContent = "Send";
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) return running.abort();
  const text = at("text").value.trim();
  if (!text) return;
  at("text").value = "";
  ask(text);
});
at("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && !running) {
    event.preventDefault();
    at("form").requestSubmit();
  }
});
at("forget").addEventListener("click", () => {
  running?.abort();
  for (const lane of lanes) lane.messages.length = 0;
  at("chat").replaceChildren();
});
at("key").addEventListener("change", refresh);
setInterval(refresh, 2000);
refresh();
