/** Makes the elements of the panel; there is no framework. */

/** @typedef {Node | string | null | undefined} Child */

/**
 * An element.
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, any>} [properties] of the element; those of `data` become data-*
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  const { data = {}, ...others } = properties;
  Object.assign(element, others);
  Object.assign(element.dataset, data);
  element.append(...children.flatMap(child => child ?? []));
  return element;
}

/**
 * A button.
 * @param {string} text
 * @param {string} name for tests and styles: data-action
 * @param {() => void} onclick
 * @param {string} [title] explanation, with the key that does the same
 */
export const button = (text, name, onclick, title = '') =>
  make('button', { type: 'button', title, onclick, data: { action: name } }, text);

/**
 * A part of the panel with a heading.
 * @param {string} heading
 * @param {...Child} children
 */
export const section = (heading, ...children) =>
  make('section', {}, make('h3', {}, heading), ...children);
