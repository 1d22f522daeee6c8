/**
 * http_source.js: a file on a server, read by Range requests; resumes where a connection dropped.
 *
 * The first request decides: 206 means ranges work, 200 means the server sends the whole file in order, and the body of
 * that very request is read on. Validators (ETag, else Last-Modified, else the size) of the first answer must hold for
 * every later one: a file that changed in between is an error, never a mixture.
 */
import { TansyError, abortError, throwIfAborted } from './errors.js';

/** @import { Source } from './source.js' */

/**
 * @typedef {object} RetryOptions
 * @property {number} [attempts] requests in a row that may bring no byte before giving up; 5
 * @property {number} [delayMs] before the second retry, a tenth of it before the first, doubled each time after; 250
 * @property {number} [stallMs] a connection silent for so long counts as dropped; 30000
 */

/** Statuses worth another attempt: timeouts, rate limits, servers and gateways in trouble. */
const TRANSIENT = new Set([408, 425, 429, 500, 502, 503, 504]);
const MAX_DELAY_MS = 15000;

/** What a dropped connection is to `read`: try again from where it stopped. */
class Dropped extends Error {
  /**
   * @param {string} message
   * @param {number} [waitMs] as the server asks (Retry-After)
   */
  constructor(message, waitMs = 0) {
    super(message);
    this.waitMs = waitMs;
  }
}

/** One body under way: its reader and the file offset of the next byte. */
class Body {
  /**
   * @param {ReadableStreamDefaultReader<Uint8Array>} reader
   * @param {number} position
   * @param {number} end file offset where the body should end; Infinity where unknown
   * @param {AbortController} controller
   * @param {boolean} isWhole the whole file, from a server that ignores Range
   */
  constructor(reader, position, end, controller, isWhole) {
    this.reader = reader;
    this.position = position;
    this.end = end;
    this.controller = controller;
    this.isWhole = isWhole;
    /** @type {Uint8Array} received but not asked for */
    this.rest = new Uint8Array(0);
  }
  close() {
    this.controller.abort();
  }
}

export class HttpSource {
  rereadable = true;
  sequential = false;
  /** @type {number | undefined} */
  size = undefined;
  /** requests sent and body bytes received; the tests of frugality read them */
  counters = { requests: 0, bytes: 0 };
  /** @type {string | null} */
  #etag = null;
  /** @type {string | null} */
  #modified = null;
  #answered = false;
  #closed = false;
  /** of who answers, where redirects end */
  #origin;
  /** A whole body that a read has left, for the next one that begins behind it. Whoever reads on in it takes it out: two reads at
   * once, as when a server gives up ranges in the middle of a file, have a body each.
   * @type {Body | undefined} */
  #left;
  #url;
  #retry;

  /**
   * @param {URL} url
   * @param {RetryOptions} [retry]
   */
  constructor(url, retry = {}) {
    this.#url = url;
    this.#origin = url.origin;
    this.name = url.protocol === 'data:' || url.protocol === 'blob:' ? `the ${url.protocol} address` : url.href;
    this.#retry = { attempts: retry.attempts ?? 5, delayMs: retry.delayMs ?? 250, stallMs: retry.stallMs ?? 30000 };
  }

  /** What identifies this version of the file: ETag, else date, else undefined. A cache may key on it. */
  get validator() {
    return this.#etag ?? this.#modified ?? undefined;
  }

