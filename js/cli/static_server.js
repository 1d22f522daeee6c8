/**
 * static_server.js: files over HTTP as a model's page needs them: Range, ETag, If-Range, HEAD, and on request the headers
 * that isolate a page (COOP, COEP) or open the files to other sites (CORS).
 */
import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, sep } from 'node:path';
import { pipeline } from 'node:stream';

const TYPES = Object.freeze(
  /** @type {Record<string, string>} */ ({
    '.css': 'text/css; charset=utf-8',
    '.html': 'text/html; charset=utf-8',
    '.ico': 'image/x-icon',
    '.js': 'text/javascript; charset=utf-8',
    '.json': 'application/json',
    '.map': 'application/json',
    '.mjs': 'text/javascript; charset=utf-8',
    '.png': 'image/png',
    '.svg': 'image/svg+xml',
    '.txt': 'text/plain; charset=utf-8',
    '.wasm': 'application/wasm',
  }),
);

const HEADERS_MS = 10000;
const REQUEST_MS = 60000;

/**
 * @typedef {object} StaticOptions
 * @property {Readonly<Record<string, string>>} mounts address → file, or address ending in `/` → folder
 * @property {Readonly<Record<string, string>>} [redirects] address → address
 * @property {boolean} [isolate] send COOP and COEP
 * @property {boolean} [cors] let other sites read the files
 */

/** @typedef {import('node:http').IncomingMessage} Request */
/** @typedef {import('node:http').ServerResponse} Response */

/**
 * @param {StaticOptions} options
 * @returns {(request: Request, response: Response) => Promise<void>}
 */
export function staticHandler({ mounts, redirects = {}, isolate = false, cors = false }) {
  return async (request, response) => {
    if (isolate) {
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
      response.setHeader('Cross-Origin-Resource-Policy', 'same-origin');
    }
    if (cors) {
      response.setHeader('Access-Control-Allow-Origin', '*');
      response.setHeader('Access-Control-Expose-Headers', 'Accept-Ranges, Content-Length, Content-Range, ETag');
      response.setHeader('Access-Control-Allow-Headers', 'Range, If-Range');
      if (isolate) response.setHeader('Cross-Origin-Resource-Policy', 'cross-origin');
    }
    if (cors && request.method === 'OPTIONS') return void response.writeHead(204, { 'Access-Control-Max-Age': '86400' }).end();
    if (request.method !== 'GET' && request.method !== 'HEAD') return fail(response, 405, { Allow: 'GET, HEAD' });
    let path;
    try {
      path = decodeURIComponent(new URL(request.url ?? '/', 'http://x').pathname);
    } catch {
      return fail(response, 400);
    }
    if (Object.hasOwn(redirects, path)) return void response.writeHead(302, { Location: redirects[path] }).end();
    const file = await findFile(mounts, path);
    if (file === undefined) return fail(response, 404);
    sendFile(request, response, file);
  };
}

/**
 * @param {Response} response
 * @param {number} status
 * @param {Record<string, string>} [headers]
 */
function fail(response, status, headers) {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', ...headers }).end(`HTTP ${status}\n`);
}

/**
 * @param {Readonly<Record<string, string>>} mounts
 * @param {string} path
 * @returns {Promise<{path: string, size: number, etag: string, modified: Date} | undefined>}
 */
async function findFile(mounts, path) {
  if (path.includes('\0')) return undefined;
  for (const [address, target] of Object.entries(mounts)) {
    const isFolder = address.endsWith('/');
    if (isFolder ? !path.startsWith(address) : path !== address) continue;
    try {
      let real = await realpath(isFolder ? join(target, path.slice(address.length)) : target);
      /* neither `..` nor a link leads out of the folder */
      const root = await realpath(target);
      if (isFolder && real !== root && !real.startsWith(root + sep)) continue;
      let info = await stat(real);
      if (info.isDirectory()) {
        real = join(real, 'index.html');
        info = await stat(real);
      }
      if (!info.isFile()) continue;
      return { path: real, size: info.size, etag: `"${info.size.toString(16)}-${Math.trunc(info.mtimeMs).toString(16)}"`, modified: info.mtime };
    } catch {
      continue;
    }
  }
  return undefined;
}

/**
 * @param {Request} request
 * @param {Response} response
 * @param {{path: string, size: number, etag: string, modified: Date}} file
 */
function sendFile(request, response, { path, size, etag, modified }) {
  const headers = {
    'Accept-Ranges': 'bytes',
    'Cache-Control': 'no-cache',
    'Content-Type': TYPES[extname(path).toLowerCase()] ?? 'application/octet-stream',
    ETag: etag,
    'Last-Modified': modified.toUTCString(),
    'X-Content-Type-Options': 'nosniff',
  };
  if (request.headers['if-none-match']?.split(',').some((tag) => tag.trim() === '*' || tag.trim().replace(/^W\//, '') === etag))
    return void response.writeHead(304, headers).end();
  const condition = request.headers['if-range'];
  const fresh = condition === undefined || condition === etag || condition === headers['Last-Modified'];
  const range = fresh ? parseRange(request.headers.range, size) : undefined;
  if (range === null) return void response.writeHead(416, { ...headers, 'Content-Range': `bytes */${size}` }).end();
  const [begin, end] = range ?? [0, size];
  response.writeHead(range === undefined ? 200 : 206, {
    ...headers,
    'Content-Length': end - begin,
    ...(range === undefined ? {} : { 'Content-Range': `bytes ${begin}-${end - 1}/${size}` }),
  });
  if (request.method === 'HEAD' || begin === end) return void response.end();
  /* a client that goes away is no error */
  pipeline(createReadStream(path, { start: begin, end: end - 1 }), response, () => {});
}

/**
 * @param {string | undefined} header
 * @param {number} size
 * @returns {[begin: number, end: number] | undefined | null} undefined: the whole file (also for several ranges, which a server
 *   may ignore); null: nothing of it exists
 */
function parseRange(header, size) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? '');
  if (match === null || (match[1] === '' && match[2] === '')) return undefined;
  if (match[1] === '') {
    const n = Math.min(Number(match[2]), size);
    return n === 0 ? null : [size - n, size];
  }
  const begin = Number(match[1]);
  const end = match[2] === '' ? size : Math.min(Number(match[2]) + 1, size);
  if (match[2] !== '' && Number(match[2]) < begin) return undefined;
  return begin >= size ? null : [begin, end];
}

/**
 * @param {(request: Request, response: Response) => Promise<void>} handler
 * @param {number} port 0: any
 * @param {string} host
 * @returns {Promise<{url: string, port: number, close: () => Promise<void>}>}
 */
export async function listen(handler, port, host) {
  const server = createServer((request, response) => {
    handler(request, response).catch((error) => {
      if (!response.headersSent) fail(response, 500);
      else response.destroy(error);
    });
  });
  /* a request that takes longer to arrive is not meant to; Node answers it with 408 */
  server.headersTimeout = HEADERS_MS;
  server.requestTimeout = REQUEST_MS;
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => resolve(undefined));
  });
  const address = /** @type {import('node:net').AddressInfo} */ (server.address());
  const shown = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return {
    url: `http://${shown === '127.0.0.1' ? 'localhost' : shown}:${address.port}`,
    port: address.port,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
