// The live page. It holds no state of its own: everything comes from the API and can be asked for again.
// Texts from people and platforms go into the page as text, never as markup.

const API = '/api/v1/';
/** A page that has heard nothing for so long has lost the agent; it beats every 5 s. */
const SILENCE_MS = 12000;
/** A verdict stays on the banner for so long. */
const SHOWN_MS = 6000;
/** A hidden page stops listening after so long. */
const HIDDEN_MS = 60000;
/** A box goes when the next picture has been shown for so long, besides the time that its news usually takes. */
const BOX_MS = 120;
/** And in any case after so long without news. */
const BOX_MOST_MS = 1000;
/** Lines of the wires, and records asked for at once. */
const WIRES = 30;
const RECORDS = 12;
const RECORDS_KEPT = 60;

const $ = (id) => document.getElementById(id);

// ---- Texts ---------------------------------------------------------------------------------------------------

let texts = { 'zh-CN': {}, en: {} };
let language = 'zh-CN';

/** The text of a key in the chosen language. */
const say = (key) => texts[language][key] ?? key;
/** The same where only some keys have one: a reason or a state that came from the gate. */
const sayIf = (key, otherwise) => texts[language][key] ?? otherwise;

function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // A browser that keeps nothing: the choice lasts as long as the page.
  }
}

/** Sets a text only where it changes: a reader of the screen is told of every change. */
function put(element, text) {
  const value = text === null || text === undefined ? '' : String(text);
  if (element.textContent !== value) element.textContent = value;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function speak(chosen) {
  language = texts[chosen] ? chosen : 'zh-CN';
  document.documentElement.lang = language;
  document.title = `${say('title')} ${gate.serial ?? ''}`.trim();
  for (const one of document.querySelectorAll('[data-text]')) put(one, say(one.dataset.text));
  for (const one of document.querySelectorAll('[data-label]')) one.setAttribute('aria-label', say(one.dataset.label));
  put($('language'), say('language.other'));
  $('language').lang = language === 'en' ? 'zh-CN' : 'en';
  $('language').setAttribute('aria-label', say('language.switch'));
  showAgent();
  showGate();
  showDoor();
  showCall();
  showVerdict();
  showPictureNote();
  for (const face of faces.values()) nameBox(face);
  $('wires').replaceChildren(...wires.map(wireLine));
  for (const record of records.values()) showRecord(record);
}

// ---- The agent: requests, events, whether it is there ----------------------------------------------------------

const gate = { cameras: [], platforms: [], notices: [], store: {}, door: { state: 'unknown' } };
let agent = 'connecting';
let run = null;
let lastEvent = 0;
/** Events up to this one had happened before this page listened. */
let past = 0;

async function ask(path, options) {
  const response = await fetch(API + path, { cache: 'no-store', credentials: 'same-origin', ...options });
  if (response.status === 401) await enterToken();
  if (!response.ok) {
    const answer = await response.json().catch(() => null);
    throw new Error(answer?.error?.text ?? `${response.status} ${response.statusText}`);
  }
  return response.status === 204 ? null : response.json();
}

let entering = null;

/** Asks for the token until it is right; every request that waits for it goes on together. */
function enterToken() {
  entering ??= new Promise((entered) => {
    const dialog = $('token');
    const field = $('token-field');
    put($('token-wrong'), '');
    field.value = '';
    dialog.showModal();
    dialog.addEventListener('cancel', (event) => event.preventDefault());
    $('token-form').onsubmit = async (event) => {
      event.preventDefault();
      const response = await fetch(`${API}login`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ token: field.value }),
      }).catch(() => null);
      if (response?.ok) {
        dialog.close();
        entering = null;
        entered();
      } else {
        put($('token-wrong'), say('token.wrong'));
        field.select();
      }
    };
  });
  return entering;
}

function showAgent() {
  const chip = $('agent');
  chip.dataset.state = { here: 'good', away: 'bad' }[agent] ?? 'connecting';
  put(chip, agent === 'here' ? say('agent.here') : say('agent.connecting'));
  put($('away'), agent === 'away' ? say('agent.away') : '');
  $('away').hidden = agent !== 'away';
  $('open').disabled = agent !== 'here';
  $('call-dial').disabled = agent !== 'here';
  $('call-end').disabled = agent !== 'here';
}

