/**
 * loader.js: moves the chunks of a file from a Source into the heap.
 *
 * A few workers take runs of chunks in file order. Each writes what arrives straight into a staging slot of the engine, which
 * verifies the chunk and takes it; nothing else keeps file bytes, but for the attachments (tokenizer, templates), which
 * never enter the heap's weights and are copied out of the slots here.
 */
import { newBytes } from './bytes.js';
import { TansyError, throwIfAborted } from './errors.js';

const CHECKSUM = 4; /* TANSY_ERR_CHECKSUM */
const RUN_NBYTES = 1 << 20; /* of one request: large enough to hide a round trip, small enough to share out */
const MAX_CONNECTIONS = 3;
const PROGRESS_EVERY_MS = 50;

/**
 * What the loader needs of an engine.
 * @typedef {object} ChunkSink
 * @property {number} nChunks
 * @property {(i: number) => number} chunkOffset byte of the file
 * @property {(i: number) => number} chunkNbytes
 * @property {(i: number) => number | undefined} chunkBegin takes a slot; undefined when none is free
 * @property {(i: number, slot: number) => Uint8Array} chunkView where to write; good until the next turn, as the memory may grow meanwhile
 * @property {(i: number) => number} chunkEnd status
 * @property {(i: number) => void} chunkAbort
 * @property {(status: number) => TansyError} error with what the engine knows of it
 */

/**
 * @typedef {object} AttachmentPlace
 * @property {string} name
 * @property {number} offset byte of the file
 * @property {number} nbytes
 * @property {'raw' | 'gzip'} encoding
 * @property {number} rawNbytes
 */

/**
 * @typedef {object} Progress
 * @property {number} loaded bytes of the file that are there
 * @property {number} total
 * @property {number} rate bytes a second, lately
 * @property {number} secondsLeft at that rate
 */

/** @typedef {(i: number, copies: Uint8Array[]) => void} OnChunk chunk i was verified and taken; copies: the attachments so far */

/**
 * @param {object} job
 * @param {ChunkSink} job.sink
 * @param {import('./source.js').Source} job.source
 * @param {Uint8Array} job.front bytes of the file's start that were read already
 * @param {number} job.fileNbytes
 * @param {AttachmentPlace[]} job.attachments
 * @param {AbortSignal} [job.signal]
 * @param {(progress: Progress) => void} [job.onProgress]
 * @param {OnChunk} [job.onChunk]
 * @param {number} [job.connections]
 * @returns {Promise<Uint8Array[]>} the attachments' bytes, as they lie in the file
 */
