"use strict";

// Fakes over time.
const slider = document.getElementById("when");
if (slider) {
  const fakes = JSON.parse(document.getElementById("fakes-over-time").textContent);
  const picture = document.getElementById("fakes");
  const label = document.getElementById("label");
  const show = () => {
    const chosen = fakes[Number(slider.value)];
    picture.src = chosen.src;
    picture.alt = `Generated pictures after ${chosen.label}`;
    label.textContent = chosen.label;
    slider.setAttribute("aria-valuetext", chosen.label);
  };
  slider.addEventListener("input", show);
  show(); // Browsers keep the position when a page is loaded again.
}

// Commands to copy. Without a script there is nothing to press.
for (const button of document.querySelectorAll(".command button")) {
  const code = button.parentElement.querySelector("code");
  button.hidden = false;
  button.addEventListener("click", () => copyText(button, code));
}
