// Questions of tests to OHIF while the mode Annotate is open. They are answered from OHIF's own
// services and from cornerstone, so that what our extension believes is checked from outside.
// `window.samed2d` is asked only for what OHIF cannot know.
window.annotateTests = (() => {
  const activeViewport = () => {
    const { viewportGridService, cornerstoneViewportService } = window.services;
    return cornerstoneViewportService.getCornerstoneViewport(
      viewportGridService.getActiveViewportId()
    );
  };
  const segmentation = () =>
    window.services.segmentationService
      .getSegmentations()
      .find(({ segmentationId }) => segmentationId.startsWith('samed2d-'));
  const sopOf = imageId =>
    window.cornerstone.metaData.get('sopCommonModule', imageId).sopInstanceUID;

  // The series is on the screen and has a label map.
  const isReady = () => {
    try {
      const { segmentationService, viewportGridService } = window.services;
      const drawn = segmentationService.getSegmentationRepresentations(
        viewportGridService.getActiveViewportId(),
        { segmentationId: segmentation().segmentationId }
      );
      return drawn.length > 0 && activeViewport().getImageIds().every(Boolean);
    } catch {
      return false;
    }
  };

  // Every painted pixel as [flat index (i fastest), value], for each image by SOPInstanceUID.
  const painted = () => {
    const found = {};
    segmentation().representationData.Labelmap.imageIds.forEach(id => {
      const image = window.cornerstone.cache.getImage(id);
      const pixels = (found[sopOf(image.referencedImageId)] = []);
      image.voxelManager.getScalarData().forEach((value, at) => value && pixels.push([at, value]));
    });
    return found;
  };

  const segmentNames = () =>
    Object.fromEntries(
      Object.values(segmentation().segments).map(({ segmentIndex, label }) => [segmentIndex, label])
    );

  // What OHIF does when it has measured a segmentation: its labels are those of some time before.
  let earlier;
  const rememberSegments = () => {
    earlier = structuredClone(segmentation().segments);
  };
  const putBackSegments = () =>
    window.services.segmentationService.addOrUpdateSegmentation({
      segmentationId: segmentation().segmentationId,
      segments: earlier,
    });

  const shownImage = () => sopOf(activeViewport().getCurrentImageId());

  // Show the image of this SOPInstanceUID, as scrolling would.
  const show = sop => {
    const viewport = activeViewport();
    const index = viewport.getImageIds().findIndex(id => sopOf(id) === sop);
    return viewport.setImageIdIndex(index);
  };

  // Position of points of the patient (mm, LPS) in the window, in CSS pixels.
  const toScreen = points => {
    const viewport = activeViewport();
    const frame = viewport.canvas.getBoundingClientRect();
    return points.map(point => {
      const [x, y] = viewport.worldToCanvas(point);
      return [x + frame.x, y + frame.y];
    });
  };

  // Nothing is on its way to the server.
  const isIdle = () => window.samed2d.queue.length === 0;

  return {
    isReady,
    painted,
    segmentNames,
    rememberSegments,
    putBackSegments,
    shownImage,
    show,
    toScreen,
    isIdle,
  };
})();
