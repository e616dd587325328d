// Keeps the page on the device: all files when it is installed, those that are large and rarely used when first asked for.

/** Written by the build (vite.config.ts): a name that changes with the files, and what to keep at once. */
declare const PRECACHE: { version: string; files: string[] };

const scope = self as unknown as ServiceWorkerGlobalScope;
const PREFIX = "uva-edge ";
const CACHE = PREFIX + PRECACHE.version;

scope.addEventListener("install", (event) => {
  event.waitUntil(keepAll()); // a newer one waits until no page needs the files of the older
});

scope.addEventListener("activate", (event) => {
  event.waitUntil(dropOlder().then(() => scope.clients.claim()));
});

scope.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(scope.registration.scope)) event.respondWith(answer(event.request));
});

async function keepAll(): Promise<void> {
  const cache = await caches.open(CACHE);
  // Past the browser's own cache, which may still hold files of the build before.
  await cache.addAll(PRECACHE.files.map((file) => new Request(file, { cache: "reload" })));
}

async function dropOlder(): Promise<void> {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== CACHE).map((name) => caches.delete(name)));
}

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, { ignoreSearch: request.mode === "navigate" });
  if (kept !== undefined) return kept;
  // The browser's own cache is asked for nothing that the server has not confirmed.
  const response = await fetch(request.mode === "navigate" ? request : new Request(request, { cache: "no-cache" }));
  if (response.status === 200) await cache.put(request, response.clone());
  return response;
}
