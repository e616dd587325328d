import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

import { defineConfig, type Plugin } from "vite";

// What lets a page have threads; any server of dist has to send them too.
const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

// 27 MB that only those who choose WebGPU need: kept on first use.
const ON_DEMAND = /asyncify/;

/** Tells the service worker what to keep. */
function precache(): Plugin {
  return {
    name: "precache",
    apply: "build",
    enforce: "post", // index.html is among the files by then
    generateBundle(_, bundle) {
      const contents = new Map<string, Uint8Array | string>();
      for (const [name, file] of Object.entries(bundle)) {
        contents.set(name, file.type === "asset" ? file.source : file.code);
      }
      for (const name of readdirSync("public", { recursive: true, encoding: "utf8" })) {
        const path = join("public", name);
        if (statSync(path).isFile()) contents.set(name, readFileSync(path));
      }
      const worker = bundle["service-worker.js"];
      if (worker?.type !== "chunk") return this.error("the build has no service-worker.js");
      contents.delete("service-worker.js");
      const kept = [...contents.keys()].filter((name) => !ON_DEMAND.test(name)).sort();
      const hash = createHash("sha256");
      for (const name of kept) hash.update(name).update(contents.get(name)!);
      const list = { version: hash.digest("hex").slice(0, 16), files: ["./", ...kept] };
      worker.code = `const PRECACHE = ${JSON.stringify(list)};\n${worker.code}`;
    },
  };
}

export default defineConfig({
  base: "./", // dist may lie in any folder of a server
  build: {
    target: "es2022",
    reportCompressedSize: false,
    rollupOptions: {
      input: { index: "index.html", "service-worker": "src/worker/service-worker.ts" },
      output: {
        entryFileNames: ({ name }) => (name === "service-worker" ? "[name].js" : "assets/[name]-[hash].js"),
      },
    },
  },
  worker: { format: "es" },
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", "module", "browser", "development|production"] },
  optimizeDeps: { exclude: ["onnxruntime-web"] },
  server: { headers: ISOLATION },
  preview: { headers: ISOLATION },
  plugins: [precache()],
});
