/**
 * What the left mouse button does: prompts of ours, or a tool of OHIF. OHIF's own buttons may choose
 * another tool at any time, which ends ours.
 */

import { cornerstone, tools } from './host.js';

const GROUP = 'default';
export const BRUSH = 'CircularBrush';
export const ERASER = 'CircularEraser';

/** @typedef {'prompt' | 'brush' | 'eraser' | 'other'} Choice */

/** @type {Record<string, Choice>} */
const NAMES = { [BRUSH]: 'brush', [ERASER]: 'eraser' };

/** The choice, for all panes. */
export class ToolChoice {
  /**
   * @param {any} services of OHIF
   * @param {() => void} onChange
   */
  constructor(services, onChange) {
    this._services = services;
    this._onChange = onChange;
    /** @type {Choice} */
    this.chosen = 'prompt';
    /** Radius of brush and eraser, mm. */
    this.radius = 6;
    /** @param {any} event */
    this._onActivated = ({ detail }) => this._heard(detail);
    const { TOOL_ACTIVATED } = tools().Enums.Events;
    cornerstone().eventTarget.addEventListener(TOOL_ACTIVATED, this._onActivated);
  }

  /** Listen no more. */
  close() {
    const { TOOL_ACTIVATED } = tools().Enums.Events;
    cornerstone().eventTarget.removeEventListener(TOOL_ACTIVATED, this._onActivated);
  }

  /**
   * Choose.
   * @param {'prompt' | 'brush' | 'eraser'} choice
   */
  choose(choice) {
    this.chosen = choice;
    if (choice !== 'prompt') {
      this._activate(choice === 'brush' ? BRUSH : ERASER);
      this.resize(this.radius);
    } else {
      this._deactivateBrushes();
    }
    this._onChange();
  }

  /**
   * Size of brush and eraser.
   * @param {number} radius mm
   */
  resize(radius) {
    this.radius = radius;
    tools().utilities.segmentation.setBrushSizeForToolGroup(GROUP, radius);
    this._onChange();
  }

  /** @param {{toolGroupId: string, toolName: string, toolBindingsOptions?: any}} detail */
  _heard({ toolGroupId, toolName, toolBindingsOptions }) {
    const primary = tools().Enums.MouseBindings.Primary;
    const bindings = toolBindingsOptions?.bindings ?? [];
    if (toolGroupId === GROUP && bindings.some(({ mouseButton }) => mouseButton === primary)) {
      this.chosen = NAMES[toolName] ?? 'other';
      this._onChange();
    }
  }

  /** @param {string} name */
  _activate(name) {
    const group = this._services.toolGroupService.getToolGroup(GROUP);
    const primary = tools().Enums.MouseBindings.Primary;
    const other = group.getActivePrimaryMouseButtonTool();
    if (other) {
      group.setToolPassive(other, { removeAllBindings: [{ mouseButton: primary }] });
    }
    group.setToolActive(name, { bindings: [{ mouseButton: primary }] });
  }

  _deactivateBrushes() {
    const group = this._services.toolGroupService.getToolGroup(GROUP);
    for (const name of [BRUSH, ERASER]) {
      if (group?.hasTool(name)) {
        group.setToolDisabled(name);
      }
    }
  }
}
