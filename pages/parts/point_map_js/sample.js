// ---------------------------------------------------------------- painting without WebGL2

// A sample of the points, painted pixel by pixel.
class SampleRenderer {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext('2d');
    this.name = 'sample';
  }

  setPoints(points) {
    this.points = points;
  }

  setStyle(style) {
    this.style = style;
  }

  draw(parts, camera, size) {
    const { width, height, ratio } = size;
    const image = this.context.createImageData(width, height);
    const pixels = image.data;
    const { xy } = this.points;
    const { drawing, colours, channels } = this.style;
    const scale = camera.scale * ratio;
    for (const { start, count, look } of parts) {
      for (let at = start; at < start + count; at++) {
        const i = drawing[at];
        const [doubt, weight] = channels ? [channels[2 * i] / 255, channels[2 * i + 1] / 255] : [0, 0];
        const factor = look.range[0] + (look.range[1] - look.range[0]) * Math.sqrt(weight);
        const side = Math.max(1, Math.round(look.size * factor * ratio * 0.85));
        const left = Math.round((xy[2 * i] - camera.x) * scale + width / 2 - side / 2);
        const top = Math.round(height / 2 - (xy[2 * i + 1] - camera.y) * scale - side / 2);
        const alpha = look.alpha * (1 - 0.85 * doubt) * colours[4 * i + 3] / 255;
        for (let y = Math.max(0, top); y < Math.min(height, top + side); y++) {
          for (let x = Math.max(0, left); x < Math.min(width, left + side); x++) {
            blend(pixels, 4 * (y * width + x), colours, 4 * i, alpha);
          }
        }
      }
    }
    this.context.putImageData(image, 0, 0);
  }

  whenDone(callback) {
    setTimeout(() => callback(0), 0);
  }

  destroy() {}
}

function blend(target, at, colours, from, alpha) {
  const under = target[at + 3] / 255;
  const total = alpha + under * (1 - alpha);
  if (total <= 0) return;
  for (let c = 0; c < 3; c++) {
    target[at + c] = (colours[from + c] * alpha + target[at + c] * under * (1 - alpha)) / total;
  }
  target[at + 3] = 255 * total;
}
