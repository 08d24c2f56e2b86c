/** OHIF extension: the panel "Annotate". OHIF loads this file by its address (app-config.js). */

import { Annotator } from './annotator.js';
import { EXTENSION_ID, PANEL } from './ids.js';
import { showPanel } from './panel.js';

const STYLE = new URL('./style.css', import.meta.url).href;

/** @type {Annotator | null} */
let annotator = null;
let stopShowing = () => {};

function addStyle() {
  if (!document.querySelector(`link[href="${STYLE}"]`)) {
    const link = Object.assign(document.createElement('link'), { rel: 'stylesheet', href: STYLE });
    document.head.append(link);
  }
}

/**
 * React calls this with the element of the panel, and with null when it is gone.
 * @param {any} servicesManager of OHIF
 * @param {HTMLElement | null} root
 */
function mount(servicesManager, root) {
  stopShowing();
  stopShowing = () => {};
  if (!root) {
    return;
  }
  addStyle();
  annotator ??= new Annotator(servicesManager.services);
  Object.assign(window, { samed2d: annotator });
  stopShowing = showPanel(root, annotator);
}

/**
 * A React element without React: OHIF's own React draws it, and gives us its DOM.
 * @param {(root: HTMLElement | null) => void} ref
 */
const emptyBox = ref => ({
  $$typeof: Symbol.for('react.element'),
  type: 'div',
  key: null,
  ref,
  props: { className: 'samed2d-panel' },
  _owner: null,
});

export default {
  id: EXTENSION_ID,
  version: '0.1.0',

  /** @param {{servicesManager: any}} tools of OHIF */
  getPanelModule({ servicesManager }) {
    // One function for all times: React must not take the panel for a new one.
    const ref = root => mount(servicesManager, root);
    return [
      {
        name: PANEL,
        iconName: 'tab-segmentation',
        iconLabel: 'Annotate',
        label: 'Annotate',
        component: () => emptyBox(ref),
      },
    ];
  },

  /**
   * The arrows at the top of OHIF: ours while this mode is open, else OHIF's.
   * @param {{commandsManager: any}} tools of OHIF
   */
  getCommandsModule({ commandsManager }) {
    const ours = (name, act) => ({
      commandFn: () =>
        annotator ? act(annotator) : commandsManager.runCommand(name, {}, 'CORNERSTONE'),
    });
    return {
      definitions: {
        undo: ours('undo', shown => shown.undo()),
        redo: ours('redo', shown => shown.redo()),
      },
      defaultContext: 'SAMED2D',
    };
  },

  onModeExit() {
    annotator?.close();
    annotator = null;
  },
};
