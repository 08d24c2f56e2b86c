/** Pictures of a slice that are laid over it: the uncertainty of an answer, and a preview. */

/**
 * A picture with one pixel for each pixel of a slice.
 * @param {ArrayLike<number>} values i fastest
 * @param {number} columns
 * @param {(value: number) => [number, number, number, number]} colour red, green, blue, opacity
 * @returns {HTMLCanvasElement}
 */
export function picture(values, columns, colour) {
  const canvas = document.createElement('canvas');
  canvas.width = columns;
  canvas.height = values.length / columns;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  const image = context.createImageData(canvas.width, canvas.height);
  for (let n = 0; n < values.length; n += 1) {
    if (values[n]) {
      image.data.set(colour(values[n]), 4 * n);
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Orange, the stronger the less sure. @param {number} percent */
export const heat = percent =>
  /** @type {[number, number, number, number]} */ ([255, 140, 0, Math.min(255, 2.4 * percent)]);

/** What a click would give. @returns {[number, number, number, number]} */
export const ghost = () => [90, 204, 230, 90];

/**
 * Lay a picture over a pane.
 * @param {HTMLCanvasElement} canvas of the pane
 * @param {HTMLCanvasElement[]} pictures
 * @param {(pixel: [number, number]) => [number, number]} onScreen
 */
export function lay(canvas, pictures, onScreen) {
  canvas.width = canvas.clientWidth;
  canvas.height = canvas.clientHeight;
  const context = canvas.getContext('2d');
  if (!context || !pictures.length) {
    return;
  }
  const [x, y] = onScreen([-0.5, -0.5]);
  const [xi, yi] = onScreen([0.5, -0.5]);
  const [xj, yj] = onScreen([-0.5, 0.5]);
  context.imageSmoothingEnabled = false;
  context.setTransform(xi - x, yi - y, xj - x, yj - y, x, y);
  for (const one of pictures) {
    context.drawImage(one, 0, 0);
  }
}
