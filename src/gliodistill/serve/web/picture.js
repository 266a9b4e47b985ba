// The images of one result in NiiVue: sequences, label map, probabilities, drawing.
import { imageOf } from "./api.js";
import { COLOURS, regionsOf, tissueWords } from "./words.js";

const { Niivue, SLICE_TYPE, DRAG_MODE, SHOW_RENDER } = globalThis.niivue;

export const LAYOUTS = {
  three: "Three planes and 3-D", axial: "Axial", coronal: "Coronal", sagittal: "Sagittal",
  solid: "3-D",
};
const TYPES = {
  three: SLICE_TYPE.MULTIPLANAR, axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL,
  sagittal: SLICE_TYPE.SAGITTAL, solid: SLICE_TYPE.RENDER,
};

// Code → tissue as NiiVue wants its colours.
function colours(codes) {
  const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
  for (const [code, tissue] of Object.entries(codes)) {
    const [red, green, blue] = COLOURS[tissue] ?? [200, 200, 200];
    table.R.push(red); table.G.push(green); table.B.push(blue);
    table.A.push(255); table.I.push(Number(code)); table.labels.push(tissueWords(tissue));
  }
  return table;
}

function isSoftware(gl) {
  const told = gl.getExtension("WEBGL_debug_renderer_info");
  const name = told ? gl.getParameter(told.UNMASKED_RENDERER_WEBGL) : "";
  return /swiftshader|llvmpipe|software|basic render/i.test(name);
}

export class Picture {
  constructor(canvas, where) {
    this.canvas = canvas;
    this.view = new Niivue({
      backColor: [0, 0, 0, 1], show3Dcrosshair: true, isRadiologicalConvention: true,
      isOrientationTextVisible: true, showAllOrientationMarkers: true, logLevel: "error",
      multiplanarShowRender: SHOW_RENDER.ALWAYS,
      dragAndDropEnabled: false, crosshairColor: [0.3, 0.75, 1, 0.9], viewModeHotKey: "",
      clipPlaneHotKey: "", cycleClipPlaneHotKey: "", loadingText: "", scrollRequiresFocus: true,
      crosshairWidth: 1, crosshairWidthUnit: "mm", fontMinPx: 14, isResizeCanvas: true,
      tileMargin: 2,
    });
    this.view.onLocationChange = where;
    this.drawn = false;
  }

  // Sequences first, in one grid; then the label map; then other maps.
  async open(job, result, labels = "labels") {
    await this.view.attachToCanvas(this.canvas);
    // Without a graphics card the 3-D view takes seconds a frame: it is shown where asked for.
    this.slow = isSoftware(this.view.gl);
    if (this.slow) this.view.opts.multiplanarShowRender = SHOW_RENDER.NEVER;
    this.sequences = Object.keys(job.result.images);
    this.codes = result.result.summary.labels.codes;
    await this.view.loadVolumes([
      ...this.sequences.map((name, index) => ({ url: imageOf(job, name), name: `${name}.nii.gz`,
        opacity: index ? 0 : 1, colormap: "gray" })),
      { url: imageOf(result, labels), name: "labels.nii.gz", opacity: 0.4 },
    ]);
    this.labels = this.view.volumes.at(-1);
    this.images = Object.fromEntries(this.sequences.map((name, i) => [name, this.view.volumes[i]]));
    this.labels.setColormapLabel(colours(this.codes));
    this.view.setAtlasOutline(1);
    this.view.updateGLVolume();
    this.sequence(this.sequences.includes("T1CE") ? "T1CE" : this.sequences[0]);
    this.toTumour();
  }

  indexOf(volume) { return this.view.volumes.indexOf(volume); }

  // The chosen sequence is the background: NiiVue paints drawings onto that alone.
  sequence(name) {
    this.chosen = name;
    this.view.setVolume(this.images[name], 0);
    for (const one of this.sequences) {
      this.view.setOpacity(this.indexOf(this.images[one]), one === name ? 1 : 0);
    }
  }

