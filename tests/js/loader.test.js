// The loader and its sources against a server that drops, lies, stalls and changes its mind.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openSource } from '../../js/source.js';
import { loadChunks } from '../../js/loader.js';
import { FakeSink, randomBytes } from './lib/fake_sink.js';
import { serveFile } from './lib/file_server.js';

const HEADER = 1000;
const CHUNK = 1 << 16;
const FILE = randomBytes(HEADER + 53 * CHUNK + 12345);
/* tests may run on a busy machine: only the test of silence waits for silence */
const RETRY = { attempts: 4, delayMs: 5, stallMs: 60000 };

/** @param {any} input @param {object} [more] @param {object} [retry] */
async function loadFile(input, more = {}, retry = {}) {
  const source = await openSource(input, { ...RETRY, ...retry });
  const sink = new FakeSink(FILE, HEADER, CHUNK);
  try {
    /* as load() does: the front first, then the chunks */
    let front = new Uint8Array(0);
    for await (const piece of source.read(0, 65536)) front = Uint8Array.from([...front, ...piece]);
    const attachments = [{ name: 'a', offset: HEADER + 10, nbytes: 100000, encoding: /** @type {const} */ ('raw'), rawNbytes: 100000 }];
    const copies = await loadChunks({ sink, source, front, fileNbytes: FILE.length, attachments, ...more });
    assert.deepEqual(Buffer.compare(sink.result.subarray(HEADER), FILE.subarray(HEADER)), 0);
    assert.equal(Buffer.compare(copies[0], FILE.subarray(HEADER + 10, HEADER + 100010)), 0);
    assert.equal(sink.slots.size, 0);
    return { sink, source };
  } finally {
    assert.equal(sink.slots.size, 0, 'every slot is given back');
    await source.close();
  }
}

/** @param {import('./lib/file_server.js').Faults} faults @param {(server: Awaited<ReturnType<typeof serveFile>>) => Promise<void>} run */
async function withServer(faults, run) {
  const server = await serveFile(FILE, faults);
  try {
    await run(server);
  } finally {
    await server.close();
  }
}

test('a good server is asked for ranges, a few at a time, and for no byte twice', () =>
  withServer({}, async (server) => {
    const { sink } = await loadFile(server.url);
    assert.equal(server.bytesSent, FILE.length);
    assert.equal(sink.mostSlots, 3);
    assert.ok(server.requests.every(({ range }) => range !== undefined));
  }));

test('few slots only make it slower', () =>
  withServer({}, async (server) => {
    const source = await openSource(server.url, RETRY);
    const sink = new FakeSink(FILE, HEADER, CHUNK, 1);
    await loadChunks({ sink, source, front: FILE.slice(0, HEADER), fileNbytes: FILE.length, attachments: [] });
    assert.equal(Buffer.compare(sink.result.subarray(HEADER), FILE.subarray(HEADER)), 0);
    assert.equal(sink.mostSlots, 1);
  }));

test('with one slot the next run is asked for before this one has come', { timeout: 30000 }, async () => {
  let nAsked = 0;
  let twoAsked = () => {};
  const both = new Promise((resolve) => (twoAsked = () => resolve(undefined)));
  const source = {
    name: 'slow',
    size: FILE.length,
    rereadable: true,
    /** @param {number} offset @param {number} nbytes */
    async *read(offset, nbytes) {
      if (++nAsked === 2) twoAsked();
      await both; // no byte comes before
      yield FILE.subarray(offset, offset + nbytes);
    },
    async close() {},
  };
  const sink = new FakeSink(FILE, HEADER, CHUNK, 1);
  await loadChunks({ sink, source, front: FILE.slice(0, HEADER), fileNbytes: FILE.length, attachments: [] });
  assert.equal(Buffer.compare(sink.result.subarray(HEADER), FILE.subarray(HEADER)), 0);
});

test('a server without Range is read once, in order', () =>
  withServer({ noRange: true }, async (server) => {
    await loadFile(server.url);
    assert.equal(server.requests.length, 1);
  }));

test('a server without Range and without length', () => withServer({ noRange: true, chunked: true }, async (server) => void (await loadFile(server.url))));

test('30 dropped connections: finished, at most 105 % of the file sent, If-Range on resuming', () => {
  let cuts = 0;
  let x = 7;
  return withServer(
    {
      cutAfter: ({ begin, end }) => {
        if (cuts >= 30 || end - begin < 1000) return undefined;
        cuts++;
        x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff;
        return (x >>> 8) % (end - begin);
      },
    },
    async (server) => {
      await loadFile(server.url);
      assert.equal(cuts, 30);
      assert.ok(server.bytesSent <= FILE.length * 1.05, `${server.bytesSent} of ${FILE.length}`);
      assert.ok(server.requests.some(({ ifRange }) => ifRange === '"v1"'));
    },
  );
});

