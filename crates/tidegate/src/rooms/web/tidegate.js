// The snippet: <script src="https://…/tidegate.js" data-room="demo" defer></script>
// It joins, asks when it is told to, says that somebody is there, and shows a banner. docs/guide/waiting-page.md lists its
// settings; an event `tidegate` on the window carries each seat.
//
// As it is sent, without comments and spaces, it has less than 2,048 bytes. That is why names are short:
// o settings, u address of the API, c other tabs, b banner, l its label, m what follows, g its button, s the last seat, p what
// of it runs out, a when it came, t the next question, w one is under way, f how many failed in a row, j a time that other tabs
// hardly have, in milliseconds: whose is the shortest asks for all; q a tab has gone, and the next question is due by that.
(d => {
  const e = d.currentScript, o = e.dataset, u = new URL('/v1/rooms/' + o.room + '/', e.src),
    c = new BroadcastChannel('tidegate:' + o.room),
    [b, l, m, g] = ['aside', 'b', 'b', 'button'].map(n => d.createElement(n)),
    j = 1e3 + Math.random() * 1e3;
  let s = {}, p, a, t, w, q, f = 0;

  const later = x => {
    clearTimeout(t);
    t = setTimeout(ask, x || 5e3);
  }, body = hint => JSON.stringify({hint, pass: s.pass, ticket: s.ticket}),

  // A seat that was asked for, or that another tab was told: that puts the next question off.
  take = (n, slack) => {
    // Nobody is sent back by an answer that comes late.
    if (n.queue_number == s.queue_number && n.position > (s.position ?? 1 / 0)) n.position = s.position;
    s = n;
    p = s.claim || s.session;
    a = Date.now();
    f = q = 0;
    // When it is told to, and at the end of a time, because something changes then.
    later(/en|ref/.test(s.state) ? 2e9 : Math.min(p?.heartbeat_ms || s.poll_after_ms, p?.left_ms + 99 || 1 / 0) + slack);
    dispatchEvent(new CustomEvent('tidegate', {detail: s}));
    paint();
  },

  ask = x => {
    if (w) return x && setTimeout(ask, 99, x);
    w = 1;
    fetch(u + (x || (p ? 'heartbeat' : s.state ? 'poll' : 'join')), {method: 'POST', credentials: 'include', body: body()}).then(r => {
      // The place is gone: the next question is for a new one.
      if (r.status == 410) s = {}, p = 0;
      if (!r.ok) throw 0;
      return r.json();
    }).then(n => {
      take(n, 0);
      c.postMessage({seat: n});
    }).catch(() => later(Math.min(60, 2 * 2 ** f++) * j)).finally(() => w = 0);
  };

  // Styles set by script are allowed where a page's policy forbids those in markup.
  b.style = 'position:fixed;z-index:9;bottom:1em;right:1em;padding:1em;border-radius:1em;background:#18212b;color:#fff;font:1em system-ui';
  l.role = 'status';
  g.textContent = o.go || 'Go in';
  g.style = 'font:inherit;padding:.4em 1em;margin-inline-start:.5em';
  g.onclick = () => ask('claim');
  b.append(l, ' ', m, ' ', g);

  const paint = () => {
    const x = p && Math.max(0, Math.ceil((p.left_ms - Date.now() + a) / 1e3)),
      // Whoever waits and has no position has its place drawn.
      k = s.session && x < 11 ? 'soon' : s.state == 'waiting' && s.position == null ? 'lot' : s.state,
      n = o[k] || {waiting: 'Ahead of you:', lot: 'Places by lot', ready: 'Your turn!', admitted: 'Time left:', soon: 'Nearly over:', ended: 'Time is over'}[k] || 'No entry';
    // Ears are told what changes, not every second.
    if (l.textContent != n) l.textContent = n;
    m.textContent = p ? (x / 60 | 0) + ':' + ('0' + x % 60).slice(-2) : s.position;
    g.hidden = k != 'ready';
    k && o.banner != 'off' && d.body.append(b);
  };

  // A tab that goes may have said that nobody is here any more; a heartbeat right after another would not count. Those that go
  // afterwards do not put it off.
  c.onmessage = ({data: n}) => n.seat ? take(n.seat, j) : n.gone && s.session && !q && later(q = j);
  // A hint, which the next question takes back: a page that is reloaded, or left for another of the site, goes as well.
  addEventListener('pagehide', () => {
    c.postMessage({gone: 1});
    s.session && navigator.sendBeacon(u + 'leave', body(true));
  });
  addEventListener('pageshow', e => e.persisted && ask());
  setInterval(paint, 500);
  ask();
})(document);
