/**
 * serve_api.js: OpenAI's HTTP API over a model: POST /v1/chat/completions, POST /v1/completions (with server-sent events) and
 * GET /v1/models. Requests run one after the other; a client that goes away stops its work.
 */
import { TansyError } from '../errors.js';

/** @typedef {import('node:http').IncomingMessage} Request */
/** @typedef {import('node:http').ServerResponse} Response */
/** @typedef {import('../model.js').Model} Model */

/** Larger requests than any context holds. */
const MAX_BODY_NBYTES = 16 * 2 ** 20;
/** Requests under way, the one that runs and those that wait: each holds its body. */
const MOST_WAITING = 256;
/** A client that takes nothing for so long is gone, whatever its connection says. */
const STALLED_MS = 60000;

const MAX_MESSAGE = 1000;

/** What is the caller's doing, and not the server's. */
const STATUSES = Object.freeze(
  /** @type {Record<string, number>} */ ({ TANSY_OPTION: 400, TANSY_SCHEMA: 400, TANSY_CHAT_TEMPLATE: 400, TANSY_CONTEXT: 400, TANSY_TOKENIZER: 400, TANSY_NO_TOKENIZER: 400 }),
);
/** Codes that clients of OpenAI know by another name. */
const CODES = Object.freeze(/** @type {Record<string, string>} */ ({ TANSY_CONTEXT: 'context_length_exceeded' }));

/** An answer that is an error, in OpenAI's shape. */
class HttpError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   * @param {string} code
   * @param {Record<string, string>} [headers]
   */
  constructor(status, message, code, headers = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

/**
 * @typedef {object} ApiOptions
 * @property {string} name the model's id
 * @property {() => Promise<Model>} model loads it, when first asked
 * @property {string} [chatTemplate] in place of the file's own
 * @property {boolean} [cors] let pages of other sites ask
 * @property {number} [mostWaiting] requests at a time; beyond it they are told to come again
 * @property {number} [stalledMs] how long a client may take nothing of its answer
 */

/**
 * Whether a request may name this server so. A page of another site can give a name of its own this machine's address (DNS
 * rebinding), and is then of the same origin to the browser: a server for this machine only answers to this machine's names.
 * @param {string | undefined} name the header Host
 * @param {string} host that the server listens on
 */
export function mayAsk(name, host) {
  if (!isLoopback(host)) return true;
  return isLoopback((name ?? '').replace(/:\d+$/, ''));
}

/** @param {string} host */
function isLoopback(host) {
  return /^(?:(?:[a-z0-9-]+\.)*localhost\.?|127(?:\.\d{1,3}){3}|::1|\[::1\])$/i.test(host);
}

/**
 * @param {ApiOptions} options
 * @returns {(request: Request, response: Response) => Promise<boolean>} false: not an address of the API
 */
export function apiHandler({ name, model, chatTemplate, cors = false, mostWaiting = MOST_WAITING, stalledMs = STALLED_MS }) {
  const created = Math.floor(Date.now() / 1000);
  let nWaiting = 0;
  const answer = async (/** @type {Request} */ request, /** @type {Response} */ response, /** @type {Create} */ create) => {
    if (nWaiting >= mostWaiting) throw new HttpError(429, `${nWaiting} requests are waiting already; try again later.`, 'rate_limit_exceeded', { 'Retry-After': '5', Connection: 'close' });
    nWaiting++;
    try {
      await answerOne(request, response, create, stalledMs);
    } finally {
      nWaiting--;
    }
  };
  const facts = { id: name, object: 'model', created, owned_by: 'tansy' };

  /** @type {Record<string, Partial<Record<string, (request: Request, response: Response) => Promise<void>>>>} */
  const routes = {
    '/v1/models': { GET: async (_, response) => json(response, 200, { object: 'list', data: [facts] }) },
    [`/v1/models/${name}`]: { GET: async (_, response) => json(response, 200, facts) },
    '/v1/chat/completions': {
      POST: (request, response) =>
        answer(request, response, async (body, signal) => {
          const ready = await model();
          return ready.chat.completions.create({ model: name, ...(chatTemplate === undefined ? {} : { chat_template: chatTemplate }), ...body }, { signal });
        }),
    },
    '/v1/completions': {
      POST: (request, response) => answer(request, response, async (body, signal) => (await model()).completions.create({ model: name, ...body }, { signal })),
    },
  };

  return async (request, response) => {
    let path;
    try {
      path = decodeURIComponent(new URL(request.url ?? '/', 'http://x').pathname);
    } catch {
      return false;
    }
    if (path !== '/v1' && !path.startsWith('/v1/')) return false;
    if (cors) response.setHeader('Access-Control-Allow-Origin', '*');
    try {
      const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
      if (route === undefined) throw new HttpError(404, `There is no ${path} here; there are ${Object.keys(routes).join(', ')}.`, 'not_found');
      const methods = Object.keys(route).join(', ');
      if (cors && request.method === 'OPTIONS') {
        /* the openai client sends headers of its own, with changing names */
        const asked = request.headers['access-control-request-headers'] ?? 'Content-Type';
        response.writeHead(204, { 'Access-Control-Allow-Methods': methods, 'Access-Control-Allow-Headers': asked, 'Access-Control-Max-Age': '86400' }).end();
        return true;
      }
      const handler = route[request.method ?? ''];
      if (handler === undefined) throw new HttpError(405, `${path} takes ${methods}; got ${request.method}.`, 'method_not_allowed', { Allow: methods });
      await handler(request, response);
    } catch (error) {
      fail(response, error);
    }
    return true;
  };
}

/** @typedef {(body: any, signal: AbortSignal) => Promise<object>} Create */

/**
 * Reads a request, and writes what comes of it: one JSON object, or a stream of events.
 * @param {Request} request
 * @param {Response} response
 * @param {Create} create
 * @param {number} stalledMs
 */
async function answerOne(request, response, create, stalledMs) {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const body = await readBody(request);
  const result = await create(body, gone.signal);
  if (!(Symbol.asyncIterator in result)) return json(response, 200, result);
  const chunks = /** @type {AsyncIterable<unknown>} */ (result)[Symbol.asyncIterator]();
  try {
    /* an error before the first chunk is an answer with a status of its own */
    let next = await chunks.next();
    response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8', 'Cache-Control': 'no-cache', 'X-Accel-Buffering': 'no' });
    for (; !next.done; next = await chunks.next()) await write(response, `data: ${JSON.stringify(next.value)}\n\n`, gone.signal, stalledMs);
    response.end('data: [DONE]\n\n');
  } finally {
    await chunks.return?.();
  }
}

/**
 * Waits for a client that reads slowly; one that has stopped reading would hold the model for ever.
 * @param {Response} response
 * @param {string} text
 * @param {AbortSignal} signal of the connection's end
 * @param {number} stalledMs
 */
async function write(response, text, signal, stalledMs) {
  if (response.write(text) || signal.aborted) return;
  const timer = setTimeout(() => response.destroy(), stalledMs);
  /** @type {() => void} */
  let go = () => {};
  await new Promise((resolve) => {
    go = () => resolve(undefined);
    response.once('drain', go);
    signal.addEventListener('abort', go);
  });
  clearTimeout(timer);
  response.off('drain', go);
  signal.removeEventListener('abort', go);
}

/**
 * @param {Request} request
 * @returns {Promise<unknown>}
 */
async function readBody(request) {
  /* a page of another site may send text/plain without asking first; it may not make this machine work */
  if (!/^application\/json\b/i.test(request.headers['content-type'] ?? ''))
    throw new HttpError(415, 'Send the request as JSON, with the header Content-Type: application/json.', 'unsupported_media_type');
  /** @type {Buffer[]} */
  const parts = [];
  let nbytes = 0;
  for await (const part of request) {
    nbytes += part.length;
    if (nbytes > MAX_BODY_NBYTES) throw new HttpError(413, `The request is larger than ${MAX_BODY_NBYTES} bytes; shorten it.`, 'request_too_large', { Connection: 'close' });
    parts.push(part);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString('utf8'));
  } catch (error) {
    throw new HttpError(400, `The request is not JSON: ${/** @type {Error} */ (error).message}.`, 'invalid_json');
  }
}