let source = null;
let asleep = false;
let silence = 0;
let pause = 500;

function heard() {
  clearTimeout(silence);
  silence = setTimeout(lost, SILENCE_MS);
}

function listen() {
  clearTimeout(silence);
  const resumed = run ? `?run=${run}&after=${lastEvent}` : '';
  source = new EventSource(`${API}events${resumed}`);
  silence = setTimeout(lost, SILENCE_MS);
  source.addEventListener('hello', (message) => {
    const hello = JSON.parse(message.data);
    if (run !== null && hello.run !== run) {
      // Another run of the agent: its tracks and ids have nothing to do with the old ones.
      for (const track of faces.keys()) forgetFace(track);
      told.clear();
      lastEvent = 0;
    }
    run = hello.run;
    past = hello.last;
    agent = 'here';
    pause = 500;
    heard();
    showAgent();
    showVerdict();
    refresh();
    watchLive();
  });
  source.addEventListener('beat', heard);
  source.addEventListener('gap', () => {
    heard();
    put($('door-note'), say('agent.gap'));
    refresh();
  });
  source.onmessage = (message) => {
    heard();
    lastEvent = Math.max(lastEvent, Number(message.lastEventId));
    happen(JSON.parse(message.data), lastEvent <= past);
  };
  // A browser gives up for good on some errors, so this page connects again itself.
  source.onerror = lost;
}

function lost() {
  clearTimeout(silence);
  source?.close();
  agent = 'away';
  // Nothing is shown that may no longer be so.
  gate.door = { state: 'unknown' };
  gate.call = null;
  for (const one of [...gate.platforms, ...gate.cameras]) one.state = 'unknown';
  clearTimeout(verdictEnds);
  verdict = null;
  showAgent();
  showDoor();
  showCall();
  showGate();
  showVerdict();
  stopLive();
  for (const track of faces.keys()) forgetFace(track);
  silence = setTimeout(connect, pause);
  pause = Math.min(pause * 2, 5000);
}

/** Nobody looks at a page that has been hidden for long: the gate need not tell it anything until it is shown. */
function sleep() {
  clearTimeout(silence);
  clearTimeout(refreshing);
  source?.close();
  asleep = true;
}

/** A refused stream of events does not say why; a request does, and a token that is missing is asked for. */
async function connect() {
  try {
    showStatus(await ask('status'));
    listen();
  } catch {
    lost();
  }
}

// ---- The gate in numbers ------------------------------------------------------------------------------------------

let refreshing = 0;

async function refresh() {
  clearTimeout(refreshing);
  try {
    showStatus(await ask('status'));
    await loadRecords();
  } catch {
    // The stream of events says whether the agent is there.
  }
  refreshing = setTimeout(refreshStatus, 15000);
}

async function refreshStatus() {
  clearTimeout(refreshing);
  let waiting = false;
  try {
    showStatus(await ask('status'));
    const isWaiting = (record) => record.undelivered.length > 0;
    if ([...records.values()].some(isWaiting)) {
      // No event says that a platform has taken a record: it is asked for while one waits on a line that is up.
      await loadRecords();
      waiting = [...records.values()].some(isWaiting) && gate.platforms.some((one) => ['logged_in', 'reached'].includes(one.state));
    }
  } catch {
    // As above.
  }
  refreshing = setTimeout(refreshStatus, document.hidden ? 60000 : waiting ? 3000 : 15000);
}

/** Soon, but once for many events. */
function refreshSoon() {
  clearTimeout(refreshing);
  refreshing = setTimeout(refreshStatus, 700);
}

function showStatus(status) {
  Object.assign(gate, status);
  if (remembered('language') === null && status.language !== language) speak(status.language);
  showGate();
  showDoor();
  showCall();
}

const STATES = { watching: 'good', logged_in: 'good', lost: 'bad' };

function link(name, state, text) {
  const line = element('li');
  line.dataset.state = STATES[state] ?? (state === 'none' || state === 'unknown' ? 'none' : 'middle');
  line.append(element('b', '', name), element('span', '', text));
  return line;
}

