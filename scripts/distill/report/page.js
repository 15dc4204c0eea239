"use strict";
// Filters: of a gallery, only the instances of a category and of a range of scores are drawn, and only the
// images that have one.
for (const section of document.querySelectorAll(".labels")) {
  const form = section.querySelector(".filter");
  if (!form) continue;
  const { category, low, high } = form.elements;
  const apply = () => {
    const all = !category.value && +low.value <= +low.min && +high.value >= +high.max;
    let labels = 0, pictures = 0, figures = 0;
    for (const figure of section.querySelectorAll("figure")) {
      let kept = 0;
      for (const { dataset, style } of figure.querySelectorAll(".instance")) {
        const fits = (!category.value || dataset.category === category.value) &&
          +dataset.score >= +low.value && +dataset.score <= +high.value;
        style.display = fits ? "" : "none";
        kept += fits;
      }
      figure.hidden = !all && !kept;
      figures += 1;
      pictures += !figure.hidden;
      labels += kept;
    }
    for (const group of section.querySelectorAll(".group")) {
      group.hidden = !group.querySelector("figure:not([hidden])");
    }
    for (const input of [low, high]) input.nextElementSibling.value = (+input.value).toFixed(2);
    form.querySelector(".count").textContent = `${labels} labels in ${pictures} of ${figures} pictures`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply)); // once the values are back
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}

// Zoom: a picture in large; wheel, buttons or two fingers change its scale, dragging moves it.
const dialog = document.getElementById("zoom");
let large = null; // the picture in the dialog
let box = null; // the part of it that is shown: x, y, width, height in pixels of the image
const fingers = new Map();

const show = (next) => {
  const { width, height } = large.whole;
  const w = Math.min(Math.max(next[2], width / 40), width), h = (w * height) / width;
  box = [Math.min(Math.max(next[0], 0), width - w), Math.min(Math.max(next[1], 0), height - h), w, h];
  large.setAttribute("viewBox", box.join(" "));
};
const scale = (factor, x, y) => { // about the point (x, y) of the screen
  const point = new DOMPoint(x, y).matrixTransform(large.getScreenCTM().inverse());
  const f = Math.min(Math.max(box[2] * factor, large.whole.width / 40), large.whole.width) / box[2];
  show([point.x - (point.x - box[0]) * f, point.y - (point.y - box[1]) * f, box[2] * f]);
};
const middle = () => {
  const { x, y, width, height } = large.getBoundingClientRect();
  return [x + width / 2, y + height / 2];
};
const open = (picture) => {
  large = picture.cloneNode(true);
  large.whole = picture.querySelector("use").getBBox();
  large.removeAttribute("tabindex");
  dialog.querySelector(".picture")?.remove();
  dialog.append(large);
  dialog.querySelector("p").textContent = picture.getAttribute("aria-label");
  const seen = picture.viewBox.baseVal;
  show([seen.x, seen.y, seen.width]);
  fingers.clear();
  large.addEventListener("wheel", (event) => {
    event.preventDefault();
    scale(1.0015 ** event.deltaY, event.clientX, event.clientY);
  }, { passive: false });
  large.addEventListener("pointerdown", (event) => {
    large.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
  });
  large.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
    if (other) {
      const distance = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY) || 1;
      scale(distance(before) / distance(event), other.clientX, other.clientY);
    } else {
      const pixel = 1 / large.getScreenCTM().a;
      show([box[0] - (event.clientX - before.clientX) * pixel, box[1] - (event.clientY - before.clientY) * pixel, box[2]]);
    }
    fingers.set(event.pointerId, event);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    large.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }
  dialog.showModal();
};
document.querySelector("main").addEventListener("click", (event) => {
  const picture = event.target.closest(".picture");
  if (picture) open(picture);
});
document.querySelector("main").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches(".picture")) open(event.target);
});
dialog.addEventListener("click", (event) => {
  if (event.target.value) scale(+event.target.value, ...middle());
  if (event.target === dialog) dialog.close(); // the backdrop
});
