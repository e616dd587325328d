// Keeps the page on the device: files when it is installed, those that are large and rarely used when first asked for.

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
  await cache.addAll(PRECACHE.files.map(freshly));
}

/** Past the browser's own cache, which may hold damaged files and those of the build before. */
function freshly(request: RequestInfo): Request {
  return new Request(request, { cache: "reload" });
}

async function dropOlder(): Promise<void> {
  const older = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(older.map((name) => caches.delete(name)));
}

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, { ignoreSearch: request.mode === "navigate" });
  if (kept !== undefined) return kept;
  const response = await fetch(request.mode === "navigate" ? request : freshly(request));
  if (response.status === 200) await cache.put(request, response.clone());
  return response;
}
