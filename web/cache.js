/**
 * cache.js: models that were downloaded before, kept in the origin private file system.
 *
 * Two files an address: NAME.data, whose bytes lie where they lie in the model, and NAME.json, the record that says what
 * of them is there and of which version of the file. Data is written as it arrives and flushed before a record that
 * speaks of it; a record says "complete" only after the engine has verified every checksum. So a broken download is
 * gone on with, and never taken for a model.
 *
 * A Web Lock lets one tab write; another that comes meanwhile reads what is complete, or runs uncached. Whatever goes
 * wrong with the storage (no quota, private browsing), the model is loaded from the network all the same.
 */
import { TansyError } from '../js/errors.js';
import { HttpSource } from '../js/http_source.js';
import { Folder } from './folder.js';
import { absolute } from './protocol.js';
import { Ranges } from './ranges.js';

/** @import { Source } from '../js/source.js' */
/** @import { SyncAccessHandle } from './folder.js' */

const FOLDER = 'tansy';
const PIECE_NBYTES = 1 << 18;
/** A record is written again after so many new bytes: what an interrupted download may have to fetch twice. */
const RECORD_EVERY_NBYTES = 1 << 22;

/**
 * @typedef {object} CacheRecord
 * @property {string} url
 * @property {string | null} validator ETag or date of the version
 * @property {number} size bytes of the file
 * @property {boolean} complete
 * @property {import('./ranges.js').Range[]} ranges bytes that are there
 */

