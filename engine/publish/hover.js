// The values of a figure's curves at the step under the pointer, or at the one that the arrow keys choose.
for (const figure of document.querySelectorAll("figure[data-values]")) {
  const { box, x, y, percent, series } = JSON.parse(figure.dataset.values);
  const svg = figure.querySelector("svg");
  const [, , width, height] = svg.getAttribute("viewBox").split(/\s+/).map(Number);
  const [left, top, right, bottom] = box;
  const across = (step) => width * (left + ((right - left) * (step - x[0])) / (x[1] - x[0]));
  const down = (value) => height * (bottom - ((bottom - top) * (value - y[0])) / (y[1] - y[0]));
  const steps = [...new Set(series.flatMap((one) => one.points.map((point) => point[0])))].sort((a, b) => a - b);
  const make = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const nearest = (points, step) =>
    points.reduce((best, point) => (Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best));
  const words = (value) => {
    if (percent) return (100 * value).toFixed(1) + "%";
    return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(4));
  };
  const mark = svg.appendChild(make("g", { class: "mark" }));
  const tip = figure.appendChild(document.createElement("figcaption"));
  tip.setAttribute("aria-live", "polite");
  let chosen = steps.length - 1;

  const hide = () => {
    mark.replaceChildren();
    tip.replaceChildren();
  };
  const show = (number) => {
    chosen = Math.max(0, Math.min(steps.length - 1, number));
    const step = steps[chosen];
    hide();
    mark.append(make("line", { x1: across(step), x2: across(step), y1: height * top, y2: height * bottom }));
    tip.append("step " + step.toLocaleString("en"));
    for (const { label, color, points } of series) {
      const flat = points.length === 1; // a baseline
      const [at, value] = nearest(points, step);
      mark.append(make("circle", { cx: across(flat ? step : at), cy: down(value), r: 3, fill: color }));
      const row = tip.appendChild(document.createElement("div"));
      row.appendChild(document.createElement("i")).style.background = color;
      const where = flat || at === step ? "" : " at step " + at.toLocaleString("en");
      row.append((label ? label + " " : "") + words(value) + where);
    }
    const line = mark.firstChild.getBoundingClientRect().left - figure.getBoundingClientRect().left;
    const room = figure.clientWidth - tip.offsetWidth; // beside the line, and within the figure
    const beside = line > figure.clientWidth / 2 ? line - tip.offsetWidth - 8 : line + 8;
    tip.style.left = Math.max(0, Math.min(room, beside)) + "px";
  };
  const point = (event) => {
    const drawn = svg.getBoundingClientRect();
    const share = ((event.clientX - drawn.left) / drawn.width - left) / (right - left);
    const step = x[0] + share * (x[1] - x[0]);
    show(steps.indexOf(nearest(steps.map((found) => [found]), step)[0]));
  };
  figure.tabIndex = 0;
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", hide);
  figure.addEventListener("blur", hide);
  figure.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way) return;
    event.preventDefault();
    show(tip.firstChild ? chosen + way : chosen);
  });
}
