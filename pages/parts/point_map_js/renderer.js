// ---------------------------------------------------------------- drawing with WebGL2

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
