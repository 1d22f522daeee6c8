// Models in the browser's cache: downloaded once, gone on with after a break, never mixed, never taken for whole when they are not.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { launchChromium, openPage, skip, timeout } from './lib/chromium.mjs';
import { GREEDY, MODEL_PATH, PROMPT, nodeGreedy } from './lib/reference.mjs';
import { root, startServer } from './lib/server.mjs';

describe('the cache in Chromium', { skip, timeout }, () => {
  /** @type {import('playwright-core').Browser} */
  let browser;
  let expected = '';
  let fileNbytes = 0;
  before(async () => {
    browser = await launchChromium();
    expected = (await nodeGreedy()).text;
    fileNbytes = (await readFile(join(root, MODEL_PATH))).length;
  });
  after(() => browser?.close());

  /**
   * @param {(page: import('playwright-core').Page, server: Awaited<ReturnType<typeof startServer>>) => Promise<void>} run
   * @param {RegExp} [expectProblems]
   */
  async function inPage(run, expectProblems) {
    const server = await startServer({});
    const { page, problems, close } = await openPage(browser);
    try {
      await page.goto(`${server.url}/tests/browser/pages/blank.html`);
      await run(page, server);
      assert.deepEqual(expectProblems ? problems.filter((problem) => !expectProblems.test(problem)) : problems, []);
    } finally {
      await close();
      await server.close();
    }
  }

  /** @param {import('playwright-core').Page} page @param {object} [options] */
  const tell = (page, options = {}) =>
    page.evaluate(
      async ([path, prompt, greedy, options]) => {
        const { load } = await import('/dist/tansy.esm.js');
        try {
          const model = await load(path, options);
          const text = await model.generate(prompt, greedy).text();
          model.dispose();
          return text;
        } catch (error) {
          return error.code ?? String(error);
        }
      },
      [MODEL_PATH, PROMPT, GREEDY, options],
    );

  /** @param {import('playwright-core').Page} page */
  const models = (page) => page.evaluate(async () => (await import('/dist/tansy.esm.js')).cachedModels());

  it('a second load fetches one byte, to ask whether the file is the same', () =>
    inPage(async (page, server) => {
      assert.equal(await tell(page), expected);
      assert.deepEqual(await models(page), [{ url: server.url + MODEL_PATH, size: fileNbytes, complete: true }]);
      const before = server.sent.nbytes;
      await page.reload();
      assert.equal(await tell(page), expected);
      assert.equal(server.sent.nbytes - before, 1);
      server.habits.failAfter = 0;
      assert.equal(await tell(page), expected, 'without a connection too');
    }, /ERR_/));

  it('cache: false keeps nothing, and forgetModels() forgets', () =>
    inPage(async (page) => {
      assert.equal(await tell(page, { cache: false }), expected);
      assert.deepEqual(await models(page), []);
      assert.equal(await tell(page), expected);
      assert.equal((await models(page)).length, 1);
      await page.evaluate(async (path) => (await import('/dist/tansy.esm.js')).forgetModels(path), MODEL_PATH);
      assert.deepEqual(await models(page), []);
      assert.equal(await tell(page), expected);
    }));

  it('goes on with a broken download', () =>
    inPage(async (page, server) => {
      // Slowly, so that little is under way when it breaks.
      server.habits.bytesPerSecond = 1_000_000;
      server.habits.failAfter = Math.floor(fileNbytes * 0.6);
      assert.equal(await tell(page, { retry: { attempts: 2, delayMs: 10 } }), 'TANSY_NETWORK');
      const [{ complete }] = await models(page);
      assert.equal(complete, false);
      const first = server.sent.nbytes;
      assert.ok(first > fileNbytes * 0.3, `${first} bytes came`);
      server.habits.failAfter = Infinity;
      server.habits.bytesPerSecond = Infinity;
      assert.equal(await tell(page), expected);
      assert.ok(server.sent.nbytes <= fileNbytes * 1.05 + 3 * 65536, `${server.sent.nbytes} bytes for a file of ${fileNbytes}`);
      assert.equal((await models(page))[0].complete, true);
    }, /ERR_/));

  /** Everything in the cache's folder. @param {import('playwright-core').Page} page */
  const filesIn = (page) =>
    page.evaluate(async () => {
      const names = [];
      for await (const name of (await (await navigator.storage.getDirectory()).getDirectoryHandle('tansy')).keys()) names.push(name);
      return names;
    });

  it('keeps what a server compresses on the way, which tells no length', () =>
    inPage(async (page, server) => {
      server.habits.gzip = true;
      server.habits.failAfter = Math.floor(fileNbytes * 0.4);
      assert.equal(await tell(page, { retry: { attempts: 2, delayMs: 10 } }), 'TANSY_NETWORK');
      assert.deepEqual(await filesIn(page), [], 'a part cannot be gone on with, and does not stay');
      server.habits.failAfter = Infinity;
      assert.equal(await tell(page), expected);
      assert.deepEqual(await models(page), [{ url: server.url + MODEL_PATH, size: fileNbytes, complete: true }]);
      server.habits.bytesPerSecond = 1_000_000; // so that little comes before the question is withdrawn
      const before = server.sent.nbytes;
      assert.equal(await tell(page), expected);
      assert.ok(server.sent.nbytes - before < fileNbytes / 2, `${server.sent.nbytes - before} bytes`);
    }, /ERR_/));

  it('forgetModels() forgets also what has no record', () =>
    inPage(async (page) => {
      assert.equal(await tell(page), expected);
      const [data] = (await filesIn(page)).filter((name) => name.endsWith('.data'));
      await page.evaluate(async (name) => (await (await navigator.storage.getDirectory()).getDirectoryHandle('tansy')).removeEntry(name), data.replace('.data', '.json'));
      assert.deepEqual(await filesIn(page), [data]);
      await page.evaluate(async () => (await import('/dist/tansy.esm.js')).forgetModels());
      assert.deepEqual(await filesIn(page), []);
    }));

  it('fetches a file again when it changed on the server', () =>
    inPage(async (page, server) => {
      assert.equal(await tell(page), expected);
      server.habits.version = 'next';
      const before = server.sent.nbytes;
      assert.equal(await tell(page), expected);
      assert.ok(server.sent.nbytes - before >= fileNbytes);
      const after = server.sent.nbytes;
      assert.equal(await tell(page), expected);
      assert.equal(server.sent.nbytes - after, 1);
    }));

  it('notices another file of the same length where the server marks no versions', () =>
    inPage(async (page, server) => {
      const model = await readFile(join(root, MODEL_PATH));
      server.habits.unmarked = true;
      server.habits.extra = new Map([[MODEL_PATH, model]]);
      assert.equal(await tell(page), expected);
      let before = server.sent.nbytes;
      assert.equal(await tell(page), expected);
      assert.ok(server.sent.nbytes - before < 10_000, 'the same file: its header');
      const other = Buffer.from(model);
      other[other.indexOf('tansy', 8)] ^= 0x20; // within the shell's JSON, which nobody reads here
      server.habits.extra.set(MODEL_PATH, other);
      before = server.sent.nbytes;
      assert.equal(await tell(page), expected);
      assert.ok(server.sent.nbytes - before >= fileNbytes, `${server.sent.nbytes - before} bytes`);
      before = server.sent.nbytes;
      assert.equal(await tell(page), expected);
      assert.ok(server.sent.nbytes - before < 10_000);
    }));

  it('does not go on with another version of a file', () =>
    inPage(async (page, server) => {
      server.habits.failAfter = Math.floor(fileNbytes * 0.6);
      assert.equal(await tell(page, { retry: { attempts: 2, delayMs: 10 } }), 'TANSY_NETWORK');
      server.habits.failAfter = Infinity;
      server.habits.version = 'next';
      const before = server.sent.nbytes;
      assert.equal(await tell(page), expected);
      assert.ok(server.sent.nbytes - before >= fileNbytes);
    }, /ERR_/));

  it('a damaged cache is noticed by its checksum, mended from the network and thrown away', () =>
    inPage(async (page, server) => {
      assert.equal(await tell(page), expected);
      await page.evaluate(async () => {
        const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('tansy');
        for await (const [name, handle] of folder.entries()) {
          if (!name.endsWith('.data')) continue;
          const { size } = await handle.getFile();
          const writable = await handle.createWritable({ keepExistingData: true });
          await writable.write({ type: 'write', position: size >> 1, data: new Uint8Array(64).fill(0xaa) });
          await writable.close();
        }
      });
      const before = server.sent.nbytes;
      assert.equal(await tell(page), expected);
      assert.ok(server.sent.nbytes - before <= 300_000, 'one chunk was fetched');
      assert.deepEqual(await models(page), []);
      assert.equal(await tell(page), expected);
      assert.equal((await models(page))[0].complete, true);
    }));

  it('whatever lies in its place, the model is loaded', () =>
    inPage(async (page) => {
      assert.equal(await tell(page), expected);
      /** @param {string | null} record text of the record; null: as it is @param {number} [damage] a byte of the data to change @param {number} [length] of the data */
      const tamper = (record, damage, length) =>
        page.evaluate(
          async ([record, damage, length]) => {
            const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('tansy');
            for await (const [name, handle] of folder.entries()) {
              const writable = await handle.createWritable({ keepExistingData: true });
              if (name.endsWith('.json') && record !== null) {
                await writable.truncate(0);
                await writable.write(record);
              }
              if (name.endsWith('.data') && damage !== undefined) await writable.write({ type: 'write', position: damage, data: new Uint8Array([0xee]) });
              if (name.endsWith('.data') && length !== undefined) await writable.truncate(length);
              await writable.close();
            }
          },
          /** @type {const} */ ([record, damage, length]),
        );
      const { url } = (await models(page))[0];
      const sound = { url, validator: null, size: fileNbytes, complete: true, ranges: [[0, fileNbytes]] };
      for (const record of ['', 'null', '{}', ...[{ size: '9' }, { size: 1e300 }, { ranges: [5] }, { ranges: [[0, 1e15]] }, { complete: false, ranges: [[0, 100000]] }].map((change) => JSON.stringify({ ...sound, ...change }))]) {
        await tamper(record);
        assert.ok((await models(page)).every(({ url: kept, size }) => kept === url && size === fileNbytes), record);
        assert.equal(await tell(page), expected, record);
      }
      /* the front: magic, version, a checksum of the index; and a file that is too short or too long */
      for (const damage of [0, 9, 60, 400]) {
        await tamper(null, damage);
        assert.equal(await tell(page), expected, `byte ${damage}`);
      }
      for (const length of [0, 100000, fileNbytes + 1]) {
        await tamper(null, undefined, length);
        assert.equal(await tell(page), expected, `${length} bytes`);
      }
      assert.equal((await models(page))[0].complete, true);
    }, /one thread/)); // a damaged front may tell of a large file

  it('without room it warns and goes on', () =>
    inPage(async (page, server) => {
      const session = await page.context().newCDPSession(page);
      await session.send('Storage.overrideQuotaForOrigin', { origin: server.url, quotaSize: 300_000 });
      const warned = page.waitForEvent('console', (message) => /no room/.test(message.text()));
      assert.equal(await tell(page), expected);
      await warned;
      assert.deepEqual(await models(page), []);
    }, /no room/));

  it('two tabs load the same model at once', () =>
    inPage(async (page, server) => {
      server.habits.bytesPerSecond = 2_000_000;
      const other = await page.context().newPage();
      await other.goto(page.url());
      assert.deepEqual(await Promise.all([tell(page), tell(other)]), [expected, expected]);
      assert.equal((await models(page))[0].complete, true);
      const before = server.sent.nbytes;
      assert.deepEqual(await Promise.all([tell(page), tell(other)]), [expected, expected]);
      assert.equal(server.sent.nbytes - before, 2);
    }));

  it('no operation is lost when the collector runs meanwhile', () =>
    inPage(async (page) => {
      const got = await page.evaluate(
        () =>
          new Promise((resolve, reject) => {
            const worker = new Worker('/tests/browser/pages/folder_worker.js', { type: 'module' });
            worker.onmessage = ({ data }) => resolve(data);
            worker.onerror = ({ message }) => reject(new Error(message));
            worker.postMessage({ times: 1500, patienceMs: 5000 });
          }),
      );
      assert.deepEqual(got, { lost: 0, names: [] });
    }));
});
