// ---------------------------------------------------------------- shaders

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
