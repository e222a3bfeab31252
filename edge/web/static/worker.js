// Keeps the page's own files, so that it opens without the daemon. Answers of the daemon (api,
// health, metrics) are never kept: an old number must not pass for a new one.
const NAME = "ccnvr-page-1";
const FILES = [
  ".", "page.js", "drawing.js", "page.css", "texts.en.json", "page.webmanifest", "icon.svg",
  "icon-192.png", "icon-512.png",
];

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(FILES)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches.keys()
      .then((names) => Promise.all(names.filter((name) => name !== NAME).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  const own = FILES.some((file) => new URL(file, self.registration.scope).href === url.href);
  if (event.request.method !== "GET" || !own) {
    return;
  }
  // The daemon first, so that an update of ccnvr shows at once.
  event.respondWith(
    fetch(event.request)
      .then((response) => {
        if (response.ok) {
          const copy = response.clone();
          caches.open(NAME).then((cache) => cache.put(event.request, copy));
        }
        return response;
      })
      .catch(() => caches.match(event.request)),
  );
});
