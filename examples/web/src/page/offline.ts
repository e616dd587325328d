// Keeping the page for use without a network: the service worker does it.

/** `tell` gets a sentence for the user whenever something has changed. */
export async function keepOffline(tell: (words: string) => void): Promise<void> {
  if (!import.meta.env.PROD) return tell("Development server: nothing is kept for offline use.");
  if (!("serviceWorker" in navigator)) {
    return tell("Not kept for offline use: that takes a page from https or localhost.");
  }
  try {
    const { installing } = await navigator.serviceWorker.register("service-worker.js");
    installing?.addEventListener("statechange", () => {
      if (installing.state === "redundant") tell("Not kept for offline use: not all files could be loaded and stored.");
    });
    await navigator.serviceWorker.ready; // it has kept every file when it is
    tell("Kept on this device: works without a network from now on.");
  } catch (error) {
    tell(`Not kept for offline use: ${String(error)}`);
  }
}
