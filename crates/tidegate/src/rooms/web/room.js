// The waiting page with JavaScript: asks the API when it is told to, and changes the page that the server made. Without it
// the page reloads itself, and its buttons are forms.
//
// - The server says when to ask (poll_after_ms, heartbeat_ms); after an error, waits get longer.
// - One request at a time, and one tab of a browser asks for all: who hears of a seat puts its own question off.
// - What is left of a time comes from the server, as a length. The visitor's clock may be wrong.
"use strict";

// The same file as a worker is an alarm clock: the timers of hidden pages ring only once a minute.
if (typeof document === "undefined") {
  let timer;
  onmessage = (event) => {
    clearTimeout(timer);
    timer = setTimeout(postMessage, event.data, 0);
  };
} else {
  start(JSON.parse(document.getElementById("tidegate-data").textContent));
}

function start({ page: data, texts }) {
  const api = data.api;
  const plural = new Intl.PluralRules(data.lang);
  const id = Math.random();
  const tabs = new Set();
  const channel = "BroadcastChannel" in window ? new BroadcastChannel("tidegate:" + data.room) : null;

  // The last good seat, why there is none, and when what was received.
  let seat = data.seat;
  let why = data.why;
  let received = Date.now();
  // The server's clock minus this one.
  let skew = data.now_ms - received;
  let due = Infinity;
  // The request that is under way: there is one at a time.
  let busy = null;
  let failures = 0;
  // When the room was not there for the first time in a row.
  let missing = null;
  let going = false;
  // The least position that was shown for a number: nobody is sent back by an answer that comes late.
  let least = { number: null, position: Infinity };
  let said = { stage: null, place: "", at: 0, warned: false, message: null };

  // Whether a question of this page was answered with a seat.
  let heard = false;
  // The mark of a browser that was just given its cookies is for this one: whoever is sent the address, or keeps it, is to be met anew.
  const address = new URL(location.href);
  const isNew = address.searchParams.has("seen");
  if (isNew) {
    address.searchParams.delete("seen");
    history.replaceState(history.state, "", address);
  }

  const post = (message) => { if (channel) channel.postMessage(message); };

  // --- texts, as view.rs makes them

  const group = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, data.thousands);
  const fill = (text, name, value) => text.split("{" + name + "}").join(value);
  const counted = (key, count) => fill(texts[key][plural.select(count)] || texts[key].other, "count", group(count));

  function waitText(wait) {
    if (!wait) return texts.wait_unknown;
    if (wait.to_s < 60) return texts.wait_soon;
    if (wait.to_s >= 86400) return texts.wait_long;
    const [unit, seconds] = wait.to_s < 5400 ? ["minutes", 60] : ["hours", 3600];
    const from = Math.max(1, Math.floor(wait.from_s / seconds));
    const to = Math.ceil(wait.to_s / seconds);
    if (from >= to) return counted("wait_" + unit, to);
    return fill(counted("wait_" + unit + "_range", to), "from", group(from));
  }

  function clock(ms) {
    const seconds = Math.ceil(ms / 1000);
    const two = (number) => String(number).padStart(2, "0");
    const days = Math.floor(seconds / 86400);
    const hours = Math.floor(seconds / 3600) % 24;
    const minutes = Math.floor(seconds / 60) % 60;
    const rest = two(seconds % 60);
    if (!days && !hours) return minutes + ":" + rest;
    const whole = hours + ":" + two(minutes) + ":" + rest;
    return days ? counted("days", days) + " " + whole : whole;
  }

  function stageOf() {
    if (!seat) return "error";
    if (seat.state !== "waiting") return seat.state;
    return { scheduled: "opening", paused: "paused" }[seat.room_state] || "waiting";
  }

  function leadOf(stage) {
    const own = texts[(seat ? "why_" : "error_") + why + "_lead"];
    if (own) return own;
    return stage === "waiting" && seat.room_state === "draining" ? texts.draining_lead : texts[stage + "_lead"];
  }

  // --- the page

  const find = (name) => document.querySelectorAll('[data-tg="' + name + '"]');
  const set = (name, text) => find(name).forEach((one) => { if (one.textContent !== text) one.textContent = text; });
  const show = (name, shown) => find(name).forEach((one) => { one.hidden = !shown; });
  const isLink = (address) => /^(\/(?!\/)|https?:\/\/[^/?#@]+([/?#]|$))[^\s\\]*$/.test(address || "");

  // What is left of the time that runs, in milliseconds; null where none does.
  function left(stage) {
    const since = Date.now() - received;
    if (stage === "opening" && seat.opens_at) return Math.max(0, seat.opens_at * 1000 - Date.now() - skew);
    if (stage === "ready" && seat.claim) return Math.max(0, seat.claim.left_ms - since);
    if (stage === "admitted" && seat.session) return Math.max(0, seat.session.left_ms - since);
    return null;
  }

  function isNearlyOver(ms) {
    const length = (seat.session.ends_at - seat.session.started_at) * 1000;
    return ms <= Math.min(120000, Math.max(10000, length / 4));
  }

  function paintTime(stage) {
    const ms = left(stage);
    show("time", ms !== null);
    if (ms === null) return;
    set("timer", ms === 0 && stage === "opening" ? texts.opening_now : clock(ms));
    const warn = stage === "admitted" && isNearlyOver(ms);
    show("warning", warn);
    if (warn && !said.warned) {
      said.warned = true;
      say("called", texts.admitted_warning);
    }
  }

  function paint() {
    const stage = stageOf();
    const focused = document.activeElement;
    const headline = texts[(seat ? "why_" : "error_") + why + "_title"] || texts[stage + "_title"];
    const root = document.getElementById("tidegate");
    if (root) root.dataset.tgStage = stage;
    document.querySelectorAll("[data-tg-stages]").forEach((one) => {
      one.hidden = !one.dataset.tgStages.split(" ").includes(stage);
    });
    set("status", texts[stage + "_status"]);
    set("headline", headline);
    set("lead", leadOf(stage));
    set("timer_label", texts[stage + "_label"] || "");
    paintPlace(stage, headline);
    paintActions();
    paintTime(stage);
    const message = (seat && seat.message ? seat.message : "").trim();
    set("message", message);
    show("message_box", message);
    show("unscripted", false);
    // Who had a button that is gone now begins anew at the headline.
    if (focused && focused !== document.body && !focused.getClientRects().length) {
      const title = find("headline")[0];
      if (title) title.focus();
    }
    tell(stage, headline, message);
  }

  function paintPlace(stage, headline) {
    const inLine = stage === "waiting" || stage === "paused";
    let position = seat ? seat.position : null;
    if (position === undefined) position = null;
    if (position !== null && inLine) {
      if (least.number !== seat.queue_number) least = { number: seat.queue_number, position: Infinity };
      position = least.position = Math.min(least.position, position);
    }
    const counts = inLine && position !== null;
    show("place", counts);
    show("position", position);
    set("position", counts ? group(position) : "");
    set("ahead", !counts ? "" : position ? counted("ahead_label", position) : texts.ahead_none);
    document.title = (counts ? "(" + group(position) + ") " : "") + headline + " – " + data.title;
    // Before a draw, the first to come would take 1 for a place.
    const number = seat && !(seat.state === "waiting" && seat.position == null) && seat.queue_number;
    show("queue_number", number);
    set("queue_number", number ? fill(texts.queue_number, "count", group(number)) : "");
    const wait = seat && seat.estimated_wait;
    set("wait", waitText(wait));
    const reason = wait && wait.reason ? texts["reason_" + wait.reason] : "";
    show("reason", reason);
    set("reason", reason || "");
    const percent = seat ? Math.floor(Math.min(1, Math.max(0, seat.progress || 0)) * 100) : 0;
    find("progress").forEach((one) => { one.value = Math.max(percent, one.value * (inLine ? 1 : 0)); });
    said.now = !counts ? "" : (position ? counted("ahead", position) : texts.ahead_none) + ". " + texts.wait_label + ": " + waitText(wait);
  }

  function paintActions() {
    const extensions = seat && seat.claim ? seat.claim.extensions_left : 0;
    show("extend", extensions);
    set("extensions", extensions ? counted("extensions", extensions) : texts.extensions_none);
    show("retry", !["rejected", "not_found"].includes(why));
    const goal = seat && isLink(seat.return_to) ? seat.return_to : null;
    find("onward").forEach((link) => {
      link.hidden = !goal;
      if (goal) link.href = goal;
    });
  }

  // --- what is said to ears: changes at once, the place at most every half minute

  function say(where, text) {
    set(where, text);
    said.at = Date.now();
  }

  function tell(stage, headline, message) {
    const isFirst = said.stage === null;
    const isNew = !isFirst && said.stage !== stage;
    const messageIsNew = message !== "" && message !== said.message;
    if (isNew) {
      say(stage === "ready" ? "called" : "said", headline + ". " + leadOf(stage));
      said.warned = false;
    } else if (!isFirst) {
      // What the page says when it is opened is read by itself, and what is there already need not be said.
      if (Date.now() - said.at < 30000 || !(messageIsNew || said.now !== said.place)) return;
      say("said", messageIsNew ? message : said.now);
    }
    if (isFirst) said.at = Date.now();
    if (messageIsNew) said.message = message;
    else said.place = said.now;
    said.stage = stage;
  }

  // --- asking

  const alarm = (() => {
    let timer;
    const plain = (ms) => {
      clearTimeout(timer);
      timer = setTimeout(tick, ms);
    };
    try {
      const worker = new Worker(document.currentScript.src);
      worker.onmessage = tick;
      let works = true;
      worker.onerror = () => {
        works = false;
        plain(Math.max(0, due - Date.now()));
      };
      return (ms) => (works ? worker.postMessage(ms) : plain(ms));
    } catch {
      return plain;
    }
  })();

  function wake(ms) {
    due = Date.now() + ms;
    alarm(ms);
  }

  // When to ask next, as the server says; at the end of a time, because something changes then.
  function schedule(slack) {
    const stage = stageOf();
    if (stage === "ended" || stage === "refused") return;
    let ms = seat.poll_after_ms;
    if (stage === "admitted" && seat.session) ms = seat.session.heartbeat_ms || ms;
    if (stage === "admitted" || stage === "ready") {
      const rest = left(stage);
      if (rest > 0) ms = Math.min(ms, rest + 100);
    }
    wake(Math.max(250, Number(ms) || 5000) + slack);
  }

  function take(next, slack) {
    seat = next;
    why = next.why || null;
    received = Date.now();
    failures = 0;
    missing = null;
    heard = true;
    due = Infinity;
    if (!find("connection").length || !find("connection")[0].hidden) say("said", texts.connection_back);
    show("connection", false);
    schedule(slack);
    paint();
  }

  async function ask(call, body) {
    const answer = await fetch(api + call, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body || {}),
      cache: "no-store",
      signal: AbortSignal.timeout ? AbortSignal.timeout(10000) : undefined,
    });
    const now = Date.parse(answer.headers.get("date"));
    // The field has whole seconds: only what is more than that off is corrected.
    if (Math.abs(now - Date.now() - skew) > 2000) skew = now - Date.now();
    return answer;
  }

  function failed(answer) {
    failures += 1;
    if (failures > 1 || !navigator.onLine) {
      if (find("connection")[0] && find("connection")[0].hidden) say("said", texts.no_connection);
      show("connection", true);
    }
    const base = Math.min((seat && seat.poll_after_ms) || data.poll_after_ms || 5000, 5000);
    const longer = Math.min(60000, Math.max(1000, base) * 2 ** Math.min(failures - 1, 6)) * (0.75 + Math.random() / 2);
    const told = answer ? Number(answer.headers.get("retry-after")) * 1000 || 0 : 0;
    wake(Math.max(longer, Math.min(told, 300000)));
  }

  // A place that is gone, or a browser that is not known: there is nothing to ask for any more.
  function over(stage, reason) {
    seat = stage === "error" ? null : { ...seat, state: stage, why: reason };
    why = reason;
    due = Infinity;
    show("connection", false);
    paint();
  }

  async function request(call, body) {
    try {
      const answer = await ask(call, body);
      if (answer.status === 204) {
        over("ended", "left");
        post({ seat });
        return seat;
      }
      if (answer.ok) {
        const next = await answer.json();
        take(next, 0);
        post({ seat: next });
        return next;
      }
      // A node that has just started may not have the room yet: one that has been there is believed to come back, for a while.
      if (answer.status === 404) missing = missing || Date.now();
      if (answer.status === 404 && seat && Date.now() - missing < 120000) failed(answer);
      else if (answer.status === 404) over("error", "not_found");
      else if (answer.status === 403) over("error", "not_valid");
      // A browser that keeps no cookies has no ticket, and is known by its address: only the page itself knows its place.
      else if (answer.status === 410 && isNew && !heard) location.reload();
      else if (answer.status === 410 && seat) over("ended", "lapsed");
      else if (answer.status === 409 && seat) schedule(0);
      else failed(answer);
    } catch {
      failed(null);
    }
    return null;
  }

  // Buttons wait until the question that is under way has its answer.
  async function inTurn(call, body) {
    while (busy) await busy;
    busy = request(call, body);
    const next = await busy;
    busy = null;
    return next;
  }

  function tick() {
    // An alarm that was put off may still ring.
    if (Date.now() < due - 50) return;
    if (busy) return;
    due = Infinity;
    const stage = stageOf();
    inTurn(stage === "ready" || stage === "admitted" ? "heartbeat" : "poll");
  }

  // --- buttons

  async function pressed(form, button) {
    const call = form.action.split("/").pop();
    const body = Object.fromEntries(new FormData(form));
    if (body.extend) body.extend = true;
    if (button) button.disabled = true;
    const next = await inTurn(call, body);
    if (button) button.disabled = false;
    if (next && call === "claim" && next.state === "admitted" && isLink(next.return_to)) {
      going = true;
      location.assign(next.return_to);
    }
  }

  document.addEventListener("submit", (event) => {
    if (!new URL(event.target.action).pathname.startsWith(api)) return;
    event.preventDefault();
    pressed(event.target, event.submitter);
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest('[data-tg="onward"]')) going = true;
  });

  // --- other tabs

  if (channel) {
    channel.onmessage = ({ data: message }) => {
      if (message.seat && message.seat.room_state) take(message.seat, 500 + Math.random() * 1000);
      if (message.here) {
        if (!tabs.has(message.here)) post({ here: id });
        tabs.add(message.here);
      }
      if (message.gone) {
        tabs.delete(message.gone);
        // It may have told the server that nobody is here any more. A heartbeat right after another does not count.
        // Never later than before: many tabs that go one after the other would put it off for good.
        const soon = 1000 + Math.random() * 1000;
        if (stageOf() === "admitted" && Date.now() + soon < due) wake(soon);
      }
    };
    post({ here: id });
  }

  // The last tab of a session says that it goes: a hint, which the next heartbeat takes back, for a reload looks the same.
  addEventListener("pagehide", () => {
    post({ gone: id });
    if (stageOf() === "admitted" && !tabs.size && !going) {
      navigator.sendBeacon(api + "leave", JSON.stringify({ hint: true }));
    }
  });
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    going = false;
    tabs.clear();
    post({ here: id });
    wake(0);
  });
  // A browser that comes back asks at once, but not together with everybody whose network came back.
  addEventListener("online", () => { if (failures) wake(Math.random() * 3000); });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    paint();
    if (Date.now() >= due) wake(0);
  });

  setInterval(() => {
    const stage = stageOf();
    if (seat) paintTime(stage);
  }, 250);

  if (seat) schedule(0);
  else if (data.poll_after_ms) wake(data.poll_after_ms);
  paint();
}
