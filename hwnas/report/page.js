"use strict";
// Draws the page's figures, in the colours of the reader's scheme, and again when that changes.
(() => {
  const source = document.getElementById("figures").textContent;
  const colours = JSON.parse(document.getElementById("colours").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  // On a touch screen a finger on a figure scrolls the page instead of zooming.
  const touch = window.matchMedia("(pointer: coarse)").matches;
  // Where there is no room for names beside the points, a tap still shows them.
  const narrow = window.matchMedia("(max-width: 34rem)").matches;

  const draw = () => {
    let text = source;
    if (dark.matches) {
      for (const [light, night] of colours) text = text.replaceAll(light, night);
    }
    for (const [id, figure] of Object.entries(JSON.parse(text))) {
      if (touch) figure.layout.dragmode = false;
      if (narrow) for (const trace of figure.data) trace.mode = trace.mode?.replace("+text", "");
      Plotly.react(id, figure.data, figure.layout, { responsive: true, displayModeBar: false });
    }
  };

  draw();
  dark.addEventListener("change", draw);
})();