/** @param {string} url */
async function nameOf(url) {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(url));
  return Array.from(new Uint8Array(digest, 0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

const openFolder = () => Folder.open(FOLDER);

/** @param {any} record @returns {record is CacheRecord} */
function isRecord(record) {
  const { url, validator, size, complete, ranges } = record ?? {};
  if (typeof url !== 'string' || typeof complete !== 'boolean' || (validator !== null && typeof validator !== 'string') || !Array.isArray(ranges)) return false;
  const isPlace = (/** @type {unknown} */ at) => Number.isSafeInteger(at) && Number(at) >= 0 && Number(at) <= size;
  return isPlace(size) && ranges.every((range) => Array.isArray(range) && range.length === 2 && range.every(isPlace));
}

/**
 * @param {Folder} folder
 * @param {string} name
 * @returns {Promise<CacheRecord | null>}
 */
async function readRecord(folder, name) {
  try {
    const file = await folder.read(`${name}.json`);
    const record = JSON.parse(await file.text());
    return isRecord(record) ? record : null;
  } catch {
    return null; // there is none, or it was cut off while being written
  }
}

/**
 * The header of a model that is kept (src/format/FORMAT.md): a safetensors shell and the index. Nothing, where it makes no sense.
 * @param {Folder} folder
 * @param {string} name
 * @returns {Promise<Uint8Array>}
 */
async function readHeader(folder, name) {
  const file = await folder.read(`${name}.data`).catch(() => new Blob());
  const view = async (/** @type {number} */ begin, /** @type {number} */ end) => new DataView(await file.slice(begin, end).arrayBuffer());
  const front = await view(0, 8);
  if (front.byteLength < 8) return new Uint8Array(0);
  const indexAt = 8 + Number(front.getBigUint64(0, true));
  const nbytes = await view(indexAt + 12, indexAt + 16);
  if (nbytes.byteLength < 4) return new Uint8Array(0);
  return new Uint8Array(await file.slice(0, indexAt + nbytes.getUint32(0, true)).arrayBuffer());
}

/**
 * @param {Folder} folder
 * @param {string} name
 */
async function remove(folder, name) {
  // The record first: data without a record is nothing.
  for (const file of [`${name}.json`, `${name}.data`]) await folder.remove(file);
}

/** The data file while this worker alone writes it. */
class Writer {
  #release;
  #unrecorded = 0;

  /**
   * @param {Folder} folder
   * @param {string} name
   * @param {SyncAccessHandle} handle
   * @param {() => void} release the lock
   */
  constructor(folder, name, handle, release) {
    this.folder = folder;
    this.name = name;
    this.handle = handle;
    this.#release = release;
  }

  /**
   * @param {Folder} folder
   * @param {string} name
   * @returns {Promise<Writer | null>} null: another tab is writing
   */
  static async open(folder, name) {
    const release = await lockIfFree(`tansy-cache-${name}`);
    if (release === null) return null;
    try {
      return new Writer(folder, name, await folder.openSync(`${name}.data`), release);
    } catch (error) {
      release();
      throw error;
    }
  }

  /**
   * @param {number} offset
   * @param {number} nbytes
   */
  async read(offset, nbytes) {
    const piece = new Uint8Array(nbytes);
    return piece.subarray(0, this.handle.read(piece, { at: offset }));
  }

  /**
   * @param {Uint8Array} piece
   * @param {number} offset
   * @returns {boolean} a record is due
   */
  write(piece, offset) {
    // A write cut short is a full disk.
    if (this.handle.write(piece, { at: offset }) !== piece.length) throw new DOMException('The disk is full.', 'QuotaExceededError');
    this.#unrecorded += piece.length;
    return this.#unrecorded >= RECORD_EVERY_NBYTES;
  }

  /** @param {CacheRecord} record */
  async record(record) {
    this.#unrecorded = 0;
    this.handle.flush();
    const file = await this.folder.openSync(`${this.name}.json`);
    try {
      file.truncate(0);
      file.write(new TextEncoder().encode(JSON.stringify(record)), { at: 0 });
      file.flush();
    } finally {
      file.close();
    }
  }

  close() {
    this.handle.close();
    this.#release();
  }
}

/**
 * @param {string} name
 * @returns {Promise<(() => void) | null>} releases the lock; null: somebody has it
 */
function lockIfFree(name) {
  return new Promise((resolve, reject) => {
    navigator.locks
      .request(name, { ifAvailable: true }, (lock) => {
        if (lock === null) resolve(null);
        else return new Promise((release) => resolve(() => release(undefined)));
      })
      .catch(reject);
  });
}

/** Whether this browser, on this page, can keep models. Pages without HTTPS cannot. */
const canCache = () => isSecureContext && 'getDirectory' in navigator.storage && 'locks' in navigator;

/**
 * A model on a server, by way of the cache. It ends with commit() when the engine has accepted every byte, else with
 * abandon(); load()'s own close() only ends the requests.
 */
export class CachedSource {
  rereadable = true;
  /** bytes that came from the cache */
  cachedNbytes = 0;
  #http;
  #url;
  /** @type {CacheRecord | null} of what is in the cache */
  #record = null;
  /** @type {Writer | null} */
  #writer = null;
  /** A complete file. @type {File | null} */
  #file = null;
  /** Removes what the cache has of this model, once that is known. */
  #remove = async () => {};
  #have = new Ranges();
  /** What was given out from the cache: asked for again, its checksum was wrong, and it comes from the network. */
  #given = new Ranges();
  #isDamaged = false;
  #warn;
  #retry;

  /**
   * @param {string} url
   * @param {import('../js/http_source.js').RetryOptions} [retry]
   * @param {(message: string) => void} [warn]
   */
  constructor(url, retry, warn = () => {}) {
    this.#url = url;
    this.#http = new HttpSource(new URL(url), retry);
    this.#warn = warn;
    this.#retry = retry;
    this.name = this.#http.name;
  }

  /**
   * @param {string} url
   * @param {{ retry?: import('../js/http_source.js').RetryOptions, write: boolean, warn?: (message: string) => void }} options write: keep what is downloaded
   */
  static async open(url, { retry, write, warn }) {
    const source = new CachedSource(url, retry, warn);
    try {
      if (canCache()) await source.#open(write);
    } catch (error) {
      if (error instanceof TansyError) throw error;
      await source.#stopCaching(error);
    }
    return source;
  }

  /** To read it once more, from the cache where it is there. */
  reopen() {
    return CachedSource.open(this.#url, { retry: this.#retry, write: false, warn: this.#warn });
  }

  get size() {
    return this.#http.size ?? this.#record?.size;
  }

  get sequential() {
    return this.#http.sequential && this.#file === null;
  }

  /** @param {boolean} write */
  async #open(write) {
    const folder = await openFolder();
    const name = await nameOf(this.#url);
    this.#remove = () => remove(folder, name);
    let record = await readRecord(folder, name);
    if (record && !(await this.#isCurrent(record, folder, name))) record = null;
    if (record?.complete) {
      this.#file = await folder.read(`${name}.data`);
      if (this.#file.size === record.size) {
        this.#record = record;
        this.#have.add(0, record.size);
        return;
      }
      this.#file = null;
      record = null;
    }
    if (!write) return;
    this.#writer = await Writer.open(folder, name);
    if (!this.#writer) return;
    // Another tab may have written since.
    if (record && JSON.stringify(await readRecord(folder, name)) !== JSON.stringify(record)) record = null;
    if (record) {
      this.#record = record;
      this.#have = new Ranges(record.ranges);
    } else {
      await folder.remove(`${name}.json`);
      this.#writer.handle.truncate(0);
    }
  }

  /**
   * Asks the server, by one byte, whether the file is still the one in the cache; where it marks no versions, by the model's header,
   * which holds the checksums of all its bytes. Without a connection a complete file is believed.
   * @param {CacheRecord} record
   * @param {Folder} folder
   * @param {string} name
   */
  async #isCurrent(record, folder, name) {
    if (!record.complete && record.validator === null) return false; // nothing would tell two versions apart
    const kept = record.validator === null ? await readHeader(folder, name) : null;
    const probe = new HttpSource(new URL(this.#url), { attempts: 2, delayMs: 10 });
    try {
      let at = 0;
      for await (const piece of probe.read(0, kept?.length ?? 1)) {
        if (kept !== null && piece.some((byte, i) => byte !== kept[at + i])) return false;
        at += piece.length;
      }
      return (probe.validator ?? null) === record.validator && (probe.size === undefined || probe.size === record.size) && at > 0 && at === (kept?.length ?? at);
    } catch (error) {
      if (error instanceof TansyError && error.code === 'TANSY_NETWORK') return record.complete;
      throw error;
    } finally {
      await probe.close();
    }
  }

  /**
   * @param {number} offset
   * @param {number} nbytes
   * @param {AbortSignal} [signal]
   * @returns {AsyncGenerator<Uint8Array>}
   */
  async *read(offset, nbytes, signal) {
    const end = Math.min(offset + nbytes, this.size ?? Infinity);
    while (offset < end) {
      const { has, until } = this.#have.at(offset);
      const given = this.#given.at(offset);
      if (has && !given.has) {
        const piece = await this.#fromCache(offset, Math.min(end, until, given.until, offset + PIECE_NBYTES) - offset);
        if (piece !== null) {
          this.#given.add(offset, offset + piece.length);
          this.cachedNbytes += piece.length;
          offset += piece.length;
          yield piece;
          continue;
        }
      }
      this.#isDamaged ||= has;
      const stop = has ? Math.min(end, given.has ? given.until : until) : Math.min(end, until);
      const before = offset;
      for await (const piece of this.#http.read(offset, stop - offset, signal)) {
        this.#sameVersion();
        await this.#toCache(piece, offset);
        offset += piece.length;
        yield piece;
      }
      if (offset === before) return; // the file ends here
    }
  }

  /**
   * @param {number} offset
   * @param {number} nbytes
   * @returns {Promise<Uint8Array | null>}
   */
  async #fromCache(offset, nbytes) {
    try {
      const piece = this.#file
        ? new Uint8Array(await this.#file.slice(offset, offset + nbytes).arrayBuffer())
        : await /** @type {Writer} */ (this.#writer).read(offset, nbytes);
      if (piece.length > 0) return piece;
      throw new Error('the cached file is shorter than its record says');
    } catch (error) {
      await this.#stopCaching(error);
      return null;
    }
  }

  /**
   * @param {Uint8Array} piece
   * @param {number} offset
   */
  async #toCache(piece, offset) {
    if (!this.#writer) return;
    try {
      const due = this.#writer.write(piece, offset);
      this.#have.add(offset, offset + piece.length);
      if (due && this.#http.size !== undefined) await this.#writer.record(this.#makeRecord(this.#http.size, false));
    } catch (error) {
      await this.#stopCaching(error);
    }
  }

  /** A download that goes on from the cache must go on with the same version. */
  #sameVersion() {
    if (!this.#record || (this.#http.validator ?? null) === this.#record.validator) return;
    throw new TansyError('TANSY_CHANGED', `${this.name} changed on the server during the download; load it again.`, { url: this.name });
  }

  /**
   * @param {number} size
   * @param {boolean} complete
   * @returns {CacheRecord}
   */
  #makeRecord(size, complete) {
    return { url: this.#url, validator: this.#http.validator ?? this.#record?.validator ?? null, size, complete, ranges: this.#have.toJSON() };
  }

  /** Only the requests: see commit() and abandon(). */
  async close() {
    await this.#http.close();
  }

  /** The engine took every byte: from now on the file needs no network. */
  async commit() {
    const writer = this.#writer;
    if (!writer) {
      // What it holds was wrong somewhere; the next download replaces it.
      if (this.#file && this.#isDamaged) await this.#remove();
      return;
    }
    try {
      // A compressed body comes without a length: the file ends where what came does.
      const size = this.size ?? this.#have.list.at(-1)?.[1];
      if (size !== undefined && this.#have.isWhole(size)) {
        writer.handle.truncate(size);
        await writer.record(this.#makeRecord(size, true));
      }
      this.#writer = null;
      writer.close();
    } catch (error) {
      await this.#stopCaching(error);
    }
  }

  /**
   * Loading failed. What came is kept to go on from, unless it is the file itself that is wrong.
   * @param {unknown} error
   * @returns {Promise<boolean>} it may be what was in the cache that was wrong, which is gone now: another try is worth it
   */
  async abandon(error) {
    const isBad = error instanceof TansyError && ['TANSY_CHECKSUM', 'TANSY_CORRUPT', 'TANSY_TRUNCATED', 'TANSY_CHANGED', 'TANSY_NOT_TANSY'].includes(error.code);
    if (isBad) {
      this.#writer?.close();
      this.#writer = null;
      await this.#remove();
      return this.cachedNbytes > 0;
    }
    const writer = this.#writer;
    if (!writer) return false;
    this.#writer = null;
    try {
      if (this.size !== undefined) await writer.record(this.#makeRecord(this.size, false));
    } catch {
      // What the last record says is still true.
    }
    writer.close();
    if (this.size === undefined) await this.#remove();
    return false;
  }

  /** The storage failed: nothing of it is kept, and the network gives the rest. @param {unknown} error */
  async #stopCaching(error) {
    const isOurs = this.#writer !== null || this.#file !== null;
    this.#writer?.close();
    this.#writer = null;
    this.#file = null;
    this.#have = new Ranges();
    if (isOurs) await this.#remove();
    const { name, message } = /** @type {Error} */ (error);
    this.#warn(
      name === 'QuotaExceededError'
        ? `tansy: the browser has no room to keep ${this.name}; it will be downloaded again next time.`
        : `tansy: ${this.name} is not kept for next time (${message}).`,
    );
  }
}

/**
 * The models in the cache of this origin.
 * @returns {Promise<{ url: string, size: number, complete: boolean }[]>}
 */
export async function cachedModels() {
  const folder = await openFolder();
  const models = [];
  for (const file of await folder.names()) {
    if (!file.endsWith('.json')) continue;
    const record = await readRecord(folder, file.slice(0, -'.json'.length));
    if (record) models.push({ url: record.url, size: record.size, complete: record.complete });
  }
  return models;
}

/**
 * Deletes a model from the cache, or all of them.
 * @param {string | URL} [url]
 */
export async function forgetModels(url) {
  const folder = await openFolder();
  // All: also what a page that was closed has left without a record; records before their data.
  if (url === undefined) for (const file of (await folder.names()).sort().reverse()) await folder.remove(file);
  else await remove(folder, await nameOf(absolute(url)));
}
