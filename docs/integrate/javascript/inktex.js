// Reads handwritten formulas in the browser with onnxruntime-web: ink in, LaTeX tokens out.
//
//   import * as ort from "./onnxruntime-web/ort.wasm.bundle.min.mjs";
//   import { Recognizer } from "./inktex.js";
//   const recognizer = await Recognizer.load(ort, "./bundle/");
//   const { tokens } = await recognizer.read([[[0, 0], [10, 20]], [[10, 0], [0, 20]]]);
//
// The bundle is a folder of `inktex export`; nothing of it is built in here: names, shapes and the
// vocabulary are read from its manifest. ../README.md tells the same step by step, for any language.

const MARGIN = 8; // pixels of paper around the ink
const LONGEST = 2048; // a formula that would be longer is drawn smaller
const SUPERSAMPLING = 4;
const FLAT = 0.1; // a stroke of less than this share of the highest tells nothing of the scale
const MASKED = -5e3; // a cell with less bias is never looked at
const FARTHEST = 1e9; // of coordinates; what is not a number is not within it, either
const FIRST_LENGTH = 32; // steps that a cache has room for at first

/** Strokes, each a list of [x, y], y down, in any unit -> in pixels, at the recognizer's scale. Strokes
 * without a point are left out. */
export function normalizedStrokes(strokes, symbolPx) {
  strokes = strokes.filter((stroke) => stroke.length);
  if (!strokes.length) throw new Error("expected ink with at least one stroke, found none; write something");
  if (!strokes.flat().every(([x, y]) => Math.abs(x) <= FARTHEST && Math.abs(y) <= FARTHEST)) {
    throw new Error("expected strokes of [x, y] in numbers within ±1e9, found others; leave those points out");
  }
  const boxes = strokes.map((stroke) => {
    const xs = stroke.map(([x]) => x), ys = stroke.map(([, y]) => y);
    return { left: least(xs), top: least(ys), right: most(xs), bottom: most(ys) };
  });
  const left = least(boxes.map((box) => box.left)), top = least(boxes.map((box) => box.top));
  const extent = Math.max(
    most(boxes.map((box) => box.right)) - left, most(boxes.map((box) => box.bottom)) - top);
  const widths = boxes.map((box) => box.right - box.left);
  const heights = boxes.map((box) => box.bottom - box.top);
  const scale = Math.min(symbolPx / typicalHeight(widths, heights), LONGEST / extent);
  return strokes.map((stroke) => stroke.map(
    ([x, y]) => [(x - left) * scale + MARGIN, (y - top) * scale + MARGIN]));
}

function typicalHeight(widths, heights) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const highest = most(heights);
  const typical = heights.every((height, i) => height <= 0.2 * widths[i])
    ? mean(widths) : mean(heights.filter((height) => height > FLAT * highest));
  return typical > 1e-300 ? typical : 1;
}

/** To the nearest whole number, ties to the even one. */
function rounded(number) {
  const near = Math.round(number);
  return near - number === 0.5 && near % 2 ? near - 1 : near;
}

/** Strokes in pixels -> { height, width, pixels }: bytes row by row, ink 255 on 0. */
export function drawStrokes(strokes, penPx) {
  const size = (axis) => Math.trunc(most(strokes.flat().map((point) => point[axis]))) + 1 + MARGIN;
  const height = size(1), width = size(0);
  const rows = height * SUPERSAMPLING, columns = width * SUPERSAMPLING;
  let fine = new Uint8Array(rows * columns);
  for (const stroke of strokes) {
    const points = stroke.map(([x, y]) => [Math.trunc(x * SUPERSAMPLING), Math.trunc(y * SUPERSAMPLING)]);
    points.forEach((point, i) => line(fine, columns, points[Math.max(i - 1, 0)], point));
  }
  fine = dilated(fine, rows, columns, Math.max(rounded(penPx * SUPERSAMPLING), 1));
  const pixels = new Uint8Array(height * width);
  const area = SUPERSAMPLING * SUPERSAMPLING;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      let sum = 0;
      for (let y = row * SUPERSAMPLING; y < (row + 1) * SUPERSAMPLING; y++) {
        for (let x = column * SUPERSAMPLING; x < (column + 1) * SUPERSAMPLING; x++) sum += fine[y * columns + x];
      }
      pixels[row * width + column] = Math.floor((sum + area / 2) / area);
    }
  }
  return { height, width, pixels };
}