function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (hours >= 24) return `${Math.floor(hours / 24)} ${say('unit.day')} ${hours % 24} ${say('unit.hour')}`;
  if (hours > 0) return `${hours} ${say('unit.hour')} ${minutes % 60} ${say('unit.minute')}`;
  return `${minutes} ${say('unit.minute')}`;
}

function showGate() {
  const cameras = gate.cameras.map((camera) => {
    const role = sayIf(`camera.${camera.role}`, camera.role);
    return link(`${say('gate.camera')} (${role})`, camera.state, sayIf(`camera.${camera.state}`, camera.state));
  });
  const platforms = gate.platforms.map((platform) => {
    const name = `${say('platform')} ${platform.platform.toUpperCase()}`;
    // Where nobody logs in, a connection is all there is.
    const state = platform.state === 'connected' && platform.outbox === undefined ? 'logged_in' : platform.state;
    return link(name, state, sayIf(`platform.${platform.state}`, platform.state));
  });
  if (platforms.length === 0) platforms.push(link(say('platform'), 'none', say('platform.none')));
  $('links').replaceChildren(...platforms, ...cameras);
  put($('people'), gate.store.people);
  put($('faces'), gate.store.faces);
  put($('record-count'), gate.store.records);
  put($('outbox'), gate.outbox);
  put($('serial'), gate.serial);
  put($('version'), gate.version);
  put($('uptime'), gate.uptime_s === undefined ? '' : duration(gate.uptime_s));
  const notices = gate.notices.map((notice) => {
    const detail = notice.text ?? (notice.kind === 'salvaged' ? '' : notice.count);
    return element('li', '', `${sayIf(`notice.${notice.kind}`, notice.kind)}${detail}`);
  });
  $('notices').querySelector('ul').replaceChildren(...notices);
  $('notices').hidden = notices.length === 0;
}

// ---- The door ---------------------------------------------------------------------------------------------------------

function showDoor() {
  const state = gate.door.state;
  $('door').dataset.state = state;
  put($('door-state'), sayIf(`door.${state}`, state));
}

let doorNote = 0;

async function openDoor() {
  $('open').disabled = true;
  clearTimeout(doorNote);
  try {
    await ask('door/open', { method: 'POST' });
    put($('door-note'), say('door.ordered'));
  } catch (error) {
    put($('door-note'), say('door.refused') + error.message);
  }
  $('open').disabled = agent !== 'here';
  doorNote = setTimeout(() => put($('door-note'), ''), 5000);
}

// ---- The intercom ------------------------------------------------------------------------------------------------------

/** States in which there is somebody to hang up on. */
const CALLING = ['dialling', 'ringing', 'talking'];

function showCall() {
  const call = gate.call ?? { state: 'idle' };
  const calling = CALLING.includes(call.state);
  $('call').dataset.state = call.state;
  $('call').dataset.result = call.result ?? '';
  $('call-room').disabled = calling;
  $('call-dial').hidden = calling;
  $('call-end').hidden = !calling;
  if (calling && $('call-room').value !== call.room) $('call-room').value = call.room;
  const what = call.result ? sayIf(`call.result.${call.result}`, call.result) : sayIf(`call.state.${call.state}`, call.state);
  put($('call-state'), call.room ? `${call.room} · ${what}` : what);
  const open = { opened: say('call.opened'), failed: say('call.open_failed') }[call.open];
  if (calling || open) put($('call-note'), open);
}

