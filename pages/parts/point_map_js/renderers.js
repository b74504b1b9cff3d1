// ---------------------------------------------------------------- renderers

// Each point is a splat. Crowded splats are first summed (colour times weight, and weight) and then toned: the mean
// colour of a pixel, as opaque as many points lie there. Splats with room around them are painted as discs.
const SPLAT_VERTEX = `#version 300 es
in vec2 a_position;
in vec4 a_colour;
in vec2 a_channels; // uncertainty, weight
uniform vec2 u_centre;
uniform vec2 u_scale;
uniform float u_size;
uniform float u_alpha;
uniform vec2 u_range; // factors of the size of the least and the greatest weight
uniform vec4 u_spot; // a colour to stand out, and whether one does
out vec4 v_colour;
out float v_doubt;
out float v_size;
void main() {
  gl_Position = vec4((a_position - u_centre) * u_scale, 0.0, 1.0);
  float size = u_size * mix(u_range.x, u_range.y, sqrt(a_channels.y));
  gl_PointSize = max(size, 1.0);
  v_size = max(size, 1.0);
  float alpha = a_colour.a * u_alpha * min(1.0, size * size);
  if (u_spot.a > 0.0 && distance(a_colour.rgb, u_spot.rgb) > 0.01) alpha *= 0.015;
  float grey = dot(a_colour.rgb, vec3(0.3, 0.59, 0.11));
  v_colour = vec4(mix(a_colour.rgb, vec3(grey), 0.55 * a_channels.x), alpha);
  v_doubt = a_channels.x;
}`;

const SPLAT_FRAGMENT = `#version 300 es
precision highp float;
in vec4 v_colour;
in float v_doubt;
in float v_size;
uniform float u_ring;
uniform vec3 u_ringColour;
uniform float u_ratio; // device pixels per CSS pixel
out vec4 colour;
void main() {
  float alpha = v_colour.a;
  vec3 rgb = v_colour.rgb;
  float radius = 0.5 * v_size;
  float distance = v_size > 2.5 ? length(gl_PointCoord - 0.5) * v_size : 0.0;
  alpha *= clamp(radius - distance + 0.5, 0.0, 1.0);
  if (alpha <= 0.0) discard;
  // Doubt is a hole where there is room for one, otherwise a lower opacity.
  float hole = clamp(0.66 * radius - distance + 0.5, 0.0, 1.0) * smoothstep(0.15, 0.85, v_doubt);
  float hollow = (1.0 - 0.25 * v_doubt) * (1.0 - 0.9 * hole);
  alpha *= mix(1.0 - 0.8 * v_doubt, hollow, smoothstep(4.0, 7.0, v_size / u_ratio));
  if (u_ring > 0.0) rgb = mix(rgb, u_ringColour, clamp(distance - (radius - u_ring) + 0.5, 0.0, 1.0));
  colour = vec4(rgb * alpha, alpha);
}`;

const TONE_VERTEX = `#version 300 es
void main() {
  gl_Position = vec4(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0, 0.0, 1.0);
}`;

const TONE_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D u_sum;
uniform float u_gain; // points that one splat stands for
uniform float u_crowd; // points in a pixel that is as opaque as any
uniform vec2 u_opacity; // of one point, and of a crowd
out vec4 colour;
void main() {
  vec4 sum = texelFetch(u_sum, ivec2(gl_FragCoord.xy), 0);
  if (sum.a <= 0.0) discard;
  float weight = sum.a * u_gain;
  float crowded = min(1.0, log(1.0 + weight) / log(1.0 + max(1.0, u_crowd)));
  float alpha = min(1.0, weight) * u_opacity.x + (u_opacity.y - u_opacity.x) * crowded;
  colour = vec4(sum.rgb / sum.a * alpha, alpha);
}`;

function linked(gl, vertex, fragment, uniforms, attributes = []) {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  attributes.forEach((name, index) => gl.bindAttribLocation(program, index, name));
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(`The map's shaders do not link: ${gl.getProgramInfoLog(program)}`);
  }
  return { program, at: Object.fromEntries(uniforms.map((name) => [name, gl.getUniformLocation(program, `u_${name}`)])) };
}