  /**
   * @param {number} offset
   * @param {number} nbytes
   * @param {AbortSignal} [signal]
   * @returns {AsyncGenerator<Uint8Array>}
   */
  async *read(offset, nbytes, signal) {
    const end = offset + nbytes;
    let failures = 0;
    /** @type {Body | undefined} */
    let body;
    try {
      while (offset < end) {
        try {
          body = this.#takeLeft(offset) ?? (await this.#request(offset, end, failures, signal));
          if (body === undefined) return; /* at or past the end of the file */
          while (body.isWhole && body.position < offset) if ((await this.#next(body, offset - body.position, signal)) === undefined) return;
          for (;;) {
            const piece = await this.#next(body, end - offset, signal);
            if (piece === undefined) return;
            failures = 0;
            offset += piece.length;
            yield piece;
            if (offset >= end) return;
          }
        } catch (error) {
          body?.close();
          body = undefined;
          throwIfAborted(signal);
          if (!(error instanceof Dropped)) throw error;
          if (++failures >= this.#retry.attempts)
            throw new TansyError(
              'TANSY_NETWORK',
              `${this.name} failed ${failures === 1 ? 'once' : `${failures} times in a row`} (${error.message}); check the connection${this.#answered || !this.#isForeign() ? '' : ', and that the server lets this page read the file (Access-Control-Allow-Origin)'}, and load again.`,
              { url: this.name },
              error,
            );
          await pause(Math.max(error.waitMs, this.#backoff(failures)), signal);
        }
      }
    } finally {
      if (body?.isWhole && !this.#closed) {
        this.#left?.close();
        this.#left = body;
      } else body?.close();
    }
  }

  async close() {
    this.#closed = true;
    this.#left?.close();
    this.#left = undefined;
  }

  /** The whole body that an earlier read left, if it has not passed `offset`. @param {number} offset */
  #takeLeft(offset) {
    const left = this.#left;
    this.#left = undefined;
    if (left === undefined || left.position <= offset) return left;
    left.close();
    return undefined;
  }

  /** @param {number} failures */
  #backoff(failures) {
    /* the first retry comes soon: most drops are over by then */
    const delay = this.#retry.delayMs * (failures === 1 ? 0.1 : 2 ** (failures - 2));
    return Math.min(delay * (0.75 + Math.random() / 2), MAX_DELAY_MS);
  }

  /**
   * A body that is positioned at `offset`, or whole.
   * @param {number} offset
   * @param {number} end
   * @param {number} failures so far, in a row
   * @param {AbortSignal} [signal]
   * @returns {Promise<Body | undefined>}
   */
  async #request(offset, end, failures, signal) {
    if (this.size !== undefined && offset >= this.size) return undefined;
    /* Chromium shows nothing of a compressed answer to a Range: before giving up, one request goes without */
    const whole = !this.#answered && failures > 0 && failures === this.#retry.attempts - 1;
    const controller = new AbortController();
    const stop = () => controller.abort();
    throwIfAborted(signal);
    signal?.addEventListener('abort', stop, { once: true });
    const timer = setTimeout(stop, this.#retry.stallMs);
    let response;
    this.counters.requests++;
    try {
      response = await fetch(this.#url, { headers: whole ? {} : this.#headers(offset, end, failures > 0), signal: controller.signal, cache: 'no-store' });
    } catch (error) {
      throwIfAborted(signal);
      throw new Dropped(controller.signal.aborted ? 'no answer' : reasonOf(error));
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    }
    try {
      /* ranges of a compressed body are of no use, and may not even be ranges of the file */
      if (response.status === 206 && isEncoded(response.headers) && !this.sequential) {
        controller.abort();
        this.sequential = true;
        return await this.#request(offset, end, failures, signal);
      }
      return this.#accept(response, offset, controller, whole);
    } catch (error) {
      controller.abort();
      throw error;
    }
  }

  /** Whether a page reads from another origin than its own, which that server must allow. */
  #isForeign() {
    const page = globalThis.location?.origin;
    return page !== undefined && page !== this.#origin;
  }

  /**
   * @param {number} offset
   * @param {number} end
   * @param {boolean} resuming
   */
  #headers(offset, end, resuming) {
    /** @type {Record<string, string>} */
    const headers = {};
    if (this.sequential || this.#url.protocol === 'data:') return headers;
    headers.Range = `bytes=${offset}-${end - 1}`;
    /* If-Range makes a foreign server ask for permission first (CORS preflight), so there the answer's ETag is compared instead */
    const validator = this.#etag !== null && !this.#etag.startsWith('W/') ? this.#etag : this.#etag === null ? this.#modified : null;
    if (resuming && this.#answered && validator !== null && !this.#isForeign()) headers['If-Range'] = validator;
    return headers;
  }

  /**
   * @param {Response} response
   * @param {number} offset
   * @param {AbortController} controller
   * @param {boolean} whole asked for without Range
   * @returns {Body | undefined}
   */
  #accept(response, offset, controller, whole) {
    const { status, headers } = response;
    if (response.redirected) this.#origin = new URL(response.url).origin;
    if (TRANSIENT.has(status)) throw new Dropped(`HTTP ${status}`, retryAfter(headers));
    if (status === 416) {
      /* "the file has only N bytes" */
      const total = /\/(\d+)$/.exec(headers.get('content-range') ?? '')?.[1];
      if (total !== undefined) this.#check(headers, Number(total));
      controller.abort();
      return undefined;
    }
    if (status !== 200 && status !== 206) throw httpError(status, this.name);
    if (response.body === null) throw new Dropped('an answer without a body');
    const reader = response.body.getReader();
    if (status === 206) {
      const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(headers.get('content-range') ?? '');
      /* a foreign server may hide Content-Range; then 206 itself is believed */
      if (range !== null && Number(range[1]) !== offset)
        throw new TansyError('TANSY_HTTP', `${this.name} sent another range than the one asked for; its Range support is broken.`, { status });
      this.#check(headers, range === null || range[3] === '*' ? undefined : Number(range[3]));
      return new Body(reader, offset, range === null ? Infinity : Number(range[2]) + 1, controller, false);
    }
    const length = isEncoded(headers) ? '' : headers.get('content-length') ?? '';
    this.#check(headers, /^\d+$/.test(length) ? Number(length) : undefined);
    if (!whole || isEncoded(headers)) this.sequential = true;
    return new Body(reader, 0, this.size ?? Infinity, controller, true);
  }

  /**
   * The next piece of a body, at most `most` bytes; undefined where the file ends.
   * @param {Body} body
   * @param {number} most
   * @param {AbortSignal} [signal]
   * @returns {Promise<Uint8Array | undefined>}
   */
  async #next(body, most, signal) {
    if (body.rest.length === 0) {
      const stop = () => body.controller.abort();
      throwIfAborted(signal);
      signal?.addEventListener('abort', stop, { once: true });
      const timer = setTimeout(stop, this.#retry.stallMs);
      try {
        const { value, done } = await body.reader.read();
        if (!done) {
          this.counters.bytes += value.length;
          body.rest = value;
        } else if (body.position >= (this.size ?? (Number.isFinite(body.end) ? body.end : 0))) {
          return undefined;
        } else {
          throw new Dropped('the connection closed early');
        }
      } catch (error) {
        throwIfAborted(signal);
        if (error instanceof Dropped) throw error;
        throw new Dropped(body.controller.signal.aborted ? `no byte for ${this.#retry.stallMs / 1000} s` : reasonOf(error));
      } finally {
        clearTimeout(timer);
        signal?.removeEventListener('abort', stop);
      }
    }
    const piece = body.rest.subarray(0, most);
    body.rest = body.rest.subarray(piece.length);
    body.position += piece.length;
    return piece;
  }

  /**
   * Remembers the first answer; later ones must agree with it.
   * @param {Headers} headers
   * @param {number | undefined} size
   */
  #check(headers, size) {
    const etag = headers.get('etag');
    const modified = headers.get('last-modified');
    if (!this.#answered) {
      this.#answered = true;
      this.#etag = etag;
      this.#modified = modified;
      this.size = size;
      return;
    }
    const differs =
      (size !== undefined && this.size !== undefined && size !== this.size) ||
      (etag !== null && this.#etag !== null ? etag !== this.#etag : modified !== null && this.#modified !== null && modified !== this.#modified);
    if (differs) throw new TansyError('TANSY_CHANGED', `${this.name} changed on the server during the download; load it again.`, { url: this.name });
  }
}

/**
 * @param {number} status
 * @param {string} name
 */
function httpError(status, name) {
  const advice =
    status === 404 || status === 410
      ? 'there is no such file; check the address'
      : status === 401 || status === 403
        ? 'access is denied; check the address and your permissions'
        : 'the server refused the request';
  return new TansyError('TANSY_HTTP', `${name}: HTTP ${status}, ${advice}.`, { status, url: name });
}

/** Whether the bytes that come are not those that were sent. @param {Headers} headers */
const isEncoded = (headers) => (headers.get('content-encoding') ?? 'identity') !== 'identity';

/** Milliseconds, from a number of seconds or a date. @param {Headers} headers */
function retryAfter(headers) {
  const value = headers.get('retry-after') ?? '';
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return ms > 0 ? Math.min(ms, MAX_DELAY_MS) : 0;
}

/** @param {unknown} error */
function reasonOf(error) {
  const { message, cause } = /** @type {Error} */ (error);
  return cause instanceof Error && cause.message ? cause.message : message;
}

/**
 * @param {number} ms
 * @param {AbortSignal} [signal]
 */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(abortError(/** @type {AbortSignal} */ (signal)));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve(undefined);
    }, ms);
    signal?.addEventListener('abort', stop, { once: true });
  });
}
