"use strict";

const find = (id) => document.getElementById(id);
const make = (tag, attributes, text) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
};
let photo = null; // The id of the photo that the picture is made from.

// Talking to the server

async function ask(address, body, headers) {
  let answer;
  try {
    answer = await fetch(address, { method: "POST", headers, body });
  } catch {
    throw new Error("the server does not answer: it was ended, or the connection is broken");
  }
  const told = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  if (!answer.ok) throw new Error(told.error);
  return told;
}
const askJson = (address, wanted) =>
  ask(address, JSON.stringify(wanted), { "Content-Type": "application/json" });

// Results

const seen = {}; // By section: what its figure shows.

function showError(figure, error) {
  const line = figure.querySelector(".error");
  line.hidden = !error;
  line.textContent = error ? error.message : "";
}

function shown(address, alt) {
  if (address.endsWith(".mp4")) {
    const film = make("video", { src: address, controls: "", loop: "", "aria-label": alt });
    film.muted = film.autoplay = true;
    return film;
  }
  return make("img", { src: address, alt });
}

function showResult(name, told, alt, extra) {
  const figure = find(`${name}-result`);
  const frame = figure.querySelector(".frame");
  const address = Object.values(told.files)[0];
  seen[name] = told;
  showError(figure);
  const note = figure.querySelector(".note");
  note.textContent = told.note || "";
  note.hidden = !told.note;
  const link = figure.querySelector(".download");
  link.href = address;
  link.download = address.split("/").pop();
  showCommand(figure, told.command);
  figure.querySelector(".made").hidden = false;
  const picture = shown(address, alt);
  // The one before stays until the new one is there.
  const swap = () => frame.replaceChildren(picture, ...(extra || []));
  if (picture.decode) picture.decode().then(swap, swap);
  else swap();
}

// Lines break between words only, and not after the hyphens of options.
function showCommand(figure, command) {
  const words = command.split(" ").map((word) => make("span", { class: "word" }, word));
  figure.querySelector("code").replaceChildren(...words.flatMap((word) => [word, " "]).slice(0, -1));
}

for (const figure of document.querySelectorAll(".result")) {
  const name = figure.dataset.name;
  figure.querySelector(".save").addEventListener("click", () => save(name));
  const button = figure.querySelector(".copy");
  button.addEventListener("click", () => copyText(button, figure.querySelector("code")));
}

async function save(name) {
  const figure = find(`${name}-result`);
  try {
    const told = await ask(`/api/save/${seen[name].id}`);
    const entry = make("li", {}, `${told.files.join(", ")} `);
    if (told.command) entry.append(make("pre", { tabindex: "0" }, told.command));
    find("saved-list").append(entry);
    find("saved-none").hidden = true;
    const note = figure.querySelector(".note");
    note.hidden = false;
    note.textContent = `Saved as ${told.files[told.files.length - 1]}.`;
    const npz = told.files.find((file) => file.endsWith(".npz"));
    if (npz) showCommand(figure, seen[name].command.replace("FILE.npz", () => quoted(npz)));
    showError(figure);
  } catch (error) {
    showError(figure, error);
  }
}

const quoted = (text) =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;

// The picture: what was changed last is what is made next; what lies between is passed over.

const number = (id) => Number(find(id).value);
function common() {
  const chosen = find("class") ? find("class").value : "";
  return { psi: number("psi"), class_number: chosen === "" ? null : Number(chosen) };
}

let isMaking = false, isDue = false;
async function updatePicture() {
  isDue = true;
  if (isMaking) return;
  const figure = find("picture-result");
  isMaking = true;
  figure.setAttribute("aria-busy", "true");
  while (isDue) {
    isDue = false;
    const steps = {};
    for (const slider of document.querySelectorAll(".step")) {
      steps[slider.dataset.name] = Number(slider.value);
    }
    if (!find("seed").checkValidity()) {
      showError(figure, new Error("Seed: expected a whole number of 0 to 4294967295"));
      continue;
    }
    try {
      const told = await askJson("/api/picture", { seed: number("seed"), photo, steps, ...common() });
      showResult("picture", told, photo ? "Picture of the photo" : `Picture of seed ${find("seed").value}`);
      showValues(told);
    } catch (error) {
      showError(figure, error);
    }
  }
  isMaking = false;
  figure.setAttribute("aria-busy", "false");
}

function signed(value) {
  const text = String(Number(value.toPrecision(3)));
  return value > 0 ? `+${text}` : text.replace("-", "−");
}

function showValues(told) {
  const rows = Object.entries(told.values).map(([name, value]) => {
    const before = told.before[name], row = make("tr");
    const isKnown = value !== null && before !== null;
    row.append(make("th", { scope: "row" }, name), make("td", {}, value ?? "no clean background"),
      make("td", {}, isKnown && value !== before ? signed(value - before) : ""));
    return row;
  });
  find("values").replaceChildren(...rows);
  for (const place of document.querySelectorAll(".measured")) {
    const { name, sigma } = place.dataset;
    if (!(name in told.values)) continue;
    const value = told.values[name], before = told.before[name];
    let text = value === null ? "No clean background to measure on." : `Measured: ${value}`;
    if (value !== null && before !== null && value !== before) {
      text += ` from ${before}`;
      if (sigma) text += `, ${signed((value - before) / Number(sigma))} standard deviations`;
    }
    place.textContent = text.endsWith(".") ? text : `${text}.`;
  }
}