async function dialRoom(event) {
  event.preventDefault();
  $('call-dial').disabled = true;
  put($('call-note'), '');
  try {
    const body = JSON.stringify({ room: $('call-room').value.trim() });
    const call = await ask('call', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
    // Its events may have come first, and know more.
    if (!CALLING.includes(gate.call?.state)) gate.call = await ask('call').catch(() => call);
    showCall();
  } catch (error) {
    put($('call-note'), say('call.refused') + error.message);
  }
  $('call-dial').disabled = agent !== 'here';
}

async function hangUp() {
  try {
    await ask('call', { method: 'DELETE' });
  } catch {
    // It has ended by itself: its event says so.
  }
}

// ---- Events -------------------------------------------------------------------------------------------------------------

function happen(event, isPast) {
  if (isPast) {
    // What stands now is in the status and the records; only what came over the wires is nowhere else.
    if (['relay', 'platform', 'wiegand', 'rs485', 'voice', 'screen'].includes(event.kind)) wire(event);
    else if (event.kind === 'verdict' && event.track !== null) told.set(event.track, event);
    return;
  }
  switch (event.kind) {
    case 'face':
      sawFaces(event);
      return;
    case 'verdict':
      judge(event);
      return;
    case 'relay':
      gate.door = event;
      showDoor();
      wire(event);
      return;
    case 'platform': {
      const platform = gate.platforms.find((one) => one.platform === event.platform);
      // It tells of other things too: of a record that was refused, of a clock that is wrong.
      if (platform && texts.en[`platform.${event.state}`]) platform.state = event.state;
      showGate();
      wire(event);
      refreshSoon();
      return;
    }
    case 'call':
      gate.call = event;
      showCall();
      return;
    case 'camera': {
      const camera = gate.cameras.find((one) => one.camera === event.camera);
      if (camera) camera.state = event.state;
      showGate();
      refreshSoon();
      return;
    }
    case 'record':
      refreshRecord(event.id);
      refreshSoon();
      return;
    case 'wiegand':
    case 'rs485':
    case 'voice':
    case 'screen':
      wire(event);
      return;
    default:
      refreshSoon();
  }
}

// ---- The banner -----------------------------------------------------------------------------------------------------------

let verdict = null;
let verdictEnds = 0;

function judge(event) {
  verdict = event;
  showVerdict();
  clearTimeout(verdictEnds);
  verdictEnds = setTimeout(() => {
    verdict = null;
    showVerdict();
  }, SHOWN_MS);
  if (event.track !== null && event.track !== undefined) {
    told.set(event.track, event);
    // Tracks are never used again; only the last ones can still be seen.
    if (told.size > 64) told.delete(told.keys().next().value);
    const face = faces.get(event.track);
    if (face) nameBox(face);
  }
  if (event.record !== null && event.record !== undefined) refreshRecord(event.record);
}

function reasonOf(event) {
  if (event.verdict === 'await') return sayIf(`await.${event.next}`, '');
  return sayIf(`reason.${event.reason}`, event.text?.[language] ?? event.reason ?? '');
}

function showVerdict() {
  const banner = $('verdict');
  if (verdict === null) {
    banner.dataset.verdict = 'none';
    put($('verdict-word'), agent === 'here' ? say('verdict.none') : say('agent.connecting'));
    put($('verdict-reason'), '');
    $('verdict-facts').hidden = true;
    return;
  }
  banner.dataset.verdict = verdict.verdict;
  const word = sayIf(`verdict.${verdict.verdict}`, verdict.verdict);
  put($('verdict-word'), verdict.name ? `${verdict.name} · ${word}` : word);
  put($('verdict-reason'), reasonOf(verdict));
  $('verdict-facts').hidden = verdict.latency_ms === undefined;
  put($('verdict-score'), number(verdict.score));
  put($('verdict-latency'), verdict.latency_ms === undefined ? '' : `${verdict.latency_ms} ${say('milliseconds')}`);
}

const number = (value) => (typeof value === 'number' ? value.toFixed(1) : '–');

// ---- The live picture and the boxes over it ---------------------------------------------------------------------------------

/** Faces in view by track: {track, frame, at, missed, element, label}; `missed`: when a later picture came. */
const faces = new Map();
/** Verdicts by track. */
const told = new Map();
/** Events of faces that are newer than the picture on the screen. */
let early = [];
let shownFrame = null;
let shownAt = 0;
/** How long after a picture its faces come, in ms: the gate shows it first and then looks. */
let usualDelay = 100;
let pictureState = 'waiting';
let live = null;

function showPictureNote() {
  const note = { waiting: say('live.waiting'), paused: say('live.paused'), busy: say('live.busy') }[pictureState];
  put($('picture-note'), note);
  $('picture').dataset.state = pictureState === 'live' ? 'live' : 'waiting';
}

function setPictureState(state) {
  if (state === pictureState) return;
  pictureState = state;
  showPictureNote();
}

function sawFaces(event) {
  // Boxes belong to the picture they were found in: those of a later one wait for it, but not for ever.
  const now = performance.now();
  if (event.frame === shownFrame) usualDelay = 0.8 * usualDelay + 0.2 * (now - shownAt);
  early.push({ event, at: now });
  if (early.length > 30) early.shift();
  showFaces();
}

function showFaces() {
  const now = performance.now();
  const due = (one) => shownFrame === null || one.event.frame <= shownFrame || now - one.at > 200
    || one.event.frame + 300 < shownFrame;
  const ready = early.filter(due);
  early = early.filter((one) => !due(one));
  const last = ready.at(-1);
  if (last) {
    const { event } = last;
    const seen = new Set();
    for (const face of event.faces) {
      seen.add(face.track);
      moveBox(face, event.size, event.frame, now);
    }
    for (const track of faces.keys()) if (!seen.has(track)) forgetFace(track);
  }
  for (const face of faces.values()) {
    const missed = face.missed > 0 && now - face.missed > BOX_MS + 2 * usualDelay;
    if (missed || now - face.at > BOX_MOST_MS) forgetFace(face.track);
  }
}

function moveBox(face, size, frame, now) {
  let known = faces.get(face.track);
  if (!known) {
    const box = element('div', 'box');
    const label = element('span');
    box.append(label);
    box.dataset.track = face.track;
    known = { track: face.track, element: box, label };
    faces.set(face.track, known);
    $('boxes').append(box);
    nameBox(known);
  }
  Object.assign(known, { frame, at: now, missed: shownFrame > frame ? now : 0 });
  const [left, top, width, height] = face.box;
  const style = known.element.style;
  style.left = `${(left / size[0]) * 100}%`;
  style.top = `${(top / size[1]) * 100}%`;
  style.width = `${(width / size[0]) * 100}%`;
  style.height = `${(height / size[1]) * 100}%`;
  // The label keeps within the picture.
  known.element.classList.toggle('low', top / size[1] < 0.09);
  known.element.classList.toggle('right', (left + width / 2) / size[0] > 0.5);
}

function nameBox(face) {
  const event = told.get(face.track);
  face.element.dataset.verdict = event?.verdict ?? 'none';
  let label = '';
  if (event) {
    const score = typeof event.score === 'number' ? ` ${Math.round(event.score)}` : '';
    label = event.name ? `${event.name}${event.verdict === 'pass' ? score : ''}` : reasonOf(event);
    if (event.name && event.verdict === 'refuse') label += ` · ${reasonOf(event)}`;
  }
  put(face.label, label);
}

function forgetFace(track) {
  faces.get(track)?.element.remove();
  faces.delete(track);
}

/** The place of the picture within the canvas element, which keeps its shape. */
function fitBoxes() {
  const canvas = $('canvas');
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = Math.min(width / canvas.width, height / canvas.height);
  const style = $('boxes').style;
  style.inset = 'auto';
  style.width = `${canvas.width * scale}px`;
  style.height = `${canvas.height * scale}px`;
  style.left = `${(width - canvas.width * scale) / 2}px`;
  style.top = `${(height - canvas.height * scale) / 2}px`;
}

async function draw(jpeg, frame) {
  const bitmap = await createImageBitmap(new Blob([jpeg], { type: 'image/jpeg' }));
  const canvas = $('canvas');
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    fitBoxes();
  }
  canvas.getContext('2d').drawImage(bitmap, 0, 0);
  bitmap.close();
  shownFrame = frame;
  shownAt = performance.now();
  for (const face of faces.values()) if (face.missed === 0 && face.frame < frame) face.missed = shownAt;
  $('picture').dataset.frame = frame;
  setPictureState('live');
  showFaces();
}

