// A small AlexNet in plain script: what the page's network makes of an image. Maps are flat, channel by channel.
"use strict";
const alexnet = (() => {
  const unpack = (text, kind) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new kind(bytes.buffer);
  };
  const network = JSON.parse(document.getElementById("network").textContent);
  const mean = unpack(network.images.mean, Float32Array);
  for (const layer of network.layers) {
    if (!layer.weights) continue;
    const whole = unpack(layer.weights, Int8Array), factors = unpack(layer.factors, Float32Array);
    const each = whole.length / factors.length;
    layer.weights = Float32Array.from(whole, (weight, place) => weight * factors[Math.floor(place / each)]);
    layer.biases = unpack(layer.biases, Float32Array);
  }

  const compute = {
    convolution({ values, channels, side }, { weights, biases, shape, padding, groups }) {
      const [filters, depth, kernel] = shape;
      const after = side + 2 * padding - kernel + 1, sums = new Float64Array(filters * after * after);
      for (let filter = 0; filter < filters; filter++) {
        const first = Math.floor(filter / (filters / groups)) * depth;
        sums.fill(biases[filter], filter * after * after, (filter + 1) * after * after);
        for (let channel = 0; channel < depth; channel++)
          for (let y = 0; y < kernel; y++)
            for (let x = 0; x < kernel; x++) {
              const weight = weights[((filter * depth + channel) * kernel + y) * kernel + x];
              const from = Math.max(0, padding - x), to = Math.min(after, side + padding - x);
              for (let row = Math.max(0, padding - y); row < Math.min(after, side + padding - y); row++) {
                const source = ((first + channel) * side + row + y - padding) * side + x - padding;
                const target = (filter * after + row) * after;
                for (let column = from; column < to; column++) sums[target + column] += weight * values[source + column];
              }
            }
      }
      return { values: sums, channels: filters, side: after };
    },
    linear({ values }, { weights, biases, shape }) {
      const [outputs, inputs] = shape, sums = new Float64Array(outputs);
      for (let output = 0; output < outputs; output++) {
        let sum = biases[output];
        for (let input = 0; input < inputs; input++) sum += weights[output * inputs + input] * values[input];
        sums[output] = sum;
      }
      return { values: sums, channels: outputs, side: 1 };
    },
    relu({ values, channels, side }) {
      return { values: values.map((value) => Math.max(0, value)), channels, side };
    },
    pool({ values, channels, side }, { size, stride }) {
      const after = Math.ceil((side - size) / stride) + 1, most = new Float64Array(channels * after * after);
      for (let channel = 0; channel < channels; channel++)
        for (let row = 0; row < after; row++)
          for (let column = 0; column < after; column++) {
            let found = -Infinity;
            for (let y = row * stride; y < Math.min(side, row * stride + size); y++)
              for (let x = column * stride; x < Math.min(side, column * stride + size); x++)
                found = Math.max(found, values[(channel * side + y) * side + x]);
            most[(channel * after + row) * after + column] = found;
          }
      return { values: most, channels, side: after };
    },
    norm({ values, channels, side }, { size, alpha, beta, k, towers }) {
      const each = channels / towers, pixels = side * side, normed = new Float64Array(values.length);
      for (let channel = 0; channel < channels; channel++) {
        const tower = Math.floor(channel / each) * each;
        const from = Math.max(tower, channel - Math.floor(size / 2));
        const to = Math.min(tower + each - 1, channel + Math.floor(size / 2));
        for (let pixel = 0; pixel < pixels; pixel++) {
          let squares = 0;
          for (let near = from; near <= to; near++) squares += values[near * pixels + pixel] ** 2;
          normed[channel * pixels + pixel] = values[channel * pixels + pixel] / (k + alpha * squares) ** beta;
        }
      }
      return { values: normed, channels, side };
    },
  };

  // The centre crop, less the mean image, over the spread of all pixels: [3, crop, crop] from uint8 [side, side, 3].
  const prepared = (pixels) => {
    const { side, crop, spread } = network.images, edge = Math.floor((side - crop) / 2);
    const values = new Float64Array(3 * crop * crop);
    for (let channel = 0; channel < 3; channel++)
      for (let y = 0; y < crop; y++)
        for (let x = 0; x < crop; x++) {
          const pixel = pixels[((y + edge) * side + x + edge) * 3 + channel];
          values[(channel * crop + y) * crop + x] = (pixel - mean[(y * crop + x) * 3 + channel]) / spread;
        }
    return { values, channels: 3, side: crop };
  };

  const classify = (pixels) => {
    let maps = prepared(pixels), first = null;
    for (const layer of network.layers) {
      maps = compute[layer.kind](maps, layer);
      if (first === null && layer.kind === "relu") first = maps;
    }
    const highest = Math.max(...maps.values), shares = Array.from(maps.values, (score) => Math.exp(score - highest));
    const total = shares.reduce((sum, share) => sum + share);
    return { probabilities: shares.map((share) => share / total), maps: first };
  };

  // A triangle filter as wide as the reduction, along rows, then along columns: Pillow's BILINEAR on the central square,
  // which Python uses too. One line of `length` pixels that lie `step` apart, from `start`: pixels of `after` squares.
  const along = (pixels, { length, start, step, lines, jump }, box, target) => {
    const after = network.images.side, scale = box / after, reach = Math.max(1, scale);
    const result = new Uint8ClampedArray(lines * after * 3);
    for (let place = 0; place < after; place++) {
      const centre = start + (place + 0.5) * scale;
      const from = Math.max(0, Math.trunc(centre - reach + 0.5)), to = Math.min(length, Math.trunc(centre + reach + 0.5));
      const weights = [];
      for (let near = from; near < to; near++) weights.push(Math.max(0, 1 - Math.abs((near + 0.5 - centre) / reach)));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      for (let line = 0; line < lines; line++)
        for (let channel = 0; channel < 3; channel++) {
          const sum = weights.reduce((part, weight, near) => part + weight * pixels[(line * jump + (from + near) * step) * 3 + channel], 0);
          result[(line * target.jump + place * target.step) * 3 + channel] = Math.floor(sum / total + 0.5);
        }
    }
    return result;
  };
  // uint8 [side, side, 3] of an image of uint8 [height, width, 3].
  const resized = (pixels, width, height) => {
    const after = network.images.side, box = Math.min(width, height);
    if (width === after && height === after) return pixels;
    const [left, top] = [width, height].map((length) => Math.floor((length - box) / 2));
    const rows = { length: width, start: left, step: 1, lines: height, jump: width };
    const columns = { length: height, start: top, step: after, lines: after, jump: 1 };
    return along(along(pixels, rows, box, { jump: after, step: 1 }), columns, box, { jump: 1, step: after });
  };

  return { network, classify, resized, unpack };
})();

