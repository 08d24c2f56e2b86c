/**
 * What this extension uses of OHIF. OHIF's bundles cannot be imported, but it leaves its services
 * and the cornerstone libraries on `window`, and hands services to extensions.
 */

/** Cornerstone: images, viewports, events. @returns {any} */
export const cornerstone = () => /** @type {any} */ (window).cornerstone;

/** Cornerstone's tools: brushes, segmentations. @returns {any} */
export const tools = () => /** @type {any} */ (window).cornerstoneTools;

/**
 * One pane of the layout that shows images.
 * @typedef {Object} Pane
 * @property {string} id
 * @property {any} viewport of cornerstone
 * @property {HTMLElement} element
 */

/**
 * The pane at a place of the page.
 * @param {any} services of OHIF
 * @param {EventTarget | null} target of an event
 * @returns {Pane | null}
 */
export function paneAt(services, target) {
  const element = target instanceof Element ? target.closest('[data-viewport-uid]') : null;
  const id = element?.getAttribute('data-viewport-uid');
  return id ? paneOf(services, id) : null;
}

/**
 * A pane by its name.
 * @param {any} services of OHIF
 * @param {string} id
 * @returns {Pane | null}
 */
export function paneOf(services, id) {
  const viewport = services.cornerstoneViewportService.getCornerstoneViewport(id);
  return viewport?.element ? { id, viewport, element: viewport.element } : null;
}

/**
 * All panes that show a display set.
 * @param {any} services of OHIF
 * @param {string} displaySetUID
 * @returns {Pane[]}
 */
export function panesShowing(services, displaySetUID) {
  const { viewports } = services.viewportGridService.getState();
  const ids = [...viewports.values()]
    .filter(viewport => viewport.displaySetInstanceUIDs?.includes(displaySetUID))
    .map(viewport => viewport.viewportId);
  return ids.flatMap(id => paneOf(services, id) ?? []);
}

/**
 * The pane that was used last.
 * @param {any} services of OHIF
 * @returns {Pane | null}
 */
export function activePane(services) {
  const id = services.viewportGridService.getActiveViewportId();
  return id ? paneOf(services, id) : null;
}

/**
 * The display set of images in a pane.
 * @param {any} services of OHIF
 * @param {string} paneId
 * @returns {any}
 */
export function displaySetIn(services, paneId) {
  const uids = services.viewportGridService.getDisplaySetsUIDsForViewport(paneId) ?? [];
  const sets = uids.map(uid => services.displaySetService.getDisplaySetByUID(uid));
  return sets.find(set => set?.imageIds?.length && set.Modality !== 'SEG') ?? null;
}

/**
 * Bring a slice on the screen.
 * @param {Pane} pane
 * @param {string} imageId
 * @param {[number, number, number]} world a point on it, mm
 */
export function showSlice(pane, imageId, world) {
  const index = pane.viewport.getImageIds?.().indexOf(imageId) ?? -1;
  if (pane.viewport.setImageIdIndex && index >= 0) {
    pane.viewport.setImageIdIndex(index);
  } else {
    pane.viewport.jumpToWorld(world);
  }
}

/**
 * Call something whenever one of OHIF's services says that something happened.
 * @param {any} service
 * @param {string[]} events names in `service.EVENTS`
 * @param {() => void} then
 * @returns {() => void} ends it
 */
export function follow(service, events, then) {
  const subscriptions = events.map(name => service.subscribe(service.EVENTS[name], then));
  return () => {
    for (const subscription of subscriptions) {
      subscription.unsubscribe();
    }
  };
}
