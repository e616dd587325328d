// Where frames come from. A source gives the newest frame it has; what the engine was too busy for is passed over.

import { Scene } from "./scene";

export interface Frame {
  picture: ImageBitmapSource;
  /** It follows no frame of the source, as the first of a video that begins again. */
  first: boolean;
}

export interface Source {
  readonly name: string;
  /** A picture that was given is given again. */
  rewind(): void;
  /** The next new frame, when there is one; raises SourceError when there will be none. */
  next(): Promise<Frame>;
  close(): void;
}

/** Why there are no frames, in words. */
export class SourceError extends Error {}

export class SceneSource implements Source {
  readonly name = "synthetic scene";
  private readonly scene = new Scene();

  rewind(): void {}

  async next(): Promise<Frame> {
    const now = await animationFrame();
    this.scene.draw(now / 1000);
    return { picture: this.scene.canvas, first: false };
  }

  close(): void {}
}

class StillSource implements Source {
  private given = false;

  constructor(
    readonly name: string,
    private readonly picture: ImageBitmap,
  ) {}

  rewind(): void {
    this.given = false;
  }

  async next(): Promise<Frame> {
    while (this.given) await animationFrame();
    this.given = true;
    return { picture: this.picture, first: true };
  }

  close(): void {
    this.picture.close();
  }
}

/** A playing video element: a file or a camera. */
class VideoSource implements Source {
  private first = false;
  private problem: SourceError | undefined;

  constructor(
    readonly name: string,
    private readonly video: HTMLVideoElement,
    private readonly release: () => void,
  ) {
    video.addEventListener("error", () => {
      this.problem = new SourceError(`${name} can't be decoded any further. Choose another file.`);
    });
    video.addEventListener("ended", () => {
      this.first = true;
      void video.play();
    });
  }

  /** Begin to play; raises SourceError with this problem where that can't be done. */
  async play(problem: string): Promise<this> {
    try {
      await this.video.play();
      return this;
    } catch {
      this.close();
      throw new SourceError(problem);
    }
  }

  /** No more frames will come. */
  end(message: string): void {
    this.problem = new SourceError(message);
  }

  rewind(): void {}

  async next(): Promise<Frame> {
    await this.newFrame();
    if (this.problem !== undefined) throw this.problem;
    const first = this.first;
    this.first = false;
    return { picture: this.video, first };
  }

  close(): void {
    this.video.pause();
    this.release();
    this.video.removeAttribute("src");
    this.video.srcObject = null;
  }

  /** Resolves with a frame or with a problem, which may come while no frame does. */
  private async newFrame(): Promise<void> {
    let shown = !("requestVideoFrameCallback" in this.video); // an older browser: every frame of the screen
    if (!shown) this.video.requestVideoFrameCallback(() => (shown = true));
    do await animationFrame();
    while (!shown && this.problem === undefined);
  }
}

/** Raises SourceError: permission, device or page do not allow a camera. */
export async function openCamera(): Promise<Source> {
  if (navigator.mediaDevices === undefined) {
    throw new SourceError("Browsers lend a camera to pages from https or localhost alone: open the page from there.");
  }
  let stream: MediaStream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } }, audio: false });
  } catch (error) {
    throw new SourceError(cameraProblem(error));
  }
  const track = stream.getVideoTracks()[0]!;
  const video = silentVideo();
  video.srcObject = stream;
  const source = new VideoSource(track.label || "camera", video, () => track.stop());
  track.addEventListener("ended", () => source.end("The camera was unplugged or taken away. Choose it again."));
  return source.play("The camera gives no video that this browser can play. Choose another one.");
}

function cameraProblem(error: unknown): string {
  switch (error instanceof DOMException ? error.name : "") {
    case "NotAllowedError":
      return "The camera was not allowed. Allow it in the browser's address bar, then choose it again.";
    case "NotFoundError":
      return "There is no camera here. Plug one in, or choose a file or the synthetic scene.";
    case "NotReadableError":
      return "The camera is there, but another program uses it. Close that one, then choose the camera again.";
    default:
      return `The camera could not be opened: ${String(error)}`;
  }
}

/** A picture or a video of this device. Raises SourceError: it is neither, or not in a format the browser knows. */
export async function openFile(file: File): Promise<Source> {
  return file.type.startsWith("image/") ? openPicture(file) : openVideo(file);
}

async function openPicture(file: File): Promise<Source> {
  try {
    return new StillSource(file.name, await createImageBitmap(file));
  } catch {
    throw new SourceError(`${file.name} is not a picture that this browser can decode: try JPEG, PNG or WebP.`);
  }
}

async function openVideo(file: File): Promise<Source> {
  const video = silentVideo();
  const url = URL.createObjectURL(file);
  video.src = url;
  const source = new VideoSource(file.name, video, () => URL.revokeObjectURL(url));
  return source.play(`${file.name} is not a video that this browser can play: try MP4 with H.264, or WebM.`);
}

function silentVideo(): HTMLVideoElement {
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  return video;
}

function animationFrame(): Promise<number> {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}