{
  const { network, classify, resized, unpack } = alexnet;
  const result = document.getElementById("taken-for"), maps = document.getElementById("first-maps");
  const seen = document.getElementById("seen"), said = document.getElementById("said");

  const paint = (canvas, side, colour) => {
    canvas.width = canvas.height = side;
    const image = new ImageData(side, side);
    for (let pixel = 0; pixel < side * side; pixel++) image.data.set([...colour(pixel), 255], pixel * 4);
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  };
  const picture = (canvas, pixels) => paint(canvas, network.images.side, (pixel) => pixels.subarray(pixel * 3, pixel * 3 + 3));

  const show = (pixels, name) => {
    const found = classify(pixels);
    const order = [...found.probabilities.keys()].sort((a, b) => found.probabilities[b] - found.probabilities[a]);
    picture(seen, pixels);
    seen.setAttribute("aria-label", `What the network is given: ${name}`);
    result.replaceChildren(...order.slice(0, 5).map((place) => {
      const row = document.createElement("li"), share = found.probabilities[place];
      row.append(network.classes[place], Object.assign(document.createElement("span"), { className: "bar" }));
      row.lastChild.style.setProperty("--share", share);
      row.append(Object.assign(document.createElement("b"), { textContent: `${(100 * share).toFixed(1)}%` }));
      return row;
    }));
    said.textContent = `${name}: taken for ${network.classes[order[0]]}, ${(100 * found.probabilities[order[0]]).toFixed(1)}%.`;
    const { values, channels, side } = found.maps, size = side * side;
    maps.replaceChildren(...Array.from({ length: channels }, (_, channel) => {
      const map = values.subarray(channel * size, (channel + 1) * size), most = Math.max(...map, 1e-9);
      return paint(document.createElement("canvas"), side, (pixel) => Array(3).fill(255 * map[pixel] / most));
    }));
  };

  const choices = document.getElementById("choices");
  network.shown.forEach(({ pixels, label }) => {
    const button = Object.assign(document.createElement("button"), { type: "button", title: label });
    button.setAttribute("aria-label", `Test image: ${label}`);
    const values = unpack(pixels, Uint8Array);
    button.append(picture(document.createElement("canvas"), values));
    button.addEventListener("click", () => show(values, `a ${label} of the test set`));
    choices.append(button);
  });

  const take = async (file) => {
    try {
      const bitmap = await createImageBitmap(file), { width, height } = bitmap;
      const context = new OffscreenCanvas(width, height).getContext("2d");
      context.fillStyle = "white";
      context.fillRect(0, 0, width, height);
      context.drawImage(bitmap, 0, 0);
      const { data } = context.getImageData(0, 0, width, height);
      const pixels = Uint8ClampedArray.from({ length: width * height * 3 }, (_, place) => data[Math.floor(place / 3) * 4 + place % 3]);
      show(resized(pixels, width, height), file.name);
    } catch (error) {
      said.textContent = `${file.name} is no image that this browser can read.`;
    }
  };
  const zone = document.getElementById("zone"), input = document.getElementById("file");
  input.addEventListener("change", () => { if (input.files.length) take(input.files[0]); });
  for (const kind of ["dragover", "drop"]) zone.addEventListener(kind, (event) => event.preventDefault());
  zone.addEventListener("drop", (event) => { if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]); });
  document.getElementById("playground").hidden = false;
  choices.querySelector("button").click();
}