/** Reads the parts of a multipart stream, of which each says its length. */
async function readPictures(reader, signal) {
  const decoder = new TextDecoder('latin1');
  let kept = new Uint8Array(0);
  let size = null;
  let frame = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done || signal.aborted) return;
    const joined = new Uint8Array(kept.length + value.length);
    joined.set(kept);
    joined.set(value, kept.length);
    kept = joined;
    for (;;) {
      if (size === null) {
        const head = decoder.decode(kept.subarray(0, 512));
        const end = head.indexOf('\r\n\r\n');
        if (end < 0) break;
        size = Number(/content-length: *(\d+)/i.exec(head.slice(0, end))?.[1]);
        frame = Number(/x-frame: *(\d+)/i.exec(head.slice(0, end))?.[1]);
        if (!Number.isFinite(size)) throw new Error('a part without its length');
        kept = kept.subarray(end + 4);
      }
      if (kept.length < size + 2) break;
      const jpeg = kept.slice(0, size);
      kept = kept.subarray(size + 2);
      size = null;
      // One that cannot be decoded is left out; the next comes in a moment.
      await draw(jpeg, frame).catch(() => {});
    }
  }
}

async function watchLive() {
  stopLive();
  if (document.hidden || agent !== 'here') return;
  const mine = new AbortController();
  live = mine;
  while (!mine.signal.aborted) {
    let wait = 1000;
    try {
      const response = await fetch(`${API}live.mjpg`, { cache: 'no-store', signal: mine.signal });
      if (response.ok) {
        await readPictures(response.body.getReader(), mine.signal);
      } else {
        wait = 5000;
        if (response.status === 503) setPictureState('busy');
      }
    } catch {
      // Ended by this page, or the wire broke.
    }
    if (mine.signal.aborted) return;
    if (pictureState === 'live') setPictureState('waiting');
    await new Promise((done) => setTimeout(done, wait));
  }
}

