/**
 * folder.js: the folder of the origin private file system in which models are kept.
 *
 * Chromium drops an operation whose handle is collected meanwhile, and its promise then never settles: whoever waits for it waits
 * for ever. So handles are held here while anything of theirs is under way.
 */

/**
 * What TypeScript knows of workers only.
 * @typedef {object} SyncAccessHandle
 * @property {(buffer: Uint8Array, options: { at: number }) => number} read
 * @property {(buffer: Uint8Array, options: { at: number }) => number} write
 * @property {(nbytes: number) => void} truncate
 * @property {() => void} flush
 * @property {() => void} close
 */

/** @type {Set<{handle: FileSystemHandle}>} */
const underWay = new Set();

/**
 * @template {FileSystemHandle} H
 * @template T
 * @param {H} handle
 * @param {(handle: H) => Promise<T>} operation
 * @returns {Promise<T>}
 */
async function holding(handle, operation) {
  const hold = { handle };
  underWay.add(hold);
  try {
    return await operation(handle);
  } finally {
    underWay.delete(hold);
  }
}

export class Folder {
  #handle;

  /** @param {FileSystemDirectoryHandle} handle */
  constructor(handle) {
    this.#handle = handle;
  }

  /** @param {string} name */
  static async open(name) {
    return new Folder(await holding(await navigator.storage.getDirectory(), (top) => top.getDirectoryHandle(name, { create: true })));
  }

  /**
   * @param {string} name
   * @returns {Promise<File>} as it is now
   */
  async read(name) {
    return holding(await this.#file(name, false), (file) => file.getFile());
  }

  /**
   * To read and write it at once, alone; made if there is none.
   * @param {string} name
   * @returns {Promise<SyncAccessHandle>}
   */
  async openSync(name) {
    return holding(await this.#file(name, true), (file) => /** @type {any} */ (file).createSyncAccessHandle());
  }

  /** @param {string} name that there may be no file of */
  async remove(name) {
    await holding(this.#handle, (folder) => folder.removeEntry(name)).catch(() => {});
  }

  /** @returns {Promise<string[]>} of its files */
  names() {
    return holding(this.#handle, async (folder) => {
      const names = [];
      for await (const name of folder.keys()) names.push(name);
      return names;
    });
  }

  /**
   * @param {string} name
   * @param {boolean} create
   */
  #file(name, create) {
    return holding(this.#handle, (folder) => folder.getFileHandle(name, { create }));
  }
}