class GlRenderer {
  static open(canvas) {
    const gl = canvas.getContext('webgl2', { antialias: false, alpha: true, premultipliedAlpha: true, depth: false });
    return gl ? new GlRenderer(canvas, gl) : null;
  }

  constructor(canvas, gl) {
    this.canvas = canvas;
    this.gl = gl;
    this.name = 'webgl2';
    this.setUp();
  }

  setUp() {
    const gl = this.gl;
    this.splat = linked(gl, SPLAT_VERTEX, SPLAT_FRAGMENT,
      ['centre', 'scale', 'size', 'alpha', 'range', 'spot', 'ring', 'ringColour', 'ratio'], ['a_position', 'a_colour', 'a_channels']);
    this.tone = linked(gl, TONE_VERTEX, TONE_FRAGMENT, ['sum', 'gain', 'crowd', 'opacity']);
    this.frames = {};
    this.sumFormat = this.formatOfSums();
    this.canSum = this.sumFormat !== null;
    this.buffers = {};
    for (const name of ['positions', 'colours', 'channels', 'indices']) this.buffers[name] = gl.createBuffer();
    this.layout = gl.createVertexArray();
    this.bare = gl.createVertexArray();
    gl.bindVertexArray(this.layout);
    this.attribute(0, 'positions', 2, gl.FLOAT, false);
    this.attribute(1, 'colours', 4, gl.UNSIGNED_BYTE, true);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers.indices);
    gl.enable(gl.BLEND);
  }

  attribute(index, buffer, width, type, normalised) {
    const gl = this.gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[buffer]);
    gl.enableVertexAttribArray(index);
    gl.vertexAttribPointer(index, width, type, normalised, 0, 0);
  }

  // Floats that can be summed by blending; null on devices with neither kind, where crowds are painted as discs.
  formatOfSums() {
    const gl = this.gl;
    const floats = gl.getExtension('EXT_color_buffer_float');
    if (!floats && !gl.getExtension('EXT_color_buffer_half_float')) return null;
    this.sumFormat = floats && gl.getExtension('EXT_float_blend') ? gl.RGBA32F : gl.RGBA16F;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frameOf('sums', { width: 4, height: 4 }).frame);
    const works = gl.checkFramebufferStatus(gl.FRAMEBUFFER) === gl.FRAMEBUFFER_COMPLETE;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    this.dropFrame('sums');
    return works ? this.sumFormat : null;
  }

  setPoints(points) {
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffers.positions);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, points.xy, this.gl.STATIC_DRAW);
  }

  setStyle(style) {
    const gl = this.gl;
    gl.bindVertexArray(this.layout);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.colours);
    gl.bufferData(gl.ARRAY_BUFFER, style.colours, gl.STATIC_DRAW);
    if (style.channels) {
      this.attribute(2, 'channels', 2, gl.UNSIGNED_BYTE, true);
      gl.bufferData(gl.ARRAY_BUFFER, style.channels, gl.STATIC_DRAW);
    } else {
      gl.disableVertexAttribArray(2);
      gl.vertexAttrib2f(2, 0, 0);
    }
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers.indices);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, style.drawing, gl.STATIC_DRAW);
  }

  // Draws parts [{start, count, look, first, last}] of the drawing order; `behind` keeps the result off the screen.
  // A group that is summed may come in several parts: `first` begins its sum, `last` tones it into the picture.
  draw(parts, camera, size, { behind = false, clear = true } = {}) {
    const gl = this.gl;
    const target = behind ? this.frameOf('behind', size).frame : null;
    gl.viewport(0, 0, size.width, size.height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, target);
    if (clear) this.wipe();
    for (const part of parts.filter(({ count }) => count)) {
      const { look } = part;
      gl.bindFramebuffer(gl.FRAMEBUFFER, look.sums ? this.frameOf('sums', size).frame : target);
      if (look.sums && part.first) this.wipe();
      gl.blendFunc(gl.ONE, look.sums ? gl.ONE : gl.ONE_MINUS_SRC_ALPHA);
      this.drawSplats(part, camera, size);
      if (!look.sums || !part.last) continue;
      gl.bindFramebuffer(gl.FRAMEBUFFER, target);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      this.toneSums(look, size);
    }
  }

  wipe() {
    this.gl.clearColor(0, 0, 0, 0);
    this.gl.clear(this.gl.COLOR_BUFFER_BIT);
  }

  drawSplats({ start, count, look }, camera, size) {
    const { gl } = this;
    const { program, at } = this.splat;
    gl.useProgram(program);
    gl.bindVertexArray(this.layout);
    gl.uniform2f(at.centre, camera.x, camera.y);
    gl.uniform2f(at.scale, 2 * camera.scale / size.cssWidth, 2 * camera.scale / size.cssHeight);
    gl.uniform1f(at.size, look.size * size.ratio);
    gl.uniform1f(at.alpha, look.alpha);
    gl.uniform2f(at.range, ...look.range);
    gl.uniform4f(at.spot, ...look.spot);
    gl.uniform1f(at.ring, look.ring * size.ratio);
    gl.uniform3f(at.ringColour, ...look.ringColour);
    gl.uniform1f(at.ratio, size.ratio);
    gl.drawElements(gl.POINTS, count, gl.UNSIGNED_INT, 4 * start);
  }

  toneSums(look, size) {
    const { gl } = this;
    const { program, at } = this.tone;
    gl.useProgram(program);
    gl.bindVertexArray(this.bare);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.frameOf('sums', size).store);
    gl.uniform1i(at.sum, 0);
    gl.uniform1f(at.gain, look.gain);
    gl.uniform1f(at.crowd, look.crowd);
    gl.uniform2f(at.opacity, ...look.opacity);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.bindTexture(gl.TEXTURE_2D, null);
  }

  // A picture of the canvas's size off the screen, made anew when the size changes: 'behind' of bytes, 'sums' of floats.
  frameOf(name, size) {
    const gl = this.gl;
    const kept = this.frames[name];
    if (kept && kept.width === size.width && kept.height === size.height) return kept;
    this.dropFrame(name);
    const frame = gl.createFramebuffer();
    const store = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, store);
    gl.texStorage2D(gl.TEXTURE_2D, 1, name === 'sums' ? this.sumFormat : gl.RGBA8, size.width, size.height);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.bindTexture(gl.TEXTURE_2D, null);
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, store, 0);
    this.frames[name] = { frame, store, width: size.width, height: size.height };
    return this.frames[name];
  }

  dropFrame(name) {
    if (!this.frames[name]) return;
    this.gl.deleteFramebuffer(this.frames[name].frame);
    this.gl.deleteTexture(this.frames[name].store);
    delete this.frames[name];
  }

  // Shows what was drawn behind.
  reveal(size) {
    const gl = this.gl;
    const { width, height } = size;
    gl.bindFramebuffer(gl.READ_FRAMEBUFFER, this.frameOf('behind', size).frame);
    gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, null);
    gl.blitFramebuffer(0, 0, width, height, 0, 0, width, height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }

  // Calls back with the milliseconds until the graphics device has finished what was asked so far.
  whenDone(callback) {
    const gl = this.gl;
    const begun = performance.now();
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    if (!fence) return callback(performance.now() - begun);
    const look = () => {
      if (gl.isContextLost()) return;
      if (gl.getSyncParameter(fence, gl.SYNC_STATUS) !== gl.SIGNALED) {
        setTimeout(look, 4);
        return;
      }
      gl.deleteSync(fence);
      callback(performance.now() - begun);
    };
    setTimeout(look, 0);
  }

  destroy() {
    const gl = this.gl;
    if (gl.isContextLost()) return;
    for (const name of Object.keys(this.frames)) this.dropFrame(name);
    for (const buffer of Object.values(this.buffers)) gl.deleteBuffer(buffer);
    for (const layout of [this.layout, this.bare]) gl.deleteVertexArray(layout);
    for (const { program } of [this.splat, this.tone]) gl.deleteProgram(program);
    gl.getExtension('WEBGL_lose_context')?.loseContext(); // browsers allow few contexts at once
  }
}

// Without WebGL2: a sample of the points, painted pixel by pixel.
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
            blend(image.data, 4 * (y * width + x), colours, 4 * i, alpha);
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