/** Bresenham's line, both ends drawn. */
function line(pixels, columns, [x, y], [toX, toY]) {
  const dx = Math.abs(toX - x), dy = Math.abs(toY - y);
  const stepX = Math.sign(toX - x), stepY = Math.sign(toY - y);
  const steps = Math.max(dx, dy);
  let error = 2 * Math.min(dx, dy) - steps;
  for (let i = 0; i < steps; i++) {
    pixels[y * columns + x] = 255;
    if (error >= 0) {
      if (dx > dy) y += stepY; else x += stepX;
      error -= 2 * steps;
    }
    error += 2 * Math.min(dx, dy);
    if (dx > dy) x += stepX; else y += stepY;
  }
  pixels[toY * columns + toX] = 255;
}

/** The greatest of size x size pixels around each. */
function dilated(pixels, rows, columns, size) {
  const before = Math.ceil((size - 1) / 2), behind = Math.floor((size - 1) / 2);
  for (const [count, stride, others, across] of [[rows, columns, columns, 1], [columns, 1, rows, columns]]) {
    const wider = new Uint8Array(pixels.length);
    for (let other = 0; other < others; other++) {
      for (let i = 0; i < count; i++) {
        if (!pixels[other * across + i * stride]) continue;
        const last = Math.min(i + before, count - 1);
        for (let j = Math.max(i - behind, 0); j <= last; j++) wider[other * across + j * stride] = 255;
      }
    }
    pixels = wider;
  }
  return pixels;
}

/** Strokes -> { height, width, values }: the encoder's input, float32, ink 1 on 0. */
export function preparedImage(strokes, parameters) {
  const drawn = drawStrokes(normalizedStrokes(strokes, parameters.symbol_px), parameters.pen_px);
  const padded = (side) => Math.ceil((side + parameters.padding_px) / parameters.multiple) * parameters.multiple;
  const height = padded(drawn.height), width = padded(drawn.width);
  if (height * width > parameters.max_pixels) {
    throw new Error(`expected one formula of at most ${parameters.max_pixels} pixels, found ${width} x ${height}`);
  }
  const values = new Float32Array(height * width);
  for (let row = 0; row < drawn.height; row++) {
    for (let column = 0; column < drawn.width; column++) {
      values[row * width + column] = drawn.pixels[row * drawn.width + column] / 255;
    }
  }
  return { height, width, values };
}

/** Throws where a manifest tells of something that this file does not know. */
export function checkManifest({ format_version: version, preprocessing }) {
  if (version !== 1) throw new Error(`expected a bundle of format version 1, found ${version}`);
  if (preprocessing.name !== "normalised-ink") {
    throw new Error(`expected images of the drawing alone (normalised-ink), found ${preprocessing.name}`);
  }
}

export class Recognizer {
  /** @param ort onnxruntime-web; @param url of the bundle's folder, with a slash at its end. */
  static async load(ort, url, precision) {
    const manifest = await (await fetched(`${url}manifest.json`)).json();
    checkManifest(manifest);
    const variant = manifest.variants.find((each) =>
      each.target === "onnxruntime" && (!precision || each.precision === precision));
    if (!variant) throw new Error(`${url}: expected a variant for onnxruntime, found none`);
    const session = async (name) => ort.InferenceSession.create(
      new Uint8Array(await (await fetched(url + name)).arrayBuffer()), { executionProviders: ["wasm"] });
    return new Recognizer(ort, manifest, await session(variant.encoder), await session(variant.step));
  }

  constructor(ort, manifest, encoder, step) {
    Object.assign(this, { ort, manifest, encoder, step });
  }

  /** The best reading, searched greedily: { tokens, confidence }. */
  async read(strokes) {
    const { vocabulary, decoding, interface: names } = this.manifest;
    const memory = await this.encode(strokes);
    let state = this.start(memory);
    const eos = vocabulary.indexOf("<eos>"), written = [];
    let token = vocabulary.indexOf("<sos>");
    const tokenLogProbs = [];
    for (let position = 0; position < decoding.max_length; position++) {
      state = this.withRoom(state, position);
      const outputs = await this.step.run({
        [names.tokens]: this.whole(token), [names.position]: this.whole(position), ...memory, ...state,
      });
      const logProbs = outputs[names.log_probs].data;
      token = logProbs.reduce((best, value, i) => (value > logProbs[best] ? i : best), 0);
      tokenLogProbs.push(logProbs[token]);
      if (token === eos) break;
      written.push(vocabulary[token]);
      state = Object.fromEntries(names.state.map((each) => [each.input, outputs[each.output]]));
    }
    return { tokens: written, confidence: this.confidence(tokenLogProbs) };
  }

