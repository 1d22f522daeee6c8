// file_server.js: a local HTTP server for one file, which can be told to misbehave.
import { createServer } from 'node:http';

/**
 * @typedef {object} Faults
 * @property {boolean} [noRange] ignore Range: always 200
 * @property {(request: {method: string, begin: number, end: number, n: number}) => number | undefined} [cutAfter] destroy the connection
 *   after so many body bytes of request number n
 * @property {(n: number) => number | undefined} [status] answer with this status instead
 * @property {boolean} [noValidator] neither ETag nor Last-Modified
 * @property {(n: number) => string} [etag]
 * @property {(bytes: Uint8Array, begin: number, n: number) => Uint8Array} [body] what is really sent
 * @property {boolean} [chunked] no Content-Length
 */

/**
 * @param {Uint8Array} file
 * @param {Faults} [faults]
 */
export async function serveFile(file, faults = {}) {
  /** @type {{method: string, range: string | undefined, ifRange: string | undefined, sent: number}[]} */
  const requests = [];
  const server = createServer((request, response) => {
    const n = requests.length;
    const record = { method: request.method ?? '', range: request.headers.range, ifRange: request.headers['if-range']?.toString(), sent: 0 };
    requests.push(record);
    const status = faults.status?.(n);
    if (status !== undefined) return void response.writeHead(status).end('no');
    const etag = faults.etag?.(n) ?? '"v1"';
    const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const partial = match !== null && !faults.noRange && (record.ifRange === undefined || record.ifRange === etag);
    const begin = partial ? Number(match[1]) : 0;
    const end = partial ? Math.min(Number(match[2]) + 1, file.length) : file.length;
    if (partial && begin >= file.length) return void response.writeHead(416, { 'Content-Range': `bytes */${file.length}` }).end();
    const body = faults.body?.(file.subarray(begin, end), begin, n) ?? file.subarray(begin, end);
    const headers = {
      ...(faults.noValidator ? {} : { ETag: etag }),
      ...(faults.chunked ? {} : { 'Content-Length': end - begin }),
      ...(partial ? { 'Content-Range': `bytes ${begin}-${end - 1}/${file.length}` } : {}),
    };
    response.writeHead(partial ? 206 : 200, headers);
    const cut = faults.cutAfter?.({ method: record.method, begin, end, n });
    if (cut !== undefined && cut < body.length) {
      record.sent = cut;
      response.write(body.subarray(0, cut), () => setTimeout(() => response.destroy(), 5));
    } else {
      record.sent = body.length;
      response.end(body);
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  return {
    url: `http://127.0.0.1:${port}/model.tansy`,
    requests,
    get bytesSent() {
      return requests.reduce((sum, { sent }) => sum + sent, 0);
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve(undefined));
      }),
  };
}