/**
 * @param {Response} response
 * @param {unknown} error
 */
function fail(response, error) {
  if (response.destroyed) return;
  const { status, body, headers } = describe(error);
  if (!response.headersSent) return json(response, status, body, headers);
  response.end(`data: ${JSON.stringify(body)}\n\n`);
}

/**
 * @param {unknown} error
 * @returns {{status: number, body: object, headers?: Record<string, string>}}
 */
function describe(error) {
  if (error instanceof HttpError) return { status: error.status, body: shape(error.message, 'invalid_request_error', error.code), headers: error.headers };
  if (error instanceof TansyError) {
    const status = STATUSES[error.code] ?? 500;
    const param = typeof error.details.param === 'string' ? error.details.param : null;
    return { status, body: shape(error.message, status === 400 ? 'invalid_request_error' : 'server_error', CODES[error.code] ?? error.code, param) };
  }
  return { status: 500, body: shape(error instanceof Error ? error.message : String(error), 'server_error', null) };
}

/**
 * @param {string} message
 * @param {string} type
 * @param {string | null} code
 * @param {string | null} [param]
 */
function shape(message, type, code, param = null) {
  /* a message may repeat what it is about */
  return { error: { message: message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…` : message, type, param, code } };
}

/**
 * @param {Response} response
 * @param {number} status
 * @param {object} body
 * @param {Record<string, string>} [headers]
 */
function json(response, status, body, headers = {}) {
  response.writeHead(status, { 'Content-Type': 'application/json; charset=utf-8', ...headers }).end(JSON.stringify(body));
}
