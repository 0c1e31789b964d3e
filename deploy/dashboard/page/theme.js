// Sets the theme before anything is drawn: what the reader chose, else what the system says. "system", "light" or "dark".
"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("shelflife-theme");
  } catch {
    // storage may be forbidden: the system's theme then
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
