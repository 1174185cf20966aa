// The page of a sweep: one table and two plots of the same runs, and the filters that all three obey.
// Values of runs are somebody's text. They reach the page as text nodes, and Plotly through plain().
'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const runs = data.runs;
  const $ = (id) => document.getElementById(id);

  // Ten hues that stay apart for most eyes; beyond ten, dashes tell groups of one colour apart.
  const COLOURS = ['#2166ac', '#d6604d', '#1b8a5a', '#8856a7', '#e08214', '#35a0b8', '#b3226e', '#7a8b1f', '#5c4033',
    '#6b7785'];
  const DASHES = ['solid', 'dash', 'dot', 'dashdot'];
  const SYMBOLS = ['circle', 'square', 'diamond', 'triangle-up', 'cross', 'star'];
  const CATEGORIES = 12; // numbers of more different values than this get a real axis
  const CONFIG = {
    displaylogo: false, responsive: true, modeBarButtonsToRemove: ['lasso2d', 'select2d'],
    // Plotly offers by default to upload a chart with its data. Nothing shall leave this file by a click.
    showSendToCloud: false, plotlyServerURL: '',
  };

  // ---------- text

  /** Text for Plotly, which reads some HTML: every character stands for itself. */
  const plain = (text) => String(text).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
  const show = (value) => (value === null || value === undefined ? '–' : String(value));
  const shorten = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
  const score = (value) =>
    (value === null || value === undefined ? '–' : value.toFixed(3).replace(/^-(0\.0+)$/, '$1'));
  const significant = (value) => Number(value.toPrecision(4)).toString().replace('-', '−');

  /** Lines of at most ~90 characters, for a hover box. */
  function wrap(text) {
    const lines = [''];
    for (const word of text.split(' ')) {
      for (const piece of word.match(/.{1,90}/g) || ['']) {
        if (lines.at(-1) && lines.at(-1).length + piece.length > 90) lines.push('');
        lines[lines.length - 1] += (lines.at(-1) ? ' ' : '') + piece;
      }
    }
    return lines.map(plain).join('<br>');
  }

  function element(name, text, classes) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (classes) made.className = classes;
    return made;
  }

  function choices(select, pairs) {
    for (const [value, text] of pairs) {
      const option = element('option', text);
      option.value = value;
      select.append(option);
    }
  }

  // ---------- filters

  const chosen = new Set(); // states to show; none: all
  let words = [];

  /** What the filter box looks through, and the exact key=value pairs of a run. */
  runs.forEach((run, i) => {
    run.index = i;
    run.pairs = new Set([`seed=${show(run.seed)}`]);
    data.keys.forEach(({ key, label }, k) => {
      run.pairs.add(`${key}=${show(run.values[k])}`).add(`${label}=${show(run.values[k])}`);
    });
    run.text = [run.key, run.state, run.error, run.command, ...run.pairs].join('\n').toLowerCase();
    run.pairs = new Set([...run.pairs].map((pair) => pair.toLowerCase()));
  });
  const names = new Set(['seed', ...data.keys.flatMap(({ key, label }) => [key, label])].map((n) => n.toLowerCase()));

  function matches(run) {
    if (chosen.size && !chosen.has(run.state)) return false;
    // seed=1 must not find seed=10, so a pair with a known key has to match as a whole.
    return words.every((word) =>
      (names.has(word.split('=')[0]) && /=./.test(word) ? run.pairs.has(word) : run.text.includes(word)));
  }

  const visible = () => runs.filter((run) => run.visible);

  function filter() {
    // Spaces part words, but not inside quotes: name="my run".
    const found = $('text').value.toLowerCase().match(/(?:[^\s"]|"[^"]*"?)+/g) || [];
    words = found.map((word) => word.replace(/"/g, '')).filter(Boolean);
    for (const run of runs) {
      run.visible = matches(run);
      run.row.hidden = !run.visible;
    }
    if (opened && !opened.visible) close();
    $('count').textContent = `${visible().length} of ${runs.length} runs`;
    drawCurves();
    drawFactors();
  }

  function buildFilters() {
    const all = element('button', `all ${runs.length}`);
    const buttons = Object.entries(data.states).map(([state, count]) => {
      const button = element('button', `${state} ${count}`, `state ${state}`);
      button.dataset.state = state;
      button.disabled = count === 0;
      button.addEventListener('click', () => {
        if (!chosen.delete(state)) chosen.add(state);
        press();
      });
      return button;
    });
    const press = () => {
      all.setAttribute('aria-pressed', chosen.size === 0);
      buttons.forEach((b) => b.setAttribute('aria-pressed', chosen.has(b.dataset.state)));
      filter();
    };
    all.addEventListener('click', () => {
      chosen.clear();
      press();
    });
    $('states').append(all, ...buttons);
    let waiting = 0;
    $('text').addEventListener('input', () => {
      clearTimeout(waiting);
      waiting = setTimeout(filter, 150); // the plots take a moment: not at every key
    });
    return press;
  }

  // ---------- table

  let opened = null;

  /** Columns: a header, what to sort by, and how to fill a cell. */
  function columns() {
    const roles = data.roles.filter((role) => !role.intervened);
    return [
      { name: 'status', value: (run) => run.state, fill: (cell, run) => cell.append(element('span', run.state, `state ${run.state}`)) },
      { name: 'run key', value: (run) => run.key, fill: (cell, run) => cell.append(element('code', run.key)) },
      { name: 'seed', value: (run) => run.seed, number: true },
      ...data.keys.map(({ key, label }, k) => ({
        name: label, title: key, value: (run) => run.values[k],
        number: runs.every((run) => typeof run.values[k] === 'number' || run.values[k] === null),
      })),
      ...roles.map((role) => ({
        name: `${role.label.replace(/ /g, '\u00a0')} ${role.metric}`, number: true,
        value: (run) => best(run.scores[role.id]),
        fill: (cell, run) => {
          const found = run.scores[role.id];
          cell.textContent = found ? score(best(found)) : '';
          if (found) {
            const names = ['nonlinear', 'linear', ...data.probes, 'chance', 'ceiling'].filter((n) => n in found);
            cell.title = names.map((n) => `${n} ${score(found[n])}`).join('\n');
          }
        },
      })),
      { name: 'progress', value: (run) => run.progress, fill: progress },
      {
        name: 'wall time', value: (run) => run.wall, number: true,
        fill: (cell, run) => {
          cell.textContent = run.wallText;
          if (run.attempts > 1) cell.title = `of the last of ${run.attempts} attempts`;
        },
      },
      {
        name: 'error', value: (run) => run.error || null,
        fill: (cell, run) => {
          cell.textContent = run.error;
          cell.classList.add('error');
          if (run.error) cell.title = run.error;
        },
      },
    ];
  }

  /** Of probes the first in the order of the evaluators: they ask different questions, and none is the best. */
  const best = (found) => (found ? found.nonlinear ?? found.linear ?? found[data.probes.find((n) => n in found)] : null);

  function progress(cell, run) {
    if (run.state !== 'missing') {
      const bar = element('span', undefined, `bar ${run.state}`);
      const part = element('i');
      part.style.width = `${100 * (run.progress ?? 0)}%`;
      bar.append(part);
      cell.append(bar);
    }
    cell.append(run.doing);
  }

  function buildTable() {
    const body = $('runs').tBodies[0];
    const head = element('tr');
    const list = columns();
    for (const column of list) {
      const cell = element('th', undefined, column.number ? 'number' : '');
      const button = element('button', column.name);
      button.title = column.title || `sort by ${column.name}`;
      cell.append(button);
      cell.setAttribute('aria-sort', 'none');
      button.addEventListener('click', () => {
        const up = cell.getAttribute('aria-sort') !== 'ascending';
        for (const other of head.cells) other.setAttribute('aria-sort', 'none');
        cell.setAttribute('aria-sort', up ? 'ascending' : 'descending');
        close();
        const order = [...runs].sort((a, b) => compare(column.value(a), column.value(b), up) || a.index - b.index);
        body.append(...order.map((run) => run.row));
      });
      head.append(cell);
    }
    $('runs').tHead.append(head);
    for (const run of runs) {
      run.row = element('tr', undefined, 'run');
      run.row.dataset.key = run.key;
      run.row.title = `${run.key}\n${run.command}`;
      run.row.tabIndex = 0;
      for (const column of list) {
        const cell = element('td', undefined, column.number ? 'number' : '');
        if (column.fill) column.fill(cell, run);
        else {
          cell.textContent = show(column.value(run));
          cell.title = `${run.key}\n${run.command}`;
        }
        run.row.append(cell);
      }
      run.row.addEventListener('click', () => (opened === run ? close() : open(run, list.length)));
      run.row.addEventListener('keydown', (event) => event.key === 'Enter' && run.row.click());
      body.append(run.row);
    }
  }

  /** Numbers by size before texts; what is unknown comes last either way. */
  function compare(a, b, up) {
    const unknown = (value) => value === null || value === undefined;
    if (unknown(a) || unknown(b)) return unknown(a) - unknown(b);
    const sign = up ? 1 : -1;
    if (typeof a === 'number' && typeof b === 'number') return sign * (a - b);
    if (typeof a !== typeof b) return sign * (typeof a === 'number' ? -1 : typeof b === 'number' ? 1 : 0);
    return sign * String(a).localeCompare(String(b));
  }

  function close() {
    if (!opened) return;
    opened.row.classList.remove('open');
    opened.detail.remove();
    opened = null;
  }

  function open(run, width = $('runs').tHead.rows[0].cells.length) {
    close();
    const cell = element('td');
    cell.colSpan = width;
    const copy = element('button', 'copy command');
    copy.addEventListener('click', async () => {
      copy.textContent = (await toClipboard(run.command)) ? 'copied' : 'select the text and copy it';
    });
    cell.append(element('strong', run.key), '  ');
    if (run.command) cell.append(copy, element('code', run.command));
    if (!run.expected && run.command) cell.append(element('p', 'No launch of the sweep names this run; the command is its last attempt’s.', 'note'));
    if (run.error) cell.append(element('p', run.error, 'error'));
    run.detail = element('tr', undefined, 'detail');
    run.detail.append(cell);
    run.row.after(run.detail);
    run.row.classList.add('open');
    opened = run;
  }

  async function toClipboard(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Some browsers give pages from a file no clipboard; the old way still works there.
      const box = element('textarea', text);
      document.body.append(box);
      box.select();
      const copied = document.execCommand('copy');
      box.remove();
      return copied;
    }
  }

  // ---------- plots

  function layout(more) {
    return {
      font: { family: 'system-ui, "DejaVu Sans", sans-serif', size: 12.5, color: '#1f2933' },
      margin: { l: 70, r: 20, t: 14, b: 56 },
      height: 460,
      paper_bgcolor: '#fff',
      plot_bgcolor: '#fff',
      hoverlabel: { align: 'left', namelength: -1, font: { size: 11.5 } },
      ...more,
    };
  }

  const axis = (title, more) => ({
    title: { text: plain(title), standoff: 10 }, gridcolor: '#e8ebef', linecolor: '#9aa5b1', ticks: 'outside',
    tickcolor: '#9aa5b1', zerolinecolor: '#c3cad2', automargin: true, ...more,
  });

  /** Draw, or say why there is nothing to draw. */
  function draw(id, traces, made, reason) {
    if (!traces.length) {
      made = layout({
        xaxis: { visible: false }, yaxis: { visible: false },
        annotations: [{ text: reason, showarrow: false, xref: 'paper', yref: 'paper', x: 0.5, y: 0.5 }],
      });
    }
    return Plotly.react(id, traces, made, CONFIG);
  }

  const keyNames = () => data.keys.map(({ label }) => label).join(' · ');
  const groupName = (group) => data.groups[group].map(show).join(' · ') || 'all runs';

  /** Mean, smallest and largest value over the visible seeds of a group, at each step that any of them logged. */
  function band(curve) {
    const found = { steps: [], mean: [], low: [], high: [], count: [] };
    const values = Object.entries(curve.runs).filter(([i]) => runs[i].visible).map(([, v]) => v);
    curve.steps.forEach((step, k) => {
      const here = values.map((v) => v[k]).filter((v) => v !== null);
      if (!here.length) return;
      found.steps.push(step);
      found.mean.push(here.reduce((a, b) => a + b, 0) / here.length);
      found.low.push(Math.min(...here));
      found.high.push(Math.max(...here));
      found.count.push(here.length);
    });
    return found;
  }

  function drawCurves() {
    const metric = $('metric').value;
    const bands = (data.curves[metric] || []).map((curve) => ({ curve, ...band(curve) }))
      .filter(({ steps }) => steps.length);
    const shade = bands.length > 6 ? '12' : '2b'; // many bands on top of each other must not hide the lines
    const traces = [];
    for (const { curve, steps, mean, low, high, count } of bands) {
      const colour = COLOURS[curve.group % COLOURS.length];
      const name = groupName(curve.group);
      const common = { legendgroup: `g${curve.group}`, type: 'scatter' };
      if (count.some((n) => n > 1)) {
        traces.push({
          ...common, x: [...steps, ...[...steps].reverse()], y: [...high, ...[...low].reverse()], mode: 'none',
          fill: 'toself', fillcolor: colour + shade, hoverinfo: 'skip', showlegend: false,
        });
      }
      traces.push({
        ...common, x: steps, y: mean, name: plain(shorten(name, 34)), mode: steps.length > 1 ? 'lines' : 'markers',
        line: { color: colour, width: 1.8, dash: DASHES[Math.floor(curve.group / COLOURS.length) % DASHES.length] },
        text: steps.map((step, k) => `${wrap(name)}<br>step ${step.toLocaleString('en')}: mean ${significant(mean[k])}` +
          (count[k] > 1 ? `, ${significant(low[k])} to ${significant(high[k])} over ${count[k]} runs` : ', 1 run')),
        hovertemplate: '%{text}<extra></extra>',
      });
    }
    draw('curves', traces, layout({
      height: Math.min(760, Math.max(460, 110 + 20 * bands.length)),
      xaxis: axis('step', { rangemode: 'tozero' }),
      yaxis: axis(metric),
      showlegend: true,
      hovermode: 'closest',
      legend: {
        title: { text: plain(shorten(keyNames(), 60)), font: { size: 11.5 } }, font: { size: 11.5 }, x: 1.01,
        xanchor: 'left', y: 1, tracegroupgap: 0,
      },
    }), 'no curves: these runs have logged nothing yet (metrics.csv)');
  }

  const AGAINST = [...data.keys, { key: 'seed', label: 'seed' }];
  const KINDS = [
    { name: 'nonlinear predictor', column: 'nonlinear', intervened: false },
    { name: 'linear predictor', column: 'linear', intervened: false },
    { name: 'nonlinear predictor, content replaced by c′ (B.2)', column: 'nonlinear', intervened: true },
    ...data.probes.map((name) => ({ name, column: name, intervened: false })),
  ];

  /** The axis of a swept value: a place for each value, or a true scale where there are many numbers. */
  function places(values) {
    const unique = [...new Map(values.map((v) => [JSON.stringify(v), v])).values()];
    unique.sort((a, b) => compare(a, b, true));
    const seeds = unique.every(Number.isInteger) && unique.at(-1) - unique[0] < 60; // whole numbers close together
    if (unique.length > CATEGORIES && !seeds && unique.every((v) => typeof v === 'number')) {
      const log = unique[0] > 0 && unique.at(-1) / unique[0] >= 100;
      return { place: (v) => v, spread: 0, axis: log ? { type: 'log' } : {} };
    }
    const at = new Map(unique.map((v, i) => [JSON.stringify(v), i]));
    const every = Math.ceil(unique.length / 40);
    const ticks = unique.map((_, i) => i).filter((i) => i % every === 0);
    return {
      place: (v) => at.get(JSON.stringify(v)), spread: 1,
      axis: {
        tickvals: ticks, ticktext: ticks.map((i) => plain(shorten(show(unique[i]), 30))), zeroline: false,
        range: [-0.6, unique.length - 0.4], showgrid: false,
      },
    };
  }

  function drawFactors() {
    const against = Number($('against').value);
    const kind = KINDS[Number($('score').value)];
    const valueOf = (run) => (against < data.keys.length ? run.values[against] : run.seed);
    const scored = (run, role) => (run.scores[role.id] || {})[kind.column] != null;
    const roles = data.roles.filter((role) => role.intervened === kind.intervened && runs.some((run) => scored(run, role)));
    const shown = visible().filter((run) => roles.some((role) => scored(run, role)));
    const { place, spread, axis: scale } = places(shown.map(valueOf));
    // Runs at one place stand side by side: first by factor, then in the order of the table.
    const seen = new Map();
    const rank = shown.map((run) => {
      const n = seen.get(place(valueOf(run))) || 0;
      seen.set(place(valueOf(run)), n + 1);
      return n;
    });
    const traces = [];
    roles.forEach((role, r) => {
      const members = shown.map((run, i) => ({ run, n: rank[i], found: run.scores[role.id] }))
        .filter(({ found }) => found && found[kind.column] != null);
      if (!members.length) return;
      const x = members.map(({ run, n }) => {
        const at = place(valueOf(run));
        const within = (n + 0.5) / seen.get(at) - 0.5;
        return at + (spread * 0.76 * ((r + 0.5) / roles.length - 0.5 + (within * 0.8) / roles.length));
      });
      const colour = COLOURS[r % COLOURS.length];
      traces.push({
        type: 'scatter', mode: 'markers', x, y: members.map(({ found }) => found.ceiling), name: 'its ceiling',
        legendgroup: role.id, hoverinfo: 'skip',
        marker: { symbol: 'line-ew', size: 9, line: { color: colour, width: 1.6 }, opacity: 0.55 }, showlegend: false,
      }, {
        type: 'scatter', mode: 'markers', x, y: members.map(({ found }) => found[kind.column]),
        name: plain(role.label), legendgroup: role.id, customdata: members.map(({ run }) => run.index),
        marker: { color: colour, size: 7, opacity: 0.8, symbol: SYMBOLS[r % SYMBOLS.length] },
        text: members.map(({ run, found }) =>
          `<b>${plain(role.label)}: ${score(found[kind.column])}</b> (chance ${score(found.chance)}, ceiling ` +
          `${score(found.ceiling)})<br>${plain(run.key)}<br>${wrap(run.command)}`),
        hovertemplate: '%{text}<extra></extra>',
      });
    });
    const metrics = [...new Set(roles.flatMap((role) => role.metric.split(' / ')))].join(' / ');
    draw('factors', traces, layout({
      xaxis: axis(AGAINST[against].key, scale),
      yaxis: axis(metrics),
      showlegend: true,
      hovermode: 'closest',
      legend: { orientation: 'h', x: 0, y: 1.02, yanchor: 'bottom' },
      margin: { l: 70, r: 20, t: 40, b: 56 },
    }), 'no scores: none of these runs has been evaluated so far (results.csv)');
  }

  // ---------- the page

  function buildHeader() {
    $('name').textContent = data.sweep.name;
    const commits = data.sweep.commits.map(({ commit, dirty, runs: n }) =>
      `${commit}${dirty ? ' with changes' : ''}${data.sweep.commits.length > 1 ? ` (${n} runs)` : ''}`);
    const states = Object.entries(data.states).filter(([, n]) => n).map(([state, n]) => `${n} ${state}`);
    $('about').textContent = `${runs.length} runs: ${states.join(', ')}. Written ${data.sweep.written}. ` +
      (commits.length ? `Commit${commits.length > 1 ? 's' : ''} ${commits.join(', ')}.` : 'No commit recorded.');
    $('curves-note').textContent = 'Line: mean over the seeds of a group; band: smallest to largest. ' +
      `Of the steps that a group logged at most ${data.sweep.points} are kept, evenly spaced; values are as logged, not smoothed. ` +
      'Click a legend entry to hide a group, double-click to see it alone.';
  }

  buildHeader();
  buildTable();
  const metricNames = Object.keys(data.curves);
  choices($('metric'), metricNames.map((name) => [name, name]));
  if (metricNames.includes('loss')) $('metric').value = 'loss';
  choices($('against'), AGAINST.map(({ label }, i) => [i, label]));
  choices($('score'), KINDS.map(({ name }, i) => [i, name]).filter(([i]) =>
    runs.some((run) => data.roles.some((role) => role.intervened === KINDS[i].intervened &&
      (run.scores[role.id] || {})[KINDS[i].column] != null))));
  if (!$('score').options.length) choices($('score'), [[0, KINDS[0].name]]);
  $('metric').addEventListener('change', drawCurves);
  $('against').addEventListener('change', drawFactors);
  $('score').addEventListener('change', drawFactors);
  buildFilters()();
  $('factors').on('plotly_click', ({ points }) => {
    const run = runs[points[0].customdata];
    if (!run) return;
    open(run);
    run.row.scrollIntoView({ block: 'center' });
  });
})();
