/** OHIF mode "Annotate": one series in the middle, our panel at its right side. */

import { EXTENSION_ID, EXTENSION_URL, MODE_ID, PANEL, ROUTE } from './ids.js';
import { BRUSH, ERASER } from './tool-choice.js';

const DEFAULT = '@ohif/extension-default';
const CORNERSTONE = '@ohif/extension-cornerstone';
const SEG = '@ohif/extension-cornerstone-dicom-seg';

const NOT_IMAGES = ['SEG', 'RTSTRUCT', 'RTPLAN', 'RTDOSE', 'PR', 'SR', 'KO', 'REG', 'ECG', 'SM'];
const IMAGES = `${DEFAULT}.sopClassHandlerModule.stack`;
const SEGMENTATIONS = `${SEG}.sopClassHandlerModule.dicom-seg`;

const extensions = {
  [DEFAULT]: '^3.0.0',
  [CORNERSTONE]: '^3.0.0',
  [SEG]: '^3.0.0',
  [EXTENSION_URL]: '^0.1.0',
};

const layout = {
  id: `${DEFAULT}.layoutTemplateModule.viewerLayout`,
  props: {
    leftPanels: [`${DEFAULT}.panelModule.seriesList`],
    leftPanelClosed: true,
    leftPanelResizable: true,
    rightPanels: [`${EXTENSION_ID}.panelModule.${PANEL}`],
    rightPanelResizable: true,
    viewports: [
      { namespace: `${CORNERSTONE}.viewportModule.cornerstone`, displaySetsToDisplay: [IMAGES] },
      { namespace: `${SEG}.viewportModule.dicom-seg`, displaySetsToDisplay: [SEGMENTATIONS] },
    ],
  },
};

/** @param {string} toolName @param {string} activeStrategy */
const brush = (toolName, activeStrategy) => ({
  toolName,
  parentTool: 'Brush',
  configuration: { activeStrategy, minRadius: 0.5 },
});

/** Mouse buttons for everything but prompts; the panel adds those. */
function makeToolGroup({ extensionManager, toolGroupService }) {
  const { toolNames, Enums } = extensionManager.getModuleEntry(
    `${CORNERSTONE}.utilityModule.tools`
  ).exports;
  const { Auxiliary, Secondary, Wheel, Primary } = Enums.MouseBindings;
  toolGroupService.createToolGroupAndAddTools('default', {
    active: [
      { toolName: toolNames.WindowLevel, bindings: [{ mouseButton: Primary }] },
      { toolName: toolNames.Pan, bindings: [{ mouseButton: Auxiliary }] },
      { toolName: toolNames.Zoom, bindings: [{ mouseButton: Secondary }, { numTouchPoints: 2 }] },
      {
        toolName: toolNames.StackScroll,
        bindings: [{ mouseButton: Wheel }, { numTouchPoints: 3 }],
      },
    ],
    passive: [
      { toolName: toolNames.Length },
      { toolName: toolNames.Probe },
      { toolName: toolNames.Magnify },
      brush(BRUSH, 'FILL_INSIDE_CIRCLE'),
      brush(ERASER, 'ERASE_INSIDE_CIRCLE'),
    ],
  });
}

const instance = {
  id: MODE_ID,
  routeName: ROUTE,
  displayName: 'Annotate',
  hide: false,
  toolbarButtons: [{ $reference: 'cornerstone.toolbarButtons' }],

  onModeEnter({ servicesManager, extensionManager }) {
    const { toolbarService, toolGroupService, customizationService } = servicesManager.services;
    makeToolGroup({ extensionManager, toolGroupService });
    toolbarService.register(customizationService.getCustomization('toolbarButtons').flat());
    toolbarService.updateSection('primary', ['Zoom', 'Pan', 'WindowLevel', 'Capture', 'Layout']);
  },

  onModeExit({ servicesManager }) {
    const services = servicesManager.services;
    services.uiDialogService.hideAll();
    services.uiModalService.hide();
    services.toolGroupService.destroy();
    services.syncGroupService.destroy();
    services.segmentationService.destroy();
    services.cornerstoneViewportService.destroy();
  },

  validationTags: { study: [], series: [] },

  isValidMode({ modalities }) {
    const valid = modalities.split('\\').some(modality => !NOT_IMAGES.includes(modality));
    return { valid, description: 'There is no image in this study.' };
  },

  routes: [{ path: ROUTE, layoutTemplate: () => structuredClone(layout) }],
  extensions,
  hangingProtocol: 'default',
  sopClassHandlers: [SEGMENTATIONS, IMAGES],
  nonModeModalities: NOT_IMAGES,
};

export default {
  id: MODE_ID,
  modeFactory: () => instance,
  extensionDependencies: extensions,
};