const form = find("picture-form");
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", (event) => {
  if (event.target.id === "seed") photo = null;
  showNumbers();
  updatePicture();
});
form.addEventListener("reset", (event) => {
  event.preventDefault(); // Only the sliders of attributes, not the seed.
  for (const slider of document.querySelectorAll(".step")) slider.value = 0;
  showNumbers();
  updatePicture();
});
function showNumbers() {
  for (const output of form.querySelectorAll("output")) {
    const slider = find(output.htmlFor.value);
    output.textContent = slider.classList.contains("step") ? signed(Number(slider.value)) : slider.value;
  }
  find("photo-used").hidden = photo === null;
}
function chooseSeed(seed) {
  find("seed").value = Math.min(Math.max(seed, 0), 4294967295);
  photo = null;
  showNumbers();
  updatePicture();
}
find("seed-before").addEventListener("click", () => chooseSeed(number("seed") - 1));
find("seed-after").addEventListener("click", () => chooseSeed(number("seed") + 1));
find("seed-random").addEventListener("click", () => chooseSeed(Math.floor(Math.random() * 100000)));
find("photo-leave").addEventListener("click", () => chooseSeed(number("seed")));

// Work that takes a while: the form is locked, and a bar shows how far it is.

function longWork(name, start, show) {
  const box = find(`${name}-working`), button = find(`${name}-form`).querySelector("button");
  box.querySelector(".stop").addEventListener("click", () => ask("/api/stop").catch(() => {}));
  const run = async () => {
    button.disabled = true;
    box.dataset.running = "yes";
    const timer = setInterval(() => showProgress(box), 500);
    try {
      show(await start());
    } catch (error) {
      showError(find(`${name}-result`), error);
    }
    clearInterval(timer);
    delete box.dataset.running;
    box.hidden = true;
    button.disabled = false;
  };
  find(`${name}-form`).addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  return run;
}

async function showProgress(box) {
  const answer = await fetch("/api/progress").catch(() => null);
  const told = answer && answer.ok ? await answer.json() : {};
  const bar = box.querySelector("progress");
  if (!box.dataset.running) return;  // It has ended in the meantime.
  box.hidden = false;
  if (told.total) {
    bar.max = told.total;
    bar.value = told.done;
  } else {
    bar.removeAttribute("value");
  }
  const text = told.text || "Working";
  box.querySelector("label").textContent = told.total ? `${text}: ${told.done} of ${told.total}` : text;
}

const makeGrid = longWork("grid", () => askJson("/api/grid",
  { columns: number("columns"), rows: number("rows"), seed: number("seed"), ...common() }), (told) => {
  const cells = make("div", { class: "cells" });
  cells.style.setProperty("--columns", told.columns);
  for (const cell of told.cells) {
    const option = cell.class === null ? null : find("class").options[cell.class + 1];
    const name = `Seed ${cell.seed}${option ? `, class ${option.text}` : ""}`;
    const button = make("button", { type: "button", "aria-label": name, title: name });
    button.addEventListener("click", () => {
      if (option) find("class").value = cell.class;
      chooseSeed(cell.seed);
      find("picture").scrollIntoView();
      find("seed").focus({ preventScroll: true });
    });
    cells.append(button);
  }
  showResult("grid", told, `Grid of ${told.cells.length} pictures`, [cells]);
});

longWork("mixing", () => askJson("/api/mix", {
  row_seeds: find("row-seeds").value, col_seeds: find("col-seeds").value,
  col_styles: find("col-styles").value, ...common(),
}), (told) => showResult("mixing", told, "Pictures of the rows with styles of the columns"));

longWork("photo", () => {
  const file = find("file").files[0];
  if (file.size > Number(find("file").dataset.most)) throw new Error(`${file.name} is too large`);
  const how = { num_steps: number("num-steps"), space: find("space").value };
  how.class_number = common().class_number;
  const address = `/api/photo?how=${encodeURIComponent(JSON.stringify(how))}`;
  return ask(address, file, { "Content-Type": "application/octet-stream" });
}, (told) => {
  told.note = `Left: what was found. Right: the photo. ${told.note}`;
  showResult("photo", told, "The picture that was found", [make("img",
    { src: told.files["-target.png"], alt: "The photo, cropped" })]);
  photo = told.id;
  showNumbers();
  updatePicture();
});

const kind = find("kind"), direction = find("direction");
function showDirection() {
  if (direction) direction.disabled = kind.value !== "direction";
}
kind.addEventListener("input", showDirection);
longWork("walk", () => askJson("/api/walk", {
  seeds: find("walk-seeds").value, walk: kind.value, w_frames: number("w-frames"),
  direction: kind.value === "direction" ? direction.value : null, film: find("film").value,
  ...common(), ...(kind.value === "class" ? { class_number: null } : {}), // Through all of them.
}), (told) => showResult("walk", told, `Walk: ${kind.value}`));

showDirection();
showNumbers(); // Browsers keep what was chosen when a page is loaded again.
updatePicture().then(makeGrid);
