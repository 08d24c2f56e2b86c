/**
 * A strip beside the scroll bar with one row for each slice, in the order in which they are
 * scrolled: how sure the network is of the label there, and which slices it has encoded already, so
 * that a click is answered at once.
 */

const WIDTH = 8;
const ENCODED = '#5acce6';
const NOW = '#ffffff';

/**
 * Colour of a confidence, from red over yellow to green.
 * @param {number} confidence 0 to 1
 */
export const colourOf = confidence => `hsl(${Math.round(120 * confidence)} 80% 45%)`;

/**
 * Draw the strip.
 * @param {HTMLCanvasElement} canvas
 * @param {number[]} order slice k of each row, from the top
 * @param {{confidence: Map<number, number>, encoded: Set<number>, shown: number}} facts
 */
export function drawStrip(canvas, order, { confidence, encoded, shown }) {
  canvas.hidden = !confidence.size && !encoded.size;
  const height = canvas.clientHeight || 1; // 0 while it is hidden
  canvas.width = WIDTH;
  canvas.height = height;
  const context = canvas.getContext('2d');
  if (!context || canvas.hidden) {
    return;
  }
  const step = height / order.length;
  order.forEach((k, row) => {
    const [top, thick] = [row * step, Math.max(step - 1, 1)];
    const sure = confidence.get(k);
    if (sure !== undefined) {
      context.fillStyle = colourOf(sure);
      context.fillRect(0, top, 5, thick);
    }
    if (encoded.has(k)) {
      context.fillStyle = ENCODED;
      context.fillRect(6, top, 2, thick);
    }
    if (k === shown) {
      context.strokeStyle = NOW;
      context.strokeRect(0.5, top + 0.5, WIDTH - 1, Math.max(thick - 1, 1));
    }
  });
}