test('a page of this origin sends If-Range here, and not where a redirect leads: another site would be asked for permission', async () => {
  const { createServer } = await import('node:http');
  const drops = { cutAfter: (/** @type {{n: number}} */ { n }) => (n === 1 ? 5000 : undefined) };
  const far = await serveFile(FILE, drops);
  const near = await serveFile(FILE, drops);
  const origin = (/** @type {string} */ url) => new URL(url).origin;
  const door = createServer((_, response) => void response.writeHead(302, { Location: far.url }).end());
  await new Promise((resolve) => door.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (door.address());
  const before = Object.getOwnPropertyDescriptor(globalThis, 'location');
  const visit = (/** @type {string} */ url) => {
    Object.defineProperty(globalThis, 'location', { value: { href: url, origin: origin(url) }, configurable: true });
    return loadFile(url);
  };
  try {
    await visit(near.url);
    await visit(`http://127.0.0.1:${port}/model.tansy`);
    assert.ok(near.requests.some(({ ifRange }) => ifRange === '"v1"'));
    assert.ok(far.requests.length > 2 && far.requests.every(({ ifRange }) => ifRange === undefined));
  } finally {
    if (before === undefined) Reflect.deleteProperty(globalThis, 'location');
    else Object.defineProperty(globalThis, 'location', before);
    door.closeAllConnections();
    door.close();
    await Promise.all([near.close(), far.close()]);
  }
});

test('a server without Range that drops is read again from the start', () =>
  withServer({ noRange: true, cutAfter: ({ n }) => (n < 2 ? 100000 * (n + 1) : undefined) }, async (server) => {
    await loadFile(server.url);
    assert.equal(server.requests.length, 3);
  }));

test('a silent connection counts as dropped', async () => {
  const { createServer } = await import('node:http');
  let n = 0;
  const server = createServer((request, response) => {
    const [, a, b] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? [];
    const end = Math.min(Number(b) + 1, FILE.length);
    response.writeHead(206, { 'Content-Range': `bytes ${a}-${end - 1}/${FILE.length}`, 'Content-Length': end - Number(a) });
    const body = FILE.subarray(Number(a), end);
    if (n++ === 1) response.write(body.subarray(0, 5000));
    else response.end(body);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  try {
    await loadFile(`http://127.0.0.1:${port}/`, {}, { stallMs: 500 });
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test('HTTP 404 is an error at once', () =>
  withServer({ status: () => 404 }, async (server) => {
    await assert.rejects(loadFile(server.url), { code: 'TANSY_HTTP', message: /404.*check the address/ });
    assert.equal(server.requests.length, 1);
  }));

test('HTTP 503 is tried again', () =>
  withServer({ status: (n) => (n === 0 || n === 3 ? 503 : undefined) }, async (server) => void (await loadFile(server.url))));

test('a server that stays away is TANSY_NETWORK', async () => {
  const server = await serveFile(FILE);
  await server.close();
  await assert.rejects(loadFile(server.url), { code: 'TANSY_NETWORK', message: /4 times in a row/ });
});

test('a file that changes in between is TANSY_CHANGED', () =>
  withServer({ etag: (n) => (n < 2 ? '"v1"' : '"v2"') }, async (server) => assert.rejects(loadFile(server.url), { code: 'TANSY_CHANGED' })));

test('a changed file answers If-Range with 200', () =>
  withServer({ etag: (n) => (n < 2 ? '"v1"' : '"v2"'), cutAfter: ({ n }) => (n === 1 ? 5000 : undefined) }, async (server) =>
    assert.rejects(loadFile(server.url), { code: 'TANSY_CHANGED' }),
  ));

test('a wrong chunk is fetched once more', () => {
  let lies = 0;
  return withServer(
    {
      body: (bytes, begin) => {
        if (begin === 0 || lies > 0) return bytes;
        lies++;
        const bad = bytes.slice();
        bad[bad.length >> 1] ^= 1;
        return bad;
      },
    },
    async (server) => {
      await loadFile(server.url);
      assert.ok(server.bytesSent <= FILE.length + CHUNK);
    },
  );
});

test('a chunk that is wrong twice is TANSY_CHECKSUM with its place', () => {
  const at = HEADER + 20 * CHUNK + 77;
  return withServer(
    {
      body: (bytes, begin) => {
        if (at < begin || at >= begin + bytes.length) return bytes;
        const bad = bytes.slice();
        bad[at - begin] ^= 0x80;
        return bad;
      },
    },
    async (server) => {
      await assert.rejects(loadFile(server.url), (/** @type {any} */ error) => {
        assert.equal(error.code, 'TANSY_CHECKSUM');
        assert.equal(error.details.chunk, 20);
        assert.equal(error.details.offset, HEADER + 20 * CHUNK);
        return true;
      });
    },
  );
});

test('a wrong chunk of a server without Range is fetched once more', () => {
  return withServer(
    {
      noRange: true,
      body: (bytes, begin, n) => {
        if (n > 0) return bytes;
        const bad = bytes.slice();
        bad[HEADER + 5 * CHUNK] ^= 1;
        return bad;
      },
    },
    async (server) => void (await loadFile(server.url)),
  );
});

test('a file that is too short or too long is an error before any weight is read', async () => {
  for (const [file, code] of /** @type {const} */ ([
    [FILE.subarray(0, FILE.length - 1), 'TANSY_TRUNCATED'],
    [Uint8Array.from([...FILE, 0]), 'TANSY_CORRUPT'],
  ])) {
    const server = await serveFile(file);
    await assert.rejects(loadFile(server.url), { code });
    assert.equal(server.requests.length, 1);
    await server.close();
  }
});

test('bytes, Blob, stream and a Source of one’s own give the same', async () => {
  await loadFile(FILE);
  await loadFile(FILE.buffer);
  await loadFile(new Blob([FILE]));
  await loadFile(new Blob([FILE]).stream());
  const inner = await openSource(FILE);
  await loadFile({ name: 'mine', size: undefined, sequential: true, rereadable: true, read: inner.read.bind(inner), close: async () => {} });
});

test('a stream that ends early or fails, or that is wrong once, is an error', async () => {
  await assert.rejects(loadFile(new Blob([FILE.subarray(0, 200000)]).stream()), { code: 'TANSY_TRUNCATED', message: /200000 bytes/ });
  const failing = new ReadableStream({ pull: (controller) => controller.error(new Error('tape torn')) });
  await assert.rejects(loadFile(failing), { code: 'TANSY_SOURCE', message: /tape torn/ });
  const bad = FILE.slice();
  bad[HEADER + 3 * CHUNK] ^= 1;
  await assert.rejects(loadFile(new Blob([bad]).stream()), { code: 'TANSY_CHECKSUM', message: /cannot be read again/ });
  await assert.rejects(loadFile(/** @type {any} */ (42)), { code: 'TANSY_SOURCE', message: /got number/ });
});

test('a path that does not exist, a folder', async () => {
  await assert.rejects(loadFile('/no/such/file.tansy'), { code: 'TANSY_NOT_FOUND', message: /\/no\/such\/file\.tansy/ });
  await assert.rejects(loadFile('tests'), { code: 'TANSY_NOT_FOUND', message: /not a file/ });
});

test('AbortSignal stops the download and closes the connections', () =>
  withServer({}, async (server) => {
    const controller = new AbortController();
    const onProgress = (/** @type {any} */ { loaded }) => loaded > 0 && controller.abort(new Error('enough'));
    await assert.rejects(loadFile(server.url, { signal: controller.signal, onProgress }), (/** @type {any} */ error) => {
      assert.equal(error.code, 'TANSY_ABORTED');
      assert.equal(error.name, 'AbortError');
      assert.equal(error.cause.message, 'enough');
      return true;
    });
  }));

test('AbortSignal stops the wait between attempts', () =>
  withServer({ status: () => 503 }, async (server) => {
    const source = await openSource(server.url, { attempts: 5, delayMs: 60000 });
    const started = performance.now();
    const read = async () => {
      for await (const piece of source.read(0, 100, AbortSignal.timeout(30))) assert.fail(String(piece));
    };
    await assert.rejects(read(), { code: 'TANSY_ABORTED' });
    assert.ok(performance.now() - started < 30000);
  }));

test('progress grows to the total, with rate and seconds left', () =>
  withServer({}, async (server) => {
    /** @type {import('../../js/loader.js').Progress[]} */
    const seen = [];
    await loadFile(server.url, { onProgress: (/** @type {any} */ p) => seen.push(p) });
    assert.ok(seen.length >= 2);
    for (let i = 1; i < seen.length; i++) assert.ok(seen[i].loaded >= seen[i - 1].loaded);
    const last = seen[seen.length - 1];
    assert.deepEqual([last.loaded, last.total, last.secondsLeft], [FILE.length, FILE.length, 0]);
    assert.ok(last.rate > 0);
  }));
