"use strict";

// Puts the text of an element on the clipboard, which its button tells.
async function copyText(button, element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
  } catch {
    // Not allowed here: select it instead, as for Ctrl-C.
    getSelection().selectAllChildren(element);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}
