// A small HTTP server over the repository, with the habits of good and bad servers to choose from.

import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createGzip } from 'node:zlib';

export const root = fileURLToPath(new URL('../../../', import.meta.url));

const TYPES = new Map([
  ['.html', 'text/html; charset=utf-8'],
  ['.js', 'text/javascript; charset=utf-8'],
  ['.mjs', 'text/javascript; charset=utf-8'],
  ['.css', 'text/css; charset=utf-8'],
  ['.svg', 'image/svg+xml'],
  ['.wasm', 'application/wasm'],
]);

/**
 * @typedef {object} Habits
 * @property {boolean} [isolated]  sends COOP and COEP
 * @property {boolean} [ranges]    honours Range; true when left out
 * @property {boolean} [gzip]      compresses files that are not scripts or pages, and so sends no length and no ranges of them
 * @property {boolean} [cors]      lets other origins read
 * @property {string} [csp]        Content-Security-Policy of every document
 * @property {number} [bytesPerSecond]  of files that are not scripts or pages
 * @property {number} [failAfter]  cuts each connection, and refuses all others, after so many bytes of such files
 * @property {string} [version]    part of every ETag
 * @property {boolean} [unmarked]  sends no ETag
 * @property {Map<string, Uint8Array | string>} [extra]  what lies at these paths, besides the repository
 */

/** @param {Habits} [habits] may be changed while the server runs */
export async function startServer(habits = {}) {
  /** @type {string[]} */
  const requests = [];
  const sent = { nbytes: 0 };
  const server = createServer(async (request, response) => {
    const { isolated, ranges = true, gzip, cors, csp, bytesPerSecond = Infinity, failAfter = Infinity, version = '', unmarked, extra = new Map() } = habits;
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    requests.push(`${request.method} ${pathname}${request.headers.range ? ` ${request.headers.range}` : ''}`);
    if (isolated) {
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    }
    if (cors) {
      response.setHeader('Access-Control-Allow-Origin', '*');
      response.setHeader('Access-Control-Expose-Headers', 'Content-Range, Content-Length, ETag, Accept-Ranges');
      response.setHeader('Access-Control-Allow-Headers', '*');
    }
    if (request.method === 'OPTIONS' || pathname === '/favicon.ico') {
      response.writeHead(204).end();
      return;
    }
    const found = await open(pathname.endsWith('/') ? `${pathname}index.html` : pathname, extra);
    if (!found) {
      response.writeHead(404, { 'Content-Type': 'text/plain' }).end('Not found');
      return;
    }
    const type = TYPES.get(extname(found.name)) ?? 'application/octet-stream';
    response.setHeader('Content-Type', type);
    if (csp && type.startsWith('text/html')) response.setHeader('Content-Security-Policy', csp);
    if (!unmarked) response.setHeader('ETag', `"${found.nbytes}-${found.version}${version}"`);
    let [begin, end] = [0, found.nbytes];
    const isPage = TYPES.has(extname(found.name));
    const packs = gzip && !isPage;
    if (ranges && !packs) {
      response.setHeader('Accept-Ranges', 'bytes');
      const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
      if (match) {
        begin = Number(match[1]);
        end = match[2] ? Math.min(Number(match[2]) + 1, found.nbytes) : found.nbytes;
        if (begin >= end) {
          response.writeHead(416, { 'Content-Range': `bytes */${found.nbytes}` }).end();
          return;
        }
        response.statusCode = 206;
        response.setHeader('Content-Range', `bytes ${begin}-${end - 1}/${found.nbytes}`);
      }
    }
    if (packs) response.setHeader('Content-Encoding', 'gzip');
    else response.setHeader('Content-Length', end - begin);
    const body = request.method === 'HEAD' ? Readable.from([]) : found.read(begin, end);
    // A client that goes away, and a connection that is to fail, are no errors here.
    await pipeline(body, packs ? createGzip({ level: 1 }) : new PassThrough(), isPage ? new PassThrough() : throttle, response).catch(() => response.destroy());

    /** @param {AsyncIterable<Buffer>} pieces */
    async function* throttle(pieces) {
      for await (const piece of pieces) {
        if (sent.nbytes + piece.length > failAfter) throw new Error('the connection is to fail');
        sent.nbytes += piece.length;
        yield piece;
        if (bytesPerSecond < Infinity) await setTimeout((1000 * piece.length) / bytesPerSecond);
      }
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  return {
    url: `http://localhost:${port}`,
    habits,
    requests,
    /** bytes of models and the like, of all requests */
    sent,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

/**
 * @param {string} pathname
 * @param {Map<string, Uint8Array | string>} extra
 */
async function open(pathname, extra) {
  const given = extra.get(pathname);
  if (given !== undefined) {
    const content = Buffer.from(given);
    return {
      name: pathname,
      nbytes: content.length,
      version: 'extra',
      read: (/** @type {number} */ begin, /** @type {number} */ end) => Readable.from([content.subarray(begin, end)]),
    };
  }
  const path = normalize(join(root, decodeURIComponent(pathname)));
  const info = path.startsWith(root) ? await stat(path).catch(() => null) : null;
  if (!info?.isFile()) return null;
  return {
    name: path,
    nbytes: info.size,
    version: String(info.mtimeMs),
    read: (/** @type {number} */ begin, /** @type {number} */ end) => createReadStream(path, { start: begin, end: end - 1 }),
  };
}