function stopLive() {
  live?.abort();
  live = null;
  shownFrame = null;
  early = [];
  setPictureState(document.hidden ? 'paused' : 'waiting');
}

// ---- The wires -------------------------------------------------------------------------------------------------------------

let wires = [];

function clockTime(iso, offset) {
  const at = new Date(Date.parse(iso) + (offset ?? gate.utc_offset_s ?? 0) * 1000);
  return at.toISOString().slice(11, 19);
}

function wire(event) {
  wires.unshift(event);
  const list = $('wires');
  list.prepend(wireLine(event));
  if (wires.length > WIRES) {
    wires.pop();
    list.lastElementChild.remove();
  }
  $('wires-none').hidden = true;
}

function wireLine(event) {
  const line = element('li');
  line.dataset.kind = event.kind;
  const time = element('time', '', clockTime(event.time));
  time.dateTime = event.time;
  const what = element('span');
  switch (event.kind) {
    case 'relay':
      what.textContent = sayIf(`wire.${event.state}`, event.state) + ({ technician: ` (${say('technician')})`, called: ` (${say('called')})` }[event.by] ?? '');
      break;
    case 'wiegand':
      if (event.bits) {
        // Without the parity bits at both ends, as a controller reads it.
        what.textContent = `${BigInt(`0b${event.bits.slice(1, -1)}`)} (${event.bits.length} ${say('bits')})`;
        what.append(element('code', '', event.bits));
      } else {
        what.textContent = event.error ?? say('wire.failed');
      }
      break;
    case 'platform':
      what.textContent = sayIf(`platform.${event.state}`, sayIf(`wire.${event.state}`, event.state));
      if (event.reason ?? event.desc) what.append(element('code', '', event.reason ?? event.desc));
      break;
    case 'rs485':
      what.append(element('code', '', event.bytes ?? event.error ?? ''));
      break;
    default:
      what.textContent = event.text ?? '';
  }
  line.append(time, element('b', '', sayIf(`wire.${event.kind}`, event.kind)), what);
  return line;
}

// ---- Records -------------------------------------------------------------------------------------------------------------------

/** By number, the newest first. */
let records = new Map();
const lines = new Map();
let olderThan = null;

async function loadRecords() {
  const answer = await ask(`records?limit=${RECORDS}`);
  const newest = new Map(answer.records.map((record) => [record.id, record]));
  const oldest = answer.records.at(-1)?.id ?? 0;
  // What "show more" has fetched stays, unless the list has moved on past it.
  for (const [id, record] of records) if (id < oldest) newest.set(id, record);
  const joined = [...records.keys()].some((id) => newest.has(id) && id <= oldest);
  if (!joined) olderThan = answer.next;
  records = newest;
  arrange();
}