  fill(opacity) {
    this.opacity = opacity;
    if (this.drawn) this.view.setDrawOpacity(Math.max(opacity, 0.05));
    else this.view.setOpacity(this.indexOf(this.labels), opacity);
  }

  outline(on) { this.view.setAtlasOutline(on ? 1 : 0); }

  layout(name) { this.view.setSliceType(TYPES[name]); }

  radiological(on) { this.view.setRadiologicalConvention(on); }

  tool(name) {
    const drag = name === "measure" ? DRAG_MODE.measurement : DRAG_MODE.crosshair;
    this.view.opts.dragModePrimary = drag;
    this.view.opts.mouseEventConfig = { leftButton: { primary: drag },
      rightButton: DRAG_MODE.contrast, centerButton: DRAG_MODE.pan };
    this.view.setDrawingEnabled(name === "brush");
  }

  // Probability of a region, in colour, from 5 % on.
  async probability(job, region, opacity = 0.6) {
    if (this.map) {
      this.view.removeVolume(this.map);
      this.map = null;
    }
    if (!region) return;
    const channel = regionsOf(job).indexOf(region);
    this.map = await this.view.addVolumeFromUrl({ url: imageOf(job, "probabilities"),
      name: "probability.nii.gz", colormap: "inferno", opacity, cal_min: 0.05, cal_max: 1,
      frame4D: channel });
    this.view.setFrame4D(this.map.id, channel);
    this.view.updateGLVolume();
  }

  // A second label map, as outlines only.
  async compare(job) {
    if (this.other) {
      this.view.removeVolume(this.other);
      this.other = null;
    }
    if (!job) return;
    this.other = await this.view.addVolumeFromUrl({ url: imageOf(job, "labels"),
      name: "other.nii.gz", opacity: 0.25 });
    const table = colours(job.result.summary.labels.codes);
    for (const part of ["R", "G", "B"]) table[part] = table[part].map((v) => (v ? 255 - v / 3 : 0));
    this.other.setColormapLabel(table);
    this.view.updateGLVolume();
  }

  // The label map as a drawing that the brush changes.
  async draw(job) {
    if (this.drawn) return;
    if (!await this.view.loadDrawingFromUrl(imageOf(job, "labels"))) {
      throw new Error("the label map cannot be drawn on these images");
    }
    this.view.setDrawColormap(colours(this.codes));
    this.drawn = true;
    this.view.setOpacity(this.indexOf(this.labels), 0);
    this.view.setDrawOpacity(Math.max(this.opacity ?? 0.4, 0.3));
  }

  pen(code, size) {
    this.view.setPenValue(code, false);
    this.view.opts.penSize = size;
  }

  undo() { this.view.drawUndo(); }

  // The drawing as NIfTI, on the grid of the label map.
  drawing() {
    return this.view.saveImage({ filename: "", isSaveDrawing: true, volumeByIndex: 0 });
  }

  // The crosshair to the middle of the label map.
  toTumour() {
    const values = this.labels.img, [, nx, ny] = this.labels.hdr.dims;
    let n = 0, x = 0, y = 0, z = 0;
    for (let i = 0; i < values.length; i += 1) {
      if (!values[i]) continue;
      n += 1; x += i % nx; y += Math.floor(i / nx) % ny; z += Math.floor(i / (nx * ny));
    }
    if (!n) return;
    const at = [x / n, y / n, z / n, 1];
    const mm = this.labels.hdr.affine.slice(0, 3).map((row) => row.reduce(
      (sum, value, index) => sum + value * at[index], 0));
    this.view.scene.crosshairPos = this.view.mm2frac(mm);
    this.view.drawScene();
    this.view.createOnLocationChange();
  }

  close() {
    this.view.onLocationChange = () => {};
    this.view.gl?.getExtension("WEBGL_lose_context")?.loseContext();
    this.view.cleanup?.();
  }
}
