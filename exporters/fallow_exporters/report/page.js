"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const colours = dark
    ? ["#86c37f", "#7fb3ea", "#ee9673", "#bb9af0", "#dcc65a", "#6fd0d0", "#ee8abc", "#bbb"]
    : ["#3f7d3a", "#2f6db0", "#b0502f", "#7a4fb0", "#a08a1a", "#3a9a9a", "#b03f7d", "#777"];
  const narrow = () => window.innerWidth < 600;
  const config = { responsive: true, displaylogo: false, displayModeBar: narrow() ? false : "hover", modeBarButtonsToRemove: ["select2d", "lasso2d"] };
  // For Plotly, which reads a little HTML in its labels, but not &quot;.
  const escaped = text => String(text).replace(/[&<>]/g, c => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" }[c]));

  // In code points: no pair of surrogates is split.
  const cut = (text, most) => [...text].length > most ? [...text].slice(0, most - 1).join("") + "…" : text;

  function layout(more) {
    return Object.assign({
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: css("--ink"), family: "system-ui, sans-serif", size: 12 },
      hoverlabel: { align: "left" }, hovermode: "closest", autosize: true,
      modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--line"), activecolor: css("--soft") },
    }, more);
  }
  const axis = more => Object.assign({ gridcolor: css("--line"), zerolinecolor: css("--line"), fixedrange: narrow() }, more);

  function drawRules() {
    const place = document.getElementById("rules"), rows = data.rules;
    if (!rows.length) { place.classList.add("empty"); place.textContent = "No rule found anything to save."; return; }
    const names = rows.map(r => escaped(narrow() ? r.rule : cut(r.rule + "  " + r.title, 64)));
    const text = rows.map(r => `<b>${escaped(r.rule)}</b> ${escaped(r.title)}<br>${r.detections} detections`);
    Plotly.newPlot(place, [
      { type: "bar", orientation: "h", name: "idle after the decision", y: names, x: rows.map(r => r.measured),
        marker: { color: css("--accent") }, text, textposition: "none", hovertemplate: "%{text}<br>%{x:.1f} GPU-hours idle after the decision<extra></extra>" },
      { type: "bar", orientation: "h", name: "expected at the decision", y: names, x: rows.map(r => r.expected),
        marker: { color: "rgba(128,128,128,.35)" },
        error_x: { type: "data", symmetric: false, array: rows.map(r => Math.max(0, r.high - r.expected)), arrayminus: rows.map(r => Math.max(0, r.expected - r.low)), color: css("--soft"), thickness: 1.2, width: 4 },
        text, textposition: "none", hovertemplate: "%{text}<br>%{x:.1f} GPU-hours expected<extra></extra>" },
    ], layout({
      barmode: "group", height: 110 + 64 * rows.length, margin: { l: 10, r: 16, t: 36, b: 44 },
      legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0 },
      xaxis: axis({ title: { text: "GPU-hours" }, rangemode: "tozero" }), yaxis: { automargin: true, fixedrange: true, ticklabelstandoff: 6 },
    }), config);
  }

  // Spans that overlap are shaded once, or several would hide the curves.
  function united(spans) {
    const out = [];
    spans.map(d => [d.start, Math.max(d.end, d.start + 1)]).sort((a, b) => a[0] - b[0]).forEach(([from, to]) => {
      const last = out[out.length - 1];
      if (last && from <= last[1]) last[1] = Math.max(last[1], to); else out.push([from, to]);
    });
    return out;
  }

  function drawEntity(place, entity) {
    const panels = entity.panels, n = Math.max(1, panels.length), gap = 0.07, traces = [], shapes = [];
    const more = { height: 90 + 130 * n, margin: { l: narrow() ? 44 : 60, r: 14, t: 34, b: 34 },
      legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0 }, xaxis: axis({ type: "date", anchor: n > 1 ? "y" + n : "y", hoverformat: "%Y-%m-%d %H:%M:%S", fixedrange: false, tickangle: 0, nticks: narrow() ? 4 : 10 }) };
    panels.forEach((panel, i) => {
      const top = 1 - i * (1 + gap) / n, key = i ? "y" + (i + 1) : "y";
      more["yaxis" + (i ? i + 1 : "")] = axis({ domain: [Math.max(0, top - 1 / n + gap / 2), Math.min(1, top)], title: { text: panel.title, font: { size: 11 } }, rangemode: "tozero", anchor: "x" });
      // Nothing at all is a line along the bottom of 0 to 100 %, not one in a picture of 1 %.
      if (panel.full && panel.lines.every(line => line.y.every(y => y <= panel.full))) more["yaxis" + (i ? i + 1 : "")].range = [0, panel.full];
      panel.lines.forEach((line, k) => traces.push({
        type: "scatter", mode: "lines", name: escaped(line.name), x: line.x, y: line.y, yaxis: key, xaxis: "x", connectgaps: false,
        line: { color: colours[(k + 2 * i) % colours.length], width: 1.4 }, showlegend: true,
      }));
    });
    if (!panels.length) more.yaxis = axis({ visible: false, range: [0, 1] });
    united(entity.drawn).forEach(([x0, x1]) => {
      shapes.push({ type: "rect", xref: "x", yref: "paper", x0, x1, y0: 0, y1: 1, fillcolor: css("--shade"), line: { width: 0 }, layer: "below" });
    });
    entity.drawn.forEach(d => {
      shapes.push({ type: "line", xref: "x", yref: "paper", x0: d.time, x1: d.time, y0: 0, y1: 1, line: { color: css("--mark"), width: 1, dash: "dash" } });
    });
    more.yaxis99 = { domain: [0, 1], range: [0, 1], overlaying: panels.length ? "y" : undefined, visible: false, fixedrange: true };
    traces.push({ type: "scatter", mode: "markers", name: "decision", showlegend: false, yaxis: "y99", x: entity.drawn.map(d => d.time), y: entity.drawn.map(() => 0.985),
      marker: { symbol: "triangle-down", size: 9, color: css("--mark") }, cliponaxis: false,
      text: entity.drawn.map(d => `<b>${escaped(d.rule)}</b> ${escaped(d.title)}<br>${escaped(d.state)}, ${((d.end - d.start) / 60000).toFixed(0)} min`),
      hovertemplate: "%{text}<br>decided %{x|%Y-%m-%d %H:%M:%S}<extra></extra>" });
    more.shapes = shapes;
    Plotly.newPlot(place, traces, layout(more), config);
  }

  function drawEntities() {
    const place = document.getElementById("entities");
    if (!data.entities.length) { place.className = "plot empty"; place.textContent = "There is nothing to draw."; return; }
    data.entities.forEach((entity, i) => {
      const box = document.createElement("details"), head = document.createElement("summary"), plot = document.createElement("div"), count = document.createElement("span");
      head.textContent = entity.name;
      count.className = "count";
      count.textContent = entity.found;
      head.append(count);
      plot.className = "plot";
      box.append(head, plot);
      place.append(box);
      let drawn = false;
      box.addEventListener("toggle", () => { if (box.open && !drawn) { drawn = true; drawEntity(plot, entity); } });
      if (i < 6) box.open = true;
    });
  }

  function table() {
    const body = document.querySelector("#table tbody"), heads = [...document.querySelectorAll("#table th")];
    const rows = [...body.rows], filter = document.getElementById("filter"), count = document.getElementById("count");
    const texts = new Map(rows.map(row => [row, row.textContent.toLowerCase()]));
    heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending", number = head.firstChild.dataset.number;
      heads.forEach(other => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => row.cells[column].dataset.key;
      rows.sort((a, b) => (number ? key(a) - key(b) : key(a).localeCompare(key(b), "en", { numeric: true })) * (up ? 1 : -1));
      body.append(...rows);
    }));
    const apply = () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach(row => { const keep = words.every(w => texts.get(row).includes(w)); row.hidden = !keep; shown += keep; });
      count.textContent = `${shown.toLocaleString("en")} row${shown === 1 ? "" : "s"}`;
    };
    filter.addEventListener("input", apply);
    apply();
  }

  table();
  drawRules();
  drawEntities();
})();