  /** The chance that a reading is right, from the log-probabilities of its tokens. */
  confidence(tokenLogProbs) {
    const known = tokenLogProbs.map((value) => Math.min(Math.max(value, -20), 0));
    const total = known.reduce((sum, value) => sum + value, 0);
    const weights = this.manifest.confidence;
    if (!weights) return Math.exp(total);
    const logit = weights.bias + weights.total * total + weights.least * Math.min(0, ...known)
      + weights.length * known.length;
    return 1 / (1 + Math.exp(-logit));
  }

  /** Everything about an image that no step changes; cells without ink are left out. */
  async encode(strokes) {
    const { interface: names, preprocessing } = this.manifest;
    const { height, width, values } = preparedImage(strokes, preprocessing.parameters);
    const image = new this.ort.Tensor("float32", values, [1, 1, height, width]);
    const outputs = await this.encoder.run({ [names.image]: image });
    const bias = names.memory_bias ? outputs[names.memory_bias].data : [];
    const kept = [...bias.keys()].filter((cell) => bias[cell] > MASKED);
    if (!kept.length) return outputs;
    return Object.fromEntries(names.encoder.outputs.map((spec) => {
      const axis = spec.shape.findIndex((size) => ["cells", "all_cells"].includes(size));
      const tensor = outputs[spec.name], whole = axis >= 0 && tensor.dims[axis] === bias.length;
      return [spec.name, whole ? this.taken(tensor, axis, kept) : tensor];
    }));
  }

  /** The state before the first token: zeros. */
  start(memory) {
    const { interface: names } = this.manifest;
    const sizes = { beams: 1, length: Math.min(FIRST_LENGTH, this.manifest.decoding.max_length) };
    for (const spec of names.encoder.outputs) {
      spec.shape.forEach((size, axis) => {
        if (typeof size === "string") sizes[size] ??= memory[spec.name].dims[axis];
      });
    }
    return Object.fromEntries(names.state.map(({ input }) => {
      const { shape } = names.step.inputs.find((spec) => spec.name === input);
      const dims = shape.map((size) => (typeof size === "string" ? sizes[size] : size));
      return [input, new this.ort.Tensor("float32", new Float32Array(product(dims)), dims)];
    }));
  }

  /** The state with caches twice as long where they are full. */
  withRoom(state, position) {
    const { interface: names, decoding } = this.manifest;
    return Object.fromEntries(names.state.map(({ input, length_axis: axis }) => {
      const spec = names.step.inputs.find((each) => each.name === input), tensor = state[input];
      if (axis === null || spec.shape[axis] !== "length" || position < tensor.dims[axis]) return [input, tensor];
      const dims = [...tensor.dims];
      dims[axis] = Math.min(2 * dims[axis], decoding.max_length);
      const data = new Float32Array(product(dims)), inner = product(dims.slice(axis + 1));
      const block = tensor.dims[axis] * inner;
      for (let i = 0; i * block < tensor.data.length; i++) {
        data.set(tensor.data.subarray(i * block, (i + 1) * block), i * dims[axis] * inner);
      }
      return [input, new this.ort.Tensor("float32", data, dims)];
    }));
  }

  /** A tensor with only some indices of an axis. */
  taken(tensor, axis, kept) {
    const dims = [...tensor.dims], inner = product(dims.slice(axis + 1)), count = dims[axis];
    dims[axis] = kept.length;
    const data = new Float32Array(product(dims));
    for (let outer = 0, at = 0; outer < product(dims.slice(0, axis)); outer++) {
      for (const index of kept) {
        const from = (outer * count + index) * inner;
        data.set(tensor.data.subarray(from, from + inner), at);
        at += inner;
      }
    }
    return new this.ort.Tensor("float32", data, dims);
  }

  whole(value) {
    return new this.ort.Tensor("int64", BigInt64Array.of(BigInt(value)), [1]);
  }
}

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  return response;
}

// not Math.max(...values): a long stroke has more points than a call takes arguments
const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const product = (sizes) => sizes.reduce((a, b) => a * b, 1);
