/** Names by which OHIF finds the parts of this extension. */

/** Address of the extension; OHIF wants the same text as its key in the mode. */
export const EXTENSION_URL = '/samed2d/annotator/extension.js';
export const EXTENSION_ID = '@samed2d/extension-annotator';
export const MODE_ID = '@samed2d/mode-annotate';
/** Part of the address: /samed2d/annotate?StudyInstanceUIDs=... */
export const ROUTE = 'annotate';
export const PANEL = 'annotator';