export async function loadChunks({ sink, source, front, fileNbytes, attachments, signal, onProgress, onChunk, connections = MAX_CONNECTIONS }) {
  if (source.size !== undefined && source.size !== fileNbytes) throw lengthError(source, fileNbytes);
  const copies = attachments.map(({ nbytes }) => newBytes(nbytes));
  const meter = new Meter(fileNbytes, sink.nChunks > 0 ? sink.chunkOffset(0) : fileNbytes, onProgress);
  const slots = new Slots(sink);
  /* one failing worker stops the others */
  const controller = new AbortController();
  const stop = () => controller.abort(signal?.reason);
  throwIfAborted(signal);
  signal?.addEventListener('abort', stop, { once: true });

  const runs = cutRuns(sink, source.sequential ? Infinity : RUN_NBYTES);
  const worker = async () => {
    for (let run = runs.shift(); run !== undefined; run = runs.shift())
      await loadRun(run, { sink, source, front, attachments, copies, meter, slots, onChunk, signal: controller.signal });
  };
  const nWorkers = source.sequential ? 1 : Math.min(connections, runs.length);
  const workers = Array.from({ length: nWorkers }, worker);
  try {
    await Promise.all(workers);
  } catch (error) {
    controller.abort(error);
    slots.wake();
    await Promise.allSettled(workers);
    throwIfAborted(signal);
    throw error;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
  meter.report(true);
  return copies;
}

/** @typedef {{first: number, end: number}} Run chunks [first, end) */

/**
 * @param {ChunkSink} sink
 * @param {number} nbytes
 * @returns {Run[]}
 */
function cutRuns(sink, nbytes) {
  const runs = [];
  for (let first = 0; first < sink.nChunks; ) {
    let end = first;
    let size = 0;
    while (end < sink.nChunks && (size === 0 || size + sink.chunkNbytes(end) <= nbytes)) size += sink.chunkNbytes(end++);
    runs.push({ first, end });
    first = end;
  }
  return runs;
}

/**
 * @typedef {object} RunContext
 * @property {ChunkSink} sink
 * @property {import('./source.js').Source} source
 * @property {Uint8Array} front
 * @property {AttachmentPlace[]} attachments
 * @property {Uint8Array[]} copies
 * @property {Meter} meter
 * @property {Slots} slots
 * @property {OnChunk} [onChunk]
 * @property {AbortSignal} signal
 */

/**
 * @param {Run} run
 * @param {RunContext} context
 */
async function loadRun({ first, end }, context) {
  const { sink, source, signal } = context;
  const begin = sink.chunkOffset(first);
  const nbytes = sink.chunkOffset(end - 1) + sink.chunkNbytes(end - 1) - begin;
  const pieces = new Pieces(withFront(context.front, source, begin, nbytes, signal), source);
  pieces.begin(); /* while there is only one slot, another run waits for the server meanwhile */
  try {
    for (let i = first; i < end; i++)
      if (!(await loadChunk(i, pieces, context))) {
        if (!source.rereadable) throw checksumError(source, sink, i, 'and the stream cannot be read again');
        const again = new Pieces(source.read(sink.chunkOffset(i), sink.chunkNbytes(i), signal), source);
        try {
          if (!(await loadChunk(i, again, context))) throw checksumError(source, sink, i, 'twice');
        } finally {
          await again.close();
        }
      }
  } finally {
    await pieces.close();
  }
}

/**
 * @param {number} i
 * @param {Pieces} pieces
 * @param {RunContext} context
 * @returns {Promise<boolean>} false: the checksum is wrong
 */
async function loadChunk(i, pieces, { sink, source, attachments, copies, meter, slots, onChunk, signal }) {
  const slot = await slots.take(i, signal);
  const nbytes = sink.chunkNbytes(i);
  let status;
  try {
    for (let at = 0; at < nbytes; ) {
      const piece = await pieces.next(nbytes - at);
      if (piece === undefined) throw truncatedError(source, sink.chunkOffset(i) + at);
      sink.chunkView(i, slot).set(piece, at);
      at += piece.length;
      meter.add(piece.length);
    }
    copyAttachments(sink.chunkView(i, slot), sink.chunkOffset(i), attachments, copies);
    status = sink.chunkEnd(i);
  } catch (error) {
    sink.chunkAbort(i);
    throw error;
  } finally {
    slots.wake();
  }
  if (status === 0) {
    onChunk?.(i, copies);
    return true;
  }
  if (status !== CHECKSUM) throw sink.error(status);
  meter.add(-nbytes);
  return false;
}

/**
 * Staging slots are few: whoever finds none free waits for the next one.
 */
class Slots {
  /** @type {(() => void)[]} */
  #waiting = [];
  /** @param {ChunkSink} sink */
  constructor(sink) {
    this.sink = sink;
  }
  /**
   * @param {number} i
   * @param {AbortSignal} signal
   * @returns {Promise<number>}
   */
  async take(i, signal) {
    for (;;) {
      throwIfAborted(signal);
      const slot = this.sink.chunkBegin(i);
      if (slot !== undefined) return slot;
      await new Promise((resolve) => this.#waiting.push(() => resolve(undefined)));
    }
  }
  wake() {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** Pieces of a Source cut to the lengths asked for. */
class Pieces {
  /** @type {Uint8Array} */
  #rest = new Uint8Array(0);
  #iterator;
  /** @type {Promise<IteratorResult<Uint8Array>> | undefined} */
  #first;
  /**
   * @param {AsyncIterable<Uint8Array>} iterable
   * @param {import('./source.js').Source} source
   */
  constructor(iterable, source) {
    this.#iterator = iterable[Symbol.asyncIterator]();
    this.source = source;
  }
  /** Asks for the first piece before anybody waits for it. */
  begin() {
    this.#first = this.#iterator.next();
    this.#first.catch(() => {}); /* next() tells */
  }
  /**
   * @param {number} most
   * @returns {Promise<Uint8Array | undefined>}
   */
  async next(most) {
    while (this.#rest.length === 0) {
      const { value, done } = await (this.#first ?? this.#iterator.next());
      this.#first = undefined;
      if (done) return undefined;
      this.#rest = value;
    }
    const piece = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(piece.length);
    return piece;
  }
  async close() {
    await this.#iterator.return?.();
  }
}

/**
 * Bytes [offset, offset + nbytes), as far as possible from `front`, which holds the file's start.
 * @param {Uint8Array} front
 * @param {import('./source.js').Source} source
 * @param {number} offset
 * @param {number} nbytes
 * @param {AbortSignal} signal
 */
async function* withFront(front, source, offset, nbytes, signal) {
  const n = Math.max(0, Math.min(front.length - offset, nbytes));
  if (n > 0) yield front.subarray(offset, offset + n);
  if (nbytes > n) yield* source.read(offset + n, nbytes - n, signal);
}

/**
 * @param {Uint8Array} chunk
 * @param {number} offset of the chunk in the file
 * @param {AttachmentPlace[]} attachments
 * @param {Uint8Array[]} copies
 */
function copyAttachments(chunk, offset, attachments, copies) {
  attachments.forEach((place, k) => {
    const begin = Math.max(place.offset, offset);
    const end = Math.min(place.offset + place.nbytes, offset + chunk.length);
    if (begin < end) copies[k].set(chunk.subarray(begin - offset, end - offset), begin - place.offset);
  });
}

/** Counts bytes and tells onProgress, not too often. */
class Meter {
  #loaded;
  #lastReport = -Infinity;
  /** (time, loaded) pairs of the last seconds
   * @type {[number, number][]} */
  #window = [];
  /**
   * @param {number} total
   * @param {number} loaded
   * @param {((progress: Progress) => void) | undefined} onProgress
   */
  constructor(total, loaded, onProgress) {
    this.total = total;
    this.#loaded = loaded;
    this.onProgress = onProgress;
    this.#window.push([performance.now(), loaded]);
  }
  /** @param {number} nbytes */
  add(nbytes) {
    this.#loaded += nbytes;
    this.report(false);
  }
  /** @param {boolean} last */
  report(last) {
    if (this.onProgress === undefined) return;
    const now = performance.now();
    if (!last && now - this.#lastReport < PROGRESS_EVERY_MS) return;
    this.#lastReport = now;
    this.#window.push([now, this.#loaded]);
    while (this.#window.length > 2 && now - this.#window[0][0] > 3000) this.#window.shift();
    const [since, before] = this.#window[0];
    const rate = now > since ? Math.max(0, ((this.#loaded - before) / (now - since)) * 1000) : 0;
    const left = this.total - this.#loaded;
    this.onProgress({ loaded: this.#loaded, total: this.total, rate, secondsLeft: left === 0 ? 0 : rate > 0 ? left / rate : Infinity });
  }
}

/**
 * @param {import('./source.js').Source} source
 * @param {number} offset
 */
function truncatedError(source, offset) {
  return new TansyError('TANSY_TRUNCATED', `${source.name} ends after ${offset} bytes, before its model does; download or copy it again.`, { offset });
}

/**
 * @param {import('./source.js').Source} source
 * @param {number} fileNbytes
 */
export function lengthError(source, fileNbytes) {
  const size = /** @type {number} */ (source.size);
  if (size < fileNbytes)
    return new TansyError('TANSY_TRUNCATED', `${source.name} has ${size} bytes of ${fileNbytes}: it is cut off; download or copy it again.`, {
      bytes: size,
      bytesExpected: fileNbytes,
    });
  return new TansyError('TANSY_CORRUPT', `${source.name} has ${size} bytes where its index speaks of ${fileNbytes}; download or copy it again.`, {
    bytes: size,
    bytesExpected: fileNbytes,
  });
}

/**
 * @param {import('./source.js').Source} source
 * @param {ChunkSink} sink
 * @param {number} i
 * @param {string} how
 */
function checksumError(source, sink, i, how) {
  const offset = sink.chunkOffset(i);
  return new TansyError(
    'TANSY_CHECKSUM',
    `${source.name}: the checksum of the ${sink.chunkNbytes(i)} bytes at ${offset} is wrong, ${how}; the file is damaged, download it again.`,
    { chunk: i, offset },
  );
}

