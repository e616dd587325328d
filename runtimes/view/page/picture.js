// A picture message: four bytes with the length of a JSON header, the header, and its JPEGs. Read, drawn, remembered.

const HISTORY_STEP_S = 0.5;
const HISTORY_MOST = 24;

export function readPicture(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  const parts = header.parts.map((size) => {
    const part = new Blob([new Uint8Array(buffer, at, size)], { type: "image/jpeg" });
    at += size;
    return part;
  });
  return { header, parts };
}

export class Stage {
  constructor(canvas, marks) {
    this.canvas = canvas;
    this.marks = marks;
    this.context = canvas.getContext("2d", { alpha: false });
  }

  draw(bitmap, header) {
    if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
      this.canvas.width = bitmap.width;
      this.canvas.height = bitmap.height;
    }
    this.context.drawImage(bitmap, 0, 0);
    this.marks.replaceChildren(...header.peaks.map((peak, index) => this.mark(peak, index + 1, header.size)));
  }

  // Peaks are in pixels of the source's frame, whose centres are whole numbers. The canvas is fitted into its box.
  mark(peak, rank, [width, height]) {
    const box = this.canvas.getBoundingClientRect();
    const scale = Math.min(box.width / width, box.height / height);
    const x = (box.width - width * scale) / 2 + (peak.x + 0.5) * scale;
    const y = (box.height - height * scale) / 2 + (peak.y + 0.5) * scale;
    const mark = document.createElement("span");
    mark.className = x > box.width - 110 ? "peak to-left" : "peak";
    mark.style.left = `${x}px`;
    mark.style.top = `${y}px`;
    mark.style.zIndex = 100 - rank; // where labels meet, the strongest is read
    const label = document.createElement("b");
    label.textContent = `${rank}: ${peak.value.toFixed(2)}`;
    mark.append(label);
    return mark;
  }
}

export class History {
  constructor(list) {
    this.list = list;
    this.shownAt = -Infinity;
  }

  add(bitmap, header, now) {
    if (now - this.shownAt < HISTORY_STEP_S) return;
    this.shownAt = now;
    const item = document.createElement("li");
    const canvas = document.createElement("canvas");
    canvas.width = 160;
    canvas.height = Math.max(24, Math.min(320, Math.round((160 * header.size[1]) / header.size[0])));
    canvas.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    item.append(canvas, `${header.time.toFixed(1)} s`);
    this.list.append(item);
    while (this.list.children.length > HISTORY_MOST) this.list.firstElementChild.remove();
  }

  clear() {
    this.list.replaceChildren();
    this.shownAt = -Infinity;
  }
}
