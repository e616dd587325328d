// A drone's view that moves, for those without a camera: fields and a road go by, cars drive on it.

const WIDTH = 640;
const HEIGHT = 360;
const SPEED = 40; // pixels a second that the ground goes by
const PATCH = 160;
const ROAD = 64;
const GREENS = ["#6b7d4b", "#7f8a55", "#5d7346", "#8a8a5c", "#75834f", "#667a52"];

const CARS = [
  { lane: -14, speed: 92, start: 60, colour: "#c8342b" },
  { lane: 14, speed: -58, start: 420, colour: "#f2f2ee" },
  { lane: 14, speed: -83, start: 760, colour: "#2d4f8f" },
];

/** A canvas that shows the scene at a time. */
export class Scene {
  readonly canvas = document.createElement("canvas");
  private readonly context = this.canvas.getContext("2d", { alpha: false })!;

  constructor() {
    this.canvas.width = WIDTH;
    this.canvas.height = HEIGHT;
  }

  draw(seconds: number): void {
    const way = SPEED * seconds;
    this.drawFields(way);
    this.drawTrees(way);
    this.drawRoad(way);
    for (const car of CARS) this.drawCar(car, seconds);
    this.drawWalker(seconds, way);
  }

  private drawFields(way: number): void {
    const first = Math.floor(way / PATCH);
    for (let column = first; PATCH * column - way < WIDTH; column++) {
      for (let row = 0; row * PATCH < HEIGHT; row++) {
        this.context.fillStyle = GREENS[hash(column, row) % GREENS.length]!;
        this.context.fillRect(Math.floor(PATCH * column - way), PATCH * row, PATCH + 1, PATCH);
      }
    }
  }

  private drawTrees(way: number): void {
    const { context } = this;
    const gap = 90;
    for (let i = Math.floor(way / gap) - 1; gap * i - way < WIDTH + gap; i++) {
      const x = gap * i - way + (hash(i, 7) % 50);
      const y = hash(i, 8) % 2 ? 20 + (hash(i, 9) % 100) : 250 + (hash(i, 9) % 100);
      const radius = 7 + (hash(i, 10) % 8);
      context.fillStyle = "#3d5235";
      circle(context, x, y, radius);
      context.fillStyle = "#4a6140";
      circle(context, x - 2, y - 2, 0.7 * radius);
    }
  }

  private drawRoad(way: number): void {
    const { context } = this;
    const top = (HEIGHT - ROAD) / 2;
    context.fillStyle = "#77767a";
    context.fillRect(0, top, WIDTH, ROAD);
    context.fillStyle = "#d8d8d0";
    for (let x = -(way % 48); x < WIDTH; x += 48) context.fillRect(x, HEIGHT / 2 - 1, 22, 2);
  }

  private drawCar(car: (typeof CARS)[number], seconds: number): void {
    const { context } = this;
    const x = wrap(car.start + (car.speed - SPEED) * seconds, WIDTH + 120) - 60;
    const y = HEIGHT / 2 + car.lane;
    context.fillStyle = "rgba(0, 0, 0, 0.3)";
    context.fillRect(x - 17, y - 5, 38, 18);
    context.fillStyle = car.colour;
    context.fillRect(x - 19, y - 8, 38, 16);
    context.fillStyle = "#20262c";
    context.fillRect(x - 9, y - 6, 16, 12);
  }

  private drawWalker(seconds: number, way: number): void {
    const { context } = this;
    const x = wrap(300 + 12 * seconds - way, WIDTH + 60) - 30;
    const y = 285 + 8 * Math.sin(seconds);
    context.fillStyle = "#e0632f";
    circle(context, x, y, 5);
    context.fillStyle = "#2a211c";
    circle(context, x, y, 2.5);
  }
}

function circle(context: CanvasRenderingContext2D, x: number, y: number, radius: number): void {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

function wrap(value: number, length: number): number {
  return ((value % length) + length) % length;
}

/** A whole number that looks random and is always the same. */
function hash(a: number, b: number): number {
  let value = Math.imul(a + 101, 0x9e3779b1) ^ Math.imul(b + 57, 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d);
  return (value ^ (value >>> 13)) >>> 0;
}