async function loadMore() {
  const more = $('more');
  more.disabled = true;
  try {
    const answer = await ask(`records?limit=${RECORDS}&before=${olderThan}`);
    for (const record of answer.records) records.set(record.id, record);
    olderThan = answer.next;
    arrange();
  } catch {
    // The button stays.
  }
  more.disabled = false;
}

async function refreshRecord(id) {
  try {
    const record = await ask(`records/${encodeURIComponent(id)}`);
    records.set(record.id, record);
    arrange();
  } catch {
    // Gone again, or the agent is: the next refresh tells.
  }
}

function arrange() {
  const sorted = [...records.values()].sort((a, b) => b.id - a.id);
  for (const gone of sorted.splice(RECORDS_KEPT)) {
    records.delete(gone.id);
    olderThan = sorted.at(-1).id;
  }
  const list = $('record-list');
  for (const [id, line] of lines) {
    if (!records.has(id)) {
      line.remove();
      lines.delete(id);
    }
  }
  let before = list.firstElementChild;
  for (const record of sorted) {
    showRecord(record);
    const line = lines.get(record.id);
    if (line === before) before = before.nextElementSibling;
    else list.insertBefore(line, before);
  }
  $('records-none').hidden = sorted.length > 0;
  $('more').hidden = olderThan === null;
}

function showRecord(record) {
  let line = lines.get(record.id);
  if (!line) {
    line = element('li');
    line.dataset.record = record.id;
    const shot = element('div', 'shot');
    if (record.pictures.includes('snap')) {
      const picture = element('img');
      picture.loading = 'lazy';
      picture.decoding = 'async';
      picture.src = `${API}records/${record.id}/picture`;
      shot.append(picture);
    }
    const when = element('p', 'when');
    when.append(element('time'), element('span', 'door'), element('span', 'sent'));
    line.append(shot, element('strong'), element('span', 'score'), element('p', 'why'), when);
    lines.set(record.id, line);
  }
  const passed = record.result === 'granted';
  line.dataset.verdict = passed ? 'pass' : 'refuse';
  const picture = line.querySelector('img');
  if (picture) picture.alt = say('record.picture');
  else put(line.querySelector('.shot'), say('record.no_picture'));
  put(line.querySelector('strong'), record.name || say('stranger'));
  put(line.querySelector('.score'), number(record.score));
  put(line.querySelector('.why'), sayIf(`reason.${record.reason}`, record.reason));
  const time = line.querySelector('time');
  time.dateTime = record.at;
  const local = new Date(Date.parse(record.at) + record.utc_offset_s * 1000).toISOString();
  put(time, `${local.slice(0, 10)} ${local.slice(11, 19)}`);
  put(line.querySelector('.door'), record.opened ? say('record.opened') : say('record.shut'));
  const sent = gate.platforms.every((one) => one.outbox === undefined) ? '' : record.undelivered.length > 0 ? say('record.waiting') : say('record.sent');
  put(line.querySelector('.sent'), sent);
}

// ---- Start -----------------------------------------------------------------------------------------------------------------------

async function start() {
  for (;;) {
    try {
      texts = await (await fetch('/texts.json')).json();
      break;
    } catch {
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
  speak(remembered('language') ?? 'zh-CN');
  document.body.classList.remove('loading');
  $('language').onclick = () => {
    const chosen = language === 'en' ? 'zh-CN' : 'en';
    remember('language', chosen);
    speak(chosen);
  };
  $('open').onclick = openDoor;
  $('call-form').onsubmit = dialRoom;
  $('call-end').onclick = hangUp;
  $('more').onclick = loadMore;
  new ResizeObserver(fitBoxes).observe($('canvas'));
  let hidden = 0;
  document.addEventListener('visibilitychange', () => {
    clearTimeout(hidden);
    if (document.hidden) {
      stopLive();
      hidden = setTimeout(sleep, HIDDEN_MS);
    } else if (asleep) {
      asleep = false;
      connect();
    } else {
      watchLive();
      refreshStatus();
    }
  });
  setInterval(showFaces, 250);
  connect();
}

start();
