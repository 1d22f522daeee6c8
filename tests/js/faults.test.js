// docs/faults.md, row by row: a server that does the thing, and what load() makes of it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { load } from '../../js/index.js';
import { root } from './lib/builds.js';

const FILE = readFileSync(join(root, 'demo/models/tales-6m.tansy'));
const PROMPT = [5, 6, 7];
/* only the tests of silence wait for silence */
const RETRY = { attempts: 3, delayMs: 4, stallMs: 60000 };

const rows = readFileSync(join(root, 'docs/faults.md'), 'utf8')
  .split('\n')
  .filter((line) => /^\| [^-]/.test(line))
  .slice(1)
  .map((line) => line.split('|')[1].trim());
/** @type {Set<string>} */
const tested = new Set();

/**
 * @typedef {object} Asked
 * @property {import('node:http').IncomingMessage} request
 * @property {import('node:http').ServerResponse} response
 * @property {number} n requests before this one
 * @property {number} begin of the range, 0 without one
 * @property {number} end
 */

/** @param {(asked: Asked) => void} answer */
async function serve(answer) {
  let n = 0;
  const server = createServer((request, response) => {
    const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    answer({ request, response, n: n++, begin: Number(match?.[1] ?? 0), end: Math.min(Number(match?.[2] ?? Infinity) + 1, FILE.length) });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  return {
    url: `http://127.0.0.1:${port}/model.tansy`,
    get requests() {
      return n;
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A good answer, with changes. @param {Asked} asked @param {{file?: Buffer, headers?: Record<string, string | number | undefined>, body?: Buffer}} [changes] */
function good({ response, begin, end }, { file = FILE, headers = {}, body } = {}) {
  const last = Math.min(end, file.length);
  if (begin >= file.length) return void response.writeHead(416, { 'Content-Range': `bytes */${file.length}` }).end();
  const all = { 'Content-Range': `bytes ${begin}-${last - 1}/${file.length}`, 'Content-Length': last - begin, ETag: '"1"', ...headers };
  response.writeHead(206, Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)));
  response.end(body ?? file.subarray(begin, last));
}

/** @param {Asked} asked @param {Buffer} [file] */
const whole = ({ response }, file = FILE) => void response.writeHead(200, { 'Content-Length': file.length }).end(file);

/** The first bytes of a body whose length says more, then the end. @param {Asked} asked @param {number} n */
function dropAfter({ response, begin, end }, n) {
  response.writeHead(206, { 'Content-Range': `bytes ${begin}-${end - 1}/${FILE.length}`, 'Content-Length': end - begin });
  response.write(FILE.subarray(begin, Math.min(begin + n, end)), () => setTimeout(() => response.destroy(), 20));
}

/** @param {string} url @param {object} [retry] */
async function tokensOf(url, retry = {}) {
  const model = await load(url, { retry: { ...RETRY, ...retry }, threads: 1 });
  const run = model.generate(PROMPT, { maxTokens: 6, temperature: 0 });
  await run.text();
  model.dispose();
  return run.ids;
}

const expected = await (async () => {
  const model = await load(FILE, { threads: 1 });
  const run = model.generate(PROMPT, { maxTokens: 6, temperature: 0 });
  await run.text();
  model.dispose();
  return run.ids;
})();

/** @typedef {(server: {url: string, requests: number}) => Promise<void> | void} After */

/** @param {string} name a row @param {(asked: Asked) => void} answer @param {{retry?: object, after?: After}} [more] */
function loads(name, answer, { retry, after } = {}) {
  tested.add(name);
  test(`${name}: loads`, async () => {
    const server = await serve(answer);
    try {
      assert.deepEqual(await tokensOf(server.url, retry), expected);
      await after?.(server);
    } finally {
      server.close();
    }
  });
}

/** @param {string} name @param {string} code @param {(asked: Asked) => void} answer @param {{retry?: object, after?: After}} [more] */
function fails(name, code, answer, { retry, after } = {}) {
  tested.add(name);
  test(`${name}: ${code}`, async () => {
    const server = await serve(answer);
    try {
      await assert.rejects(tokensOf(server.url, retry), { code });
      await after?.(server);
    } finally {
      server.close();
    }
  });
}

/** Bytes of requests after the first differ. @param {(asked: Asked) => boolean} when @returns {(asked: Asked) => void} */
const otherBytes = (when) => (asked) => {
  if (asked.n === 0 || !when(asked)) return good(asked);
  const body = Buffer.from(FILE.subarray(asked.begin, asked.end));
  body[body.length >> 1] ^= 1;
  good(asked, { body });
};

loads('answers Range with 206', (asked) => good(asked));
loads('ignores Range: 200', whole, { after: ({ requests }) => assert.equal(requests, 1) });
loads('ignores Range, no Content-Length', ({ response }) => void response.writeHead(200).end(FILE));
loads('gives up Range in the middle of the file', (asked) => (asked.n < 2 ? good(asked) : whole(asked)), { after: ({ requests }) => assert.ok(requests < 8, String(requests)) });
/* far more drops than attempts; on a busy machine a drop can overtake all that was sent before it, some times in a row */
loads('drops every connection after 100 kB', (asked) => dropAfter(asked, 100000), { retry: { attempts: 10 }, after: ({ requests }) => assert.ok(requests > 20, String(requests)) });
fails('drops before any byte, always', 'TANSY_NETWORK', (asked) => dropAfter(asked, 0), { after: ({ requests }) => assert.ok(requests <= 3 * 3, String(requests)) });
loads('drops without Range', (asked) => {
  if (asked.n >= 3) return whole(asked);
  asked.response.writeHead(200, { 'Content-Length': FILE.length });
  asked.response.write(FILE.subarray(0, 200000 * (asked.n + 1)), () => setTimeout(() => asked.response.destroy(), 2));
});
const silent = (/** @type {Asked} */ asked) => {
  asked.response.writeHead(206, { 'Content-Range': `bytes ${asked.begin}-${asked.end - 1}/${FILE.length}`, 'Content-Length': asked.end - asked.begin });
  asked.response.flushHeaders();
};
loads('goes silent once', (asked) => (asked.n === 1 ? silent(asked) : good(asked)), { retry: { stallMs: 800 } });
fails('goes silent, always', 'TANSY_NETWORK', silent, { retry: { stallMs: 60 } });
loads('one byte at a time', (asked) => {
  if (asked.n !== 1) return good(asked);
  asked.response.writeHead(206, { 'Content-Range': `bytes ${asked.begin}-${asked.end - 1}/${FILE.length}` });
  let at = asked.begin;
  const next = () => {
    for (let burst = 0; burst < 8 && at < asked.begin + 3000; burst++) asked.response.write(FILE.subarray(at, ++at));
    if (at < asked.begin + 3000) setImmediate(next);
    else asked.response.end(FILE.subarray(at, asked.end));
  };
  next();
});
loads('truncates: less than its Content-Length', (asked) => (asked.n % 2 ? dropAfter(asked, 60000) : good(asked)));
loads('Content-Length is less than it sends', (asked) => {
  if (asked.n !== 1) return good(asked);
  const short = (asked.end - asked.begin) >> 1;
  asked.response.socket?.end(
    Buffer.concat([
      Buffer.from(`HTTP/1.1 206 Partial Content\r\nContent-Range: bytes ${asked.begin}-${asked.end - 1}/${FILE.length}\r\nContent-Length: ${short}\r\nConnection: close\r\n\r\n`),
      FILE.subarray(asked.begin, asked.end),
    ]),
  );
});
loads('sends less than the range it announces', (asked) =>
  good(asked, asked.n === 1 ? { body: FILE.subarray(asked.begin, asked.begin + 1000), headers: { 'Content-Length': 1000 } } : {}),
);
loads('sends more than was asked for', (asked) =>
  good(asked, { body: FILE.subarray(asked.begin), headers: { 'Content-Range': `bytes ${asked.begin}-${FILE.length - 1}/${FILE.length}`, 'Content-Length': FILE.length - asked.begin } }),
);
fails('sends another range', 'TANSY_HTTP', (asked) => good(asked, asked.n > 0 ? { headers: { 'Content-Range': `bytes ${asked.begin + 7}-${asked.end - 1}/${FILE.length}` } } : {}));
loads('Content-Range without a total', (asked) => good(asked, { headers: { 'Content-Range': `bytes ${asked.begin}-${asked.end - 1}/*` } }));
fails('Content-Range with a wrong total', 'TANSY_TRUNCATED', (asked) => good(asked, { headers: { 'Content-Range': `bytes ${asked.begin}-${asked.end - 1}/70000` } }), {
  after: ({ requests }) => assert.equal(requests, 1),
});
fails('Content-Range with a wrong total', 'TANSY_CORRUPT', (asked) => good(asked, { headers: { 'Content-Range': `bytes ${asked.begin}-${asked.end - 1}/99999999` } }), {
  after: ({ requests }) => assert.equal(requests, 1),
});
loads('hides Content-Range (CORS)', (asked) => good(asked, { headers: { 'Content-Range': undefined } }));
let lies = 0;
loads('206 with other bytes once', otherBytes(() => lies++ === 0));
fails('206 with other bytes, always', 'TANSY_CHECKSUM', otherBytes(() => true));
fails('the file is cut off', 'TANSY_TRUNCATED', (asked) => good(asked, { file: FILE.subarray(0, 1000000) }));
fails('the file is longer than its index says', 'TANSY_CORRUPT', (asked) => good(asked, { file: Buffer.concat([FILE, Buffer.alloc(9)]) }));
fails('the file changes midway, with ETag', 'TANSY_CHANGED', (asked) => good(asked, { headers: { ETag: `"${Math.min(asked.n, 1)}"` } }));
fails('the file changes midway, with Last-Modified', 'TANSY_CHANGED', (asked) =>
  good(asked, { headers: { ETag: undefined, 'Last-Modified': new Date(Math.min(asked.n, 1) * 1e9).toUTCString() } }),
);
const other = Buffer.from(FILE);
other.fill(7, 500000);
fails('the file changes midway, without any mark', 'TANSY_CHECKSUM', (asked) => good(asked, { headers: { ETag: undefined }, ...(asked.n > 1 ? { file: other } : {}) }));
fails('304', 'TANSY_HTTP', ({ response }) => void response.writeHead(304).end());
for (const status of [401, 403, 404, 410])
  fails('401, 403, 404, 410', 'TANSY_HTTP', ({ response }) => void response.writeHead(status).end('no'), { after: ({ requests }) => assert.equal(requests, 1) });
fails('416 at the end of a shorter file', 'TANSY_TRUNCATED', (asked) =>
  asked.n === 0 ? good(asked, { headers: { 'Content-Range': `bytes ${asked.begin}-${asked.end - 1}/*` } }) : void asked.response.writeHead(416).end(),
);
for (const status of [500, 502, 503, 504])
  loads('500, 502, 503, 504 once', (asked) => (asked.n === 1 ? void asked.response.writeHead(status).end() : good(asked)));
fails('500, always', 'TANSY_NETWORK', ({ response }) => void response.writeHead(500).end(), { after: ({ requests }) => assert.equal(requests, 3) });
/** @param {string} name @param {() => string} value @param {number} ms at least */
function waits(name, value, ms) {
  let told = 0;
  let waited = 0;
  loads(
    name,
    (asked) => {
      if (asked.n === 0) {
        told = performance.now();
        return void asked.response.writeHead(503, { 'Retry-After': value() }).end();
      }
      if (asked.n === 1) waited = performance.now() - told;
      good(asked);
    },
    { after: () => assert.ok(waited >= ms, `${waited} ms`) },
  );
}
waits('503 with Retry-After in seconds', () => '1', 990);
/* a date has whole seconds: the next but one is at least one away */
waits('503 with Retry-After as a date', () => new Date(Date.now() + 2000).toUTCString(), 990);
fails('204, no body', 'TANSY_HTTP', ({ response }) => void response.writeHead(204).end());
fails('a page instead of the file', 'TANSY_NOT_TANSY', ({ response }) => void response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><title>Please log in</title>'));
fails('an empty file', 'TANSY_TRUNCATED', ({ response }) => void response.writeHead(200, { 'Content-Length': 0 }).end());
loads('redirects to the file', (asked) => (asked.request.url === '/model.tansy' ? void asked.response.writeHead(302, { Location: '/other' }).end() : good(asked)));
fails('redirects in a circle', 'TANSY_NETWORK', ({ response }) => void response.writeHead(302, { Location: '/model.tansy' }).end());
loads('sends the body gzipped', ({ response }) => void response.writeHead(200, { 'Content-Encoding': 'gzip' }).end(gzipSync(FILE, { level: 1 })));
for (const to of ['file:///etc/hostname', 'data:application/octet-stream,abc'])
  fails('redirects to a file: or data: address', 'TANSY_NETWORK', ({ response }) => void response.writeHead(302, { Location: to }).end());
fails('sends headers without end', 'TANSY_NETWORK', ({ response }) => {
  const { socket } = response;
  socket?.on('error', () => {}).write('HTTP/1.1 206 Partial Content\r\n');
  const more = () => socket?.writable && socket.write(`X: ${'x'.repeat(8000)}\r\n`, () => setImmediate(more));
  more();
});
let nEndless = 0;
loads('sends the file, and then more without end', ({ response }) => {
  response.writeHead(200).write(FILE);
  const more = () => !response.destroyed && response.write(Buffer.alloc(1 << 16), () => (nEndless++, setImmediate(more)));
  more();
}, { after: () => assert.ok(nEndless < 1000, String(nEndless)) });
const gzipped = gzipSync(FILE, { level: 1 });
loads(
  'sends ranges of the gzipped file',
  (asked) => {
    const headers = { 'Content-Encoding': 'gzip', ETag: '"gz"' };
    if (asked.request.headers.range === undefined) return void asked.response.writeHead(200, headers).end(gzipped);
    good(asked, { file: gzipped, headers });
  },
  { after: ({ requests }) => assert.equal(requests, 2) },
);

tested.add('is no HTTP server').add('is not there');
test('is no HTTP server, is not there: TANSY_NETWORK', async () => {
  const server = createTcpServer((socket) => void socket.on('error', () => {}).end('220 mail.example ESMTP\r\n', () => socket.destroy()));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  await assert.rejects(tokensOf(`http://127.0.0.1:${port}/model.tansy`), { code: 'TANSY_NETWORK' });
  await new Promise((resolve) => server.close(resolve));
  await assert.rejects(tokensOf(`http://127.0.0.1:${port}/model.tansy`), { code: 'TANSY_NETWORK' });
});

test('docs/faults.md has a row for each of these, and these for each row', () => assert.deepEqual([...tested].sort(), [...rows].sort()));
