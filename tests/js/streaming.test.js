// A file streams through JavaScript: never much of it is there at once, whatever the server.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { loadChunks } from '../../js/loader.js';
import { openSource } from '../../js/source.js';

const MIB = 2 ** 20;
const FILE_NBYTES = 40 * MIB;
const CHUNK = 1 << 16;

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc');

/* in a thread of its own, so that what it holds is not counted; sends as fast as it is taken */
const SERVER = `
const { parentPort, workerData } = require('node:worker_threads');
const { createServer } = require('node:http');
const piece = Buffer.alloc(1 << 18, 7);
const server = createServer(async (request, response) => {
  const match = /bytes=(\\d+)-(\\d+)/.exec(workerData.ranges ? request.headers.range ?? '' : '');
  const [begin, end] = match ? [Number(match[1]), Math.min(Number(match[2]) + 1, workerData.nbytes)] : [0, workerData.nbytes];
  const headers = { 'Content-Length': end - begin, ETag: '"one"' };
  response.writeHead(match ? 206 : 200, match ? { ...headers, 'Content-Range': 'bytes ' + begin + '-' + (end - 1) + '/' + workerData.nbytes } : headers);
  for (let at = begin; at < end && !response.destroyed; at += piece.length)
    if (!response.write(piece.subarray(0, Math.min(piece.length, end - at)))) await new Promise((resolve) => { const go = () => { response.off('drain', go).off('close', go); resolve(); }; response.on('drain', go).on('close', go); });
  response.end();
});
server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
`;

for (const ranges of [true, false])
  test(`at most 4 MiB of the file are in JavaScript at any time, ${ranges ? 'range by range' : 'in one stream'}`, async () => {
    const worker = new Worker(SERVER, { eval: true, workerData: { ranges, nbytes: FILE_NBYTES } });
    try {
      const port = await new Promise((resolve) => worker.once('message', resolve));
      const source = await openSource(`http://127.0.0.1:${port}/`);
      const slots = Array.from({ length: 4 }, () => new Uint8Array(CHUNK));
      const free = [0, 1, 2, 3];
      /** @type {Map<number, number>} */
      const taken = new Map();
      let taking = 0;
      let most = 0;
      gc();
      gc();
      const before = process.memoryUsage().arrayBuffers;
      const sink = {
        nChunks: FILE_NBYTES / CHUNK,
        chunkOffset: (/** @type {number} */ i) => i * CHUNK,
        chunkNbytes: () => CHUNK,
        chunkBegin(/** @type {number} */ i) {
          const slot = free.pop();
          if (slot !== undefined) taken.set(i, slot);
          return slot;
        },
        chunkView: (/** @type {number} */ _, /** @type {number} */ slot) => slots[slot],
        chunkEnd(/** @type {number} */ i) {
          free.push(/** @type {number} */ (taken.get(i)));
          if (taking++ % 16 === 0) {
            gc();
            gc(); /* what the first one found is given back by the second at the latest */
            most = Math.max(most, process.memoryUsage().arrayBuffers - before);
          }
          return 0;
        },
        chunkAbort: () => {},
        error: () => assert.fail(),
      };
      await loadChunks({ sink, source, front: new Uint8Array(0), fileNbytes: FILE_NBYTES, attachments: [] });
      await source.close();
      assert.equal(taking, FILE_NBYTES / CHUNK);
      assert.ok(most <= 4 * MIB, `${(most / MIB).toFixed(2)} MiB`);
    } finally {
      await worker.terminate();
    }
  });
