// Questions to OHIF's own state, answered inside the page; no state is written here except the
// slice that is shown. OHIF offers `window.services` and cornerstone for exactly such tests.
// Voxel indices are [i, j, k] = column, row, slice of the image volume, as the server counts them.
window.samed2dViewer = (() => {
  const activeViewport = () => {
    const { viewportGridService, cornerstoneViewportService } = window.services;
    const id = viewportGridService.getActiveViewportId();
    return {
      viewport: cornerstoneViewportService.getCornerstoneViewport(id),
      info: cornerstoneViewportService.getViewportInfo(id),
    };
  };
  const volume = () => activeViewport().info.viewportData.data[0].volume;
  const labelmap = () => window.services.segmentationService.getLabelmapVolume('1');

  // All slices are in memory; false while anything is not there yet.
  const isLoaded = () => {
    try {
      return volume().loadStatus.loaded === true;
    } catch {
      return false;
    }
  };

  // The panel is connected and its label volume exists.
  const hasLabelmap = () => {
    try {
      return labelmap().voxelManager.getScalarDataLength() > 0;
    } catch {
      return false;
    }
  };

  const geometry = () => {
    const { dimensions, spacing, origin, direction } = volume();
    return {
      dimensions: Array.from(dimensions),
      spacing: Array.from(spacing),
      origin: Array.from(origin),
      direction: Array.from(direction),
    };
  };

  // Show the slice of this voxel, as scrolling would.
  const show = index => {
    const { viewport } = activeViewport();
    viewport.jumpToWorld(volume().imageData.indexToWorld(index));
    viewport.render();
  };

  // Position of each voxel's centre in the window, in CSS pixels.
  const toScreen = indices => {
    const { viewport } = activeViewport();
    const frame = viewport.canvas.getBoundingClientRect();
    return indices.map(index => {
      const [x, y] = viewport.worldToCanvas(volume().imageData.indexToWorld(index));
      return [x + frame.x, y + frame.y];
    });
  };

  // How many points of the selected label are set.
  const points = () =>
    window.cornerstoneTools.annotation.state
      .getAllAnnotations()
      .filter(annotation => annotation.metadata.toolName === 'ProbeMONAILabel').length;

  // Every painted voxel as [flat index (i fastest), label value].
  const painted = () => {
    const values = labelmap().voxelManager.getCompleteScalarDataArray();
    const found = [];
    values.forEach((value, index) => value && found.push([index, value]));
    return found;
  };

  const displaySet = series =>
    window.services.displaySetService
      .getActiveDisplaySets()
      .find(set => set.SeriesInstanceUID === series);
  const segmentation = series =>
    window.services.segmentationService.getSegmentation(displaySet(series).displaySetInstanceUID);

  // A SEG series is loaded and lies over its image, which has taken its place in the viewport.
  const isOpened = series => {
    const { viewportGridService, segmentationService } = window.services;
    const set = displaySet(series);
    const viewport = viewportGridService.getActiveViewportId();
    const shown = viewportGridService.getDisplaySetsUIDsForViewport(viewport);
    return (
      set?.isLoaded === true &&
      !shown.includes(set.displaySetInstanceUID) &&
      segmentationService
        .getSegmentationRepresentations(viewport)
        .some(drawn => drawn.segmentationId === set.displaySetInstanceUID)
    );
  };

  // Segment number -> name.
  const segmentNames = series =>
    Object.fromEntries(
      Object.values(segmentation(series).segments).map(({ segmentIndex, label }) => [
        segmentIndex,
        label,
      ])
    );

  // Every segmented pixel as [flat index (i fastest), number], for each image by SOPInstanceUID.
  const segmented = series => {
    const { cache, metaData } = window.cornerstone;
    const found = {};
    segmentation(series).representationData.Labelmap.imageIds.forEach(id => {
      const drawn = cache.getImage(id);
      const { sopInstanceUID } = metaData.get('sopCommonModule', drawn.referencedImageId);
      const pixels = (found[sopInstanceUID] = []);
      const values = drawn.voxelManager.getScalarData();
      values.forEach((value, index) => value && pixels.push([index, value]));
    });
    return found;
  };

  return {
    isLoaded,
    hasLabelmap,
    geometry,
    show,
    toScreen,
    points,
    painted,
    isOpened,
    segmentNames,
    segmented,
  };
})();
