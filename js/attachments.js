/** attachments.js: the small files inside a `.tansy` file (tokenizer, templates), as text. */
import { newBytes } from './bytes.js';
import { TansyError } from './errors.js';

/** Of all attachments together, packed and unpacked: tokenizers are of some ten MB. They are held as they are said to be before a byte comes. */
const MAX_NBYTES = 1 << 28;

/**
 * @param {readonly import('./loader.js').AttachmentPlace[]} places
 * @param {string} name of the file
 */
export function checkAttachments(places, name) {
  const nbytes = places.reduce((sum, place) => sum + place.nbytes + place.rawNbytes, 0);
  if (nbytes > MAX_NBYTES)
    throw new TansyError('TANSY_UNSUPPORTED', `${name} speaks of ${nbytes} bytes of attached files; at most ${MAX_NBYTES} are supported.`, { bytes: nbytes });
}

/**
 * @param {Uint8Array} bytes as they lie in the file
 * @param {import('./loader.js').AttachmentPlace} place
 * @returns {Promise<string>}
 */
export async function attachmentText(bytes, place) {
  let raw = bytes;
  if (place.encoding === 'gzip') {
    raw = newBytes(place.rawNbytes);
    let at = 0;
    try {
      const stream = new Blob([/** @type {BlobPart} */ (bytes)]).stream().pipeThrough(new DecompressionStream('gzip'));
      for await (const piece of readAll(stream)) {
        if (at + piece.length > raw.length) throw new Error('it is longer than the index says');
        raw.set(piece, at);
        at += piece.length;
      }
      if (at !== raw.length) throw new Error('it is shorter than the index says');
    } catch (error) {
      throw new TansyError('TANSY_CORRUPT', `The attachment ${place.name} cannot be unpacked: ${/** @type {Error} */ (error).message}.`, { attachment: place.name }, error);
    }
  }
  return new TextDecoder().decode(raw);
}

/**
 * Not every browser iterates over streams.
 * @param {ReadableStream<Uint8Array>} stream
 */
async function* readAll(stream) {
  const reader = stream.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    yield value;
  }
}
