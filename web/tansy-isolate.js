/**
 * tansy-isolate.js: makes a page cross-origin isolated (threads need that) on hosts where you cannot set headers.
 *
 * Put this file beside your page and load it first: <script src="tansy-isolate.js"></script>. It is two things in one,
 * because a service worker only governs pages in its own folder: in the page it registers itself as a service worker
 * and reloads once; as the service worker it adds the two headers to documents and workers. Nothing else passes
 * through it: models and other files are fetched as before. Where you can set headers, set them instead:
 *
 *   Cross-Origin-Opener-Policy: same-origin
 *   Cross-Origin-Embedder-Policy: require-corp
 */

(() => {
  if (typeof window === 'undefined') serve();
  else isolate(/** @type {HTMLScriptElement} */ (document.currentScript).src);

  /** @param {string} script */
  async function isolate(script) {
    const tried = 'tansy-isolate';
    if (crossOriginIsolated) {
      sessionStorage.removeItem(tried);
      return;
    }
    if (!isSecureContext || !navigator.serviceWorker) {
      console.info('tansy runs on one thread: service workers need HTTPS (or localhost).');
      return;
    }
    if (sessionStorage.getItem(tried)) {
      console.info('tansy runs on one thread: this browser did not isolate the page.');
      return;
    }
    // `credentialless` leaves images and scripts of other sites working; Safari only knows `require-corp`.
    const policy = 'credentialless' in window ? 'credentialless' : 'require-corp';
    try {
      await navigator.serviceWorker.register(`${script.split('?')[0]}?${policy}`);
      await navigator.serviceWorker.ready;
    } catch (error) {
      console.info(`tansy runs on one thread: ${/** @type {Error} */ (error).message}`);
      return;
    }
    sessionStorage.setItem(tried, '1'); // never reload twice
    location.reload();
  }

  function serve() {
    const worker = /** @type {any} */ (globalThis);
    worker.addEventListener('install', () => worker.skipWaiting());
    worker.addEventListener('activate', (/** @type {any} */ event) => event.waitUntil(worker.clients.claim()));
    worker.addEventListener('fetch', (/** @type {any} */ event) => {
      const { mode, destination } = event.request;
      if (mode === 'navigate' || destination === 'worker') event.respondWith(isolated(event.request));
    });
  }

  /** @param {Request} request */
  async function isolated(request) {
    const response = await fetch(request);
    if (response.type === 'opaque' || response.type === 'opaqueredirect' || response.type === 'error') return response;
    const headers = new Headers(response.headers);
    headers.set('Cross-Origin-Opener-Policy', 'same-origin');
    headers.set('Cross-Origin-Embedder-Policy', location.search.slice(1) || 'require-corp');
    headers.set('Cross-Origin-Resource-Policy', 'same-origin');
    const { status, statusText } = response;
    return new Response([204, 304].includes(status) ? null : response.body, { status, statusText, headers });
  }
})();
