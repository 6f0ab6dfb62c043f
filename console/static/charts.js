// Draws every element with a `data-chart`: lines over months, with bounds where there are any.
// {x: ["2024-01", ...], unit: "", digits: 3, series: [{label, values, low, high, colour: "estimated"}, ...]}
"use strict";
(() => {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const transparent = (hex) => (hex.length === 7 ? `${hex}2e` : hex);

  function options(told, width) {
    const series = [{ label: "month", value: (_, at) => (at === null ? "–" : told.x[at]) }];
    const bands = [];
    const write = (value) => (value === null || value === undefined ? "–" : format(value, told));
    for (const each of told.series) {
      const stroke = colour(each.colour);
      const withBounds = (_, v, __, at) => {
        if (v === null || v === undefined || !each.low) return write(v);
        return `${write(v)} (${write(each.low[at])} to ${write(each.high[at])})`;
      };
      series.push({ label: each.label, stroke, width: 2, points: { show: true, size: 6 }, value: withBounds });
      if (each.low) {
        const at = series.length;
        // The legend has the bounds beside the value: rows of the class `edge` are not shown.
        const edge = { stroke: "transparent", points: { show: false }, class: "edge" };
        series.push({ ...edge, label: `${each.label}, upper bound` });
        series.push({ ...edge, label: `${each.label}, lower bound` });
        bands.push({ series: [at, at + 1], fill: transparent(stroke) });
      }
    }
    const axis = { stroke: colour("pico-muted-color"), grid: { stroke: colour("pico-muted-border-color") } };
    const months = (_, splits) => splits.map((at) => (Number.isInteger(at) ? told.x[at] ?? "" : ""));
    return {
      width,
      height: 280,
      series,
      bands,
      scales: { x: { time: false } },
      axes: [
        { ...axis, values: months, incrs: [1, 2, 3, 6, 12] },
        { ...axis, size: 72, values: (_, splits) => splits.map(write) },
      ],
    };
  }

  function format(value, told) {
    const text = value.toLocaleString("en", { minimumFractionDigits: told.digits, maximumFractionDigits: told.digits });
    return told.unit ? `${text} ${told.unit}` : text;
  }

  function draw(element) {
    const told = JSON.parse(element.dataset.chart);
    const data = [told.x.map((_, at) => at)];
    for (const each of told.series) {
      data.push(each.values);
      if (each.low) data.push(each.high, each.low);
    }
    const plot = new uPlot(options(told, element.clientWidth), data, element);
    new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: 280 })).observe(element);
  }

  document.querySelectorAll("[data-chart]").forEach(draw);
})();
